"""A tiny random R1-Omni: one safetensors file with the published keys, and a vocabulary of BERT.

V = 64 with two heads, H = 32, A = 48, T = 24, two layers each, frames of 4 x 4 patches, two seconds of sound;
everything else is as published.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

import checkpoint_parts

torch.set_num_threads(1)

V, H, A, T = 64, 32, 48, 24
FRAMES, PATCHES = 8, 16
GATE = 3584
VISION = {
    "hidden_size": V,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
}
AUDIO = {
    "d_model": A,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "num_mel_bins": 16,
    "max_source_positions": 100,
}
# What the published configuration says of the arithmetic.
PUBLISHED = {
    "architectures": ["HumanOmniQwen2ForCausalLM"],
    "model_type": "HumanOmni_qwen2",
    "num_frames": FRAMES,
    "image_aspect_ratio": "pad",
    "mm_vision_tower": "/somewhere/siglip-base-patch16-224",
    "mm_audio_tower": "/somewhere/whisper-large-v3",
    "mm_projector_type": "all_in_one_small",
    "mm_audio_projector_type": "mlp2x_gelu",
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "mm_use_x_start_end": True,
    "hyper_layers": [15, 22],
}


@dataclass(frozen=True)
class Files:
    """Where the parts are."""

    model: Path
    router_tokenizer: Path


def projector_shapes(vision: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """Key and shape of every weight of the visual branches, as published."""
    found: dict[str, tuple[int, ...]] = {}

    def norm(key: str) -> None:
        found[f"{key}.weight"] = found[f"{key}.bias"] = (hidden,)

    def block(key: str, inside: int) -> None:
        found[f"{key}.conv1.conv.weight"] = (hidden, inside, 1, 1)
        found[f"{key}.conv2.conv.weight"] = (hidden, 1, 3, 3)
        found[f"{key}.conv3.conv.weight"] = (hidden, hidden, 1, 1)
        for conv in ("conv1", "conv2", "conv3"):
            norm(f"{key}.{conv}.bn")
        squeezed = round(inside * 0.25)
        found[f"{key}.se.fc1.weight"], found[f"{key}.se.fc1.bias"] = (squeezed, hidden, 1, 1), (squeezed,)
        found[f"{key}.se.fc2.weight"], found[f"{key}.se.fc2.bias"] = (hidden, squeezed, 1, 1), (hidden,)
        if inside != hidden:
            found[f"{key}.downsample.conv.weight"] = (hidden, inside, 1, 1)
            norm(f"{key}.downsample.bn")

    for name in ("video", "body"):
        block(f"s1_{name}.b1", vision)
        for key in (f"s1_{name}.b2", f"s2_{name}.b1", f"s2_{name}.b2"):
            block(key, hidden)
        found[f"sampler_{name}.0.weight"], found[f"sampler_{name}.0.bias"] = (
            (hidden, hidden, 2, 2, 2),
            (hidden,),
        )
        for place in (0, 2):
            found[f"readout_{name}.{place}.weight"] = (hidden, hidden)
            found[f"readout_{name}.{place}.bias"] = (hidden,)
    found["mlp_2xgelu_face.0.weight"], found["mlp_2xgelu_face.2.weight"] = (hidden, vision), (hidden, hidden)
    found["mlp_2xgelu_face.0.bias"] = found["mlp_2xgelu_face.2.bias"] = (hidden,)
    return found


def make(folder: Path) -> Files:
    """Write both parts under `folder`; the same weights every time."""
    files = Files(folder / "r1-omni", folder / "bert-vocabulary")
    for made in (files.model, files.router_tokenizer):
        made.mkdir(parents=True)
    tokenizer = checkpoint_parts.tokenizer()
    tokenizer.save_pretrained(files.model)
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] as an emotion ##al recognition expert throughout the video which"
    letters = "abcdefghijklmnopqrstuvwxyz;,?<>/."
    vocabulary = [*words.split(), *letters, *(f"##{letter}" for letter in letters)]
    (files.router_tokenizer / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    llm = checkpoint_parts.text_config(
        len(tokenizer) + 8, hidden_size=H, tie_word_embeddings=True, max_position_embeddings=4096
    )
    router = {
        "vocab_size": len(vocabulary),
        "hidden_size": T,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
    }
    config = {
        **PUBLISHED,
        **llm,
        "eos_token_id": tokenizer.eos_token_id,
        "vision_config": VISION,
        "audio_config": AUDIO,
        "router_config": router,
    }
    (files.model / "config.json").write_text(json.dumps(config))
    write(files.model, state_dict(llm, router))
    return files


def write(folder: Path, state: dict[str, Tensor]) -> None:
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")


def state_dict(llm: dict, router: dict) -> dict[str, Tensor]:
    """Random weights under the published keys, those that are never used among them."""
    from transformers import (
        BertConfig,
        BertModel,
        Qwen2Config,
        Qwen2ForCausalLM,
        SiglipVisionConfig,
        SiglipVisionModel,
        WhisperConfig,
        WhisperForAudioClassification,
    )

    shapes: dict[str, tuple[int, ...]] = {}
    for prefix, module in (
        ("", Qwen2ForCausalLM(Qwen2Config(**llm))),
        ("model.vision_tower.vision_tower.vision_model.", SiglipVisionModel(SiglipVisionConfig(**VISION))),
        ("model.audio_tower.audio_tower.", WhisperForAudioClassification(WhisperConfig(**AUDIO))),
        ("model.bert_model.", BertModel(BertConfig(**router))),
    ):
        shapes |= {prefix + name: tuple(value.shape) for name, value in module.state_dict().items()}
    del shapes["lm_head.weight"]  # tied
    shapes |= {f"model.mm_projector.{name}": shape for name, shape in projector_shapes(V, H).items()}
    layers = {
        "model.audio_projector.0": (H, A),
        "model.audio_projector.2": (H, H),
        "model.bert_gate.0": (GATE, T),
        "model.bert_gate.2": (3, GATE),
    }
    for name, shape in layers.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    numbers = torch.Generator().manual_seed(19)
    return {name: checkpoint_parts.drawn(name, shape, numbers) for name, shape in shapes.items()}
