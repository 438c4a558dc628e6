"""A tiny random Step-Audio-2: two safetensors files with the published keys.

A = 32 with two heads and two layers, 16 bands, H = 48; everything else is as published.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

import checkpoint_parts

torch.set_num_threads(1)

A, H, BANDS, ADAPTER = 32, 48, 16, 2048
SOUND = {
    "n_mels": BANDS,
    "n_audio_ctx": 1500,
    "n_audio_state": A,
    "n_audio_head": 2,
    "n_audio_layer": 2,
    "n_codebook_size": 4096,
    "llm_dim": H,
    "kernel_size": 3,
    "adapter_stride": 2,
}
# The last ones are those of sound, as published: after them nothing is text.
TOKENS = ["<|BOT|>", "<|EOT|>"]
SOUND_TOKENS = ["<audio_start>", "<audio_end>", "<audio_patch>", "<audio_0>"]


def encoder_shapes(width: int, bands: int, layers: int, context: int) -> dict[str, tuple[int, ...]]:
    """Key and shape of every weight of the encoder, as published."""
    found: dict[str, tuple[int, ...]] = {
        "conv1.weight": (width, bands, 3),
        "conv1.bias": (width,),
        "conv2.weight": (width, width, 3),
        "conv2.bias": (width,),
        "positional_embedding.weight": (context, width),
        "after_norm.weight": (width,),
        "after_norm.bias": (width,),
    }
    for layer in range(layers):
        key = f"blocks.{layer}"
        for name in ("query", "key", "value", "out"):
            found[f"{key}.attn.{name}.weight"] = (width, width)
            if name != "key":
                found[f"{key}.attn.{name}.bias"] = (width,)
        found[f"{key}.mlp.0.weight"], found[f"{key}.mlp.0.bias"] = (4 * width, width), (4 * width,)
        found[f"{key}.mlp.2.weight"], found[f"{key}.mlp.2.bias"] = (width, 4 * width), (width,)
        for name in ("attn_ln", "mlp_ln"):
            found[f"{key}.{name}.weight"] = found[f"{key}.{name}.bias"] = (width,)
    return found


def adapter_shapes(width: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """The same of the adapter."""
    return {
        "conv.weight": (width, width, 3),
        "conv.bias": (width,),
        "linear1.weight": (ADAPTER, width),
        "linear1.bias": (ADAPTER,),
        "linear2.weight": (hidden, ADAPTER),
        "linear2.bias": (hidden,),
    }


def make(folder: Path) -> Path:
    """Write a checkpoint into the folder; the same weights every time."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = checkpoint_parts.tokenizer(TOKENS)
    tokenizer.add_tokens(SOUND_TOKENS, special_tokens=True)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)
    text = checkpoint_parts.text_config(len(tokenizer) + 4, hidden_size=H, num_attention_heads=4)
    text["eos_token_id"] = [tokenizer.convert_tokens_to_ids("<|endoftext|>")]
    config = {
        "architectures": ["StepAudio2ForCausalLM"],
        "model_type": "step_audio_2",
        "auto_map": {"AutoModelForCausalLM": "modeling_step_audio_2.StepAudio2ForCausalLM"},
        "text_config": text,
        "audio_encoder_config": SOUND,
    }
    (folder / "config.json").write_text(json.dumps(config))
    write(folder, state_dict(text))
    return folder


def write(folder: Path, state: dict[str, Tensor]) -> None:
    """Two shards with their index."""
    names = sorted(state)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for shard, part in shards.items():
        save_file({name: state[name].contiguous() for name in part}, folder / shard)
    index = {name: shard for shard, part in shards.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def read(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return {
        name: value
        for shard in sorted(folder.glob("*.safetensors"))
        for name, value in load_file(shard).items()
    }


def state_dict(text: dict) -> dict[str, Tensor]:
    """Random weights under the published keys."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    llm = Qwen2ForCausalLM(Qwen2Config(**text))
    shapes = {name: tuple(value.shape) for name, value in llm.state_dict().items()}
    shapes |= {f"encoder.{name}": shape for name, shape in encoder_shapes(A, BANDS, 2, 1500).items()}
    shapes |= {f"adapter.{name}": shape for name, shape in adapter_shapes(A, H).items()}
    numbers = torch.Generator().manual_seed(23)
    return {name: checkpoint_parts.drawn(name, shape, numbers) for name, shape in shapes.items()}
