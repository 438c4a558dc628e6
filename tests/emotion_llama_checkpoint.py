"""A tiny random Emotion-LLaMA version 2: two base models as hub folders and two `.pth` in the published form.

V = 32, A = 24, H = 64, patches of 112 pixels, two layers, LoRA of rank 4; EVA has its 40 blocks, and all else
is as published.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers.processors import TemplateProcessing
from torch import Tensor

import checkpoint_parts

torch.set_num_threads(1)

V, A, H, INNER, PATCH, RANK, LAYERS = 32, 24, 64, 48, 112, 4, 2
STEPS = 100  # of the encoder of sound: two seconds


@dataclass(frozen=True)
class Files:
    """Where the parts are."""

    llm: Path
    audio: Path
    vision: Path
    checkpoint: Path


def trained_shapes(audio: int, vision: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """Key and shape of every trained weight outside the language model, as published."""
    found: dict[str, tuple[int, ...]] = {}

    def linear(key: str, inside: int, outside: int, *more: int) -> None:
        found[f"{key}.weight"], found[f"{key}.bias"] = (outside, inside, *more), (outside,)

    linear("llama_proj", 4 * vision, hidden)
    linear("llama_proj_video", vision, hidden)
    linear("llama_proj_audio", audio, hidden)
    linear("llama_proj_fusion", 256, hidden)
    fusion = "conv_pro_module"
    for place, width in enumerate((audio, vision, vision)):
        linear(f"{fusion}.feats_prep.{place}.0", width, 512)
        linear(f"{fusion}.feats_prep.{place}.3", 512, 128)
    linear(f"{fusion}.attention_mlp.0", 384, 512)
    linear(f"{fusion}.attention_mlp.3", 512, 128)
    linear(f"{fusion}.fc_att", 128, 3)
    linear(f"{fusion}.conv_entry", 384, 128, 1)
    for place in range(4):
        linear(f"{fusion}.conv_module.conv_blocks.{place}.conv_block.0", 128, 128, 3)
    linear(f"{fusion}.fc_final", 128, 256)
    return found


def lora_shapes(hidden: int, layers: int, rank: int, name: str = "") -> dict[str, tuple[int, ...]]:
    """The same of the LoRA; name: of the adapter with a dot, where PEFT wrote it."""
    found: dict[str, tuple[int, ...]] = {}
    for layer in range(layers):
        for module in ("q_proj", "v_proj"):
            key = f"llama_model.base_model.model.model.layers.{layer}.self_attn.{module}"
            found[f"{key}.lora_A.{name}weight"] = (rank, hidden)
            found[f"{key}.lora_B.{name}weight"] = (hidden, rank)
    return found


def eva_shapes(blocks: int) -> dict[str, tuple[int, ...]]:
    """The same of eva_vit_g.pth, the norm and the head behind its blocks with it."""
    found: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, V),
        "pos_embed": (1, (224 // PATCH) ** 2 + 1, V),
        "patch_embed.proj.weight": (V, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (V,),
        "norm.weight": (V,),
        "norm.bias": (V,),
        "head.weight": (10, V),
        "head.bias": (10,),
    }
    for block in range(blocks):
        key = f"blocks.{block}"
        found[f"{key}.attn.qkv.weight"] = (3 * V, V)
        found[f"{key}.attn.q_bias"] = found[f"{key}.attn.v_bias"] = (V,)
        found[f"{key}.attn.proj.weight"], found[f"{key}.attn.proj.bias"] = (V, V), (V,)
        found[f"{key}.mlp.fc1.weight"], found[f"{key}.mlp.fc1.bias"] = (INNER, V), (INNER,)
        found[f"{key}.mlp.fc2.weight"], found[f"{key}.mlp.fc2.bias"] = (V, INNER), (V,)
        for norm in ("norm1", "norm2"):
            found[f"{key}.{norm}.weight"] = found[f"{key}.{norm}.bias"] = (V,)
    return found


def drawn(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Random weights of these shapes, the same every time."""
    numbers = torch.Generator().manual_seed(seed)
    return {name: checkpoint_parts.drawn(name, shape, numbers) for name, shape in shapes.items()}


def make(folder: Path) -> Files:
    """Write all four parts under `folder`; the same weights every time."""
    files = Files(
        folder / "llama", folder / "whisper", folder / "eva_vit_g.pth", folder / "v2" / "stage2.pth"
    )
    for made in (files.llm, files.audio, files.checkpoint.parent):
        made.mkdir(parents=True)
    _save_llm(files.llm)
    _save_whisper(files.audio)
    torch.save(drawn(eva_shapes(40), 31), files.vision)
    write(files.checkpoint, drawn({**trained_shapes(A, V, H), **lora_shapes(H, LAYERS, RANK)}, 32))
    return files


def write(path: Path, state: dict[str, Tensor]) -> None:
    """The outer form of a published file."""
    torch.save({"model": state, "optimizer": {}, "config": {"run": {}}, "scaler": {}, "epoch": 3}, path)


def _save_llm(folder: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    made = checkpoint_parts.tokenizer(["<s>", "</s>"])
    made.bos_token, made.chat_template = "<s>", None
    begins = made.convert_tokens_to_ids("<s>")
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", begins)]
    )
    # No row to spare, as in Llama 2.
    sizes = checkpoint_parts.text_config(len(made), hidden_size=H, num_key_value_heads=4)
    model = LlamaForCausalLM(LlamaConfig(**{**sizes, "bos_token_id": begins}))
    checkpoint_parts.save(model, folder, made, made.eos_token_id)
    # So says its tokenizer in the published folder.
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "add_bos_token": True}))


def _save_whisper(folder: Path) -> None:
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    config = WhisperConfig(
        d_model=A,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        num_mel_bins=16,
        max_source_positions=STEPS,
        vocab_size=60,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
    )
    model = WhisperForConditionalGeneration(config)
    numbers = torch.Generator().manual_seed(33)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(checkpoint_parts.drawn(name, tuple(parameter.shape), numbers))
    model.generation_config.suppress_tokens = model.generation_config.begin_suppress_tokens = None
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=16, chunk_length=STEPS // 50).save_pretrained(folder)
