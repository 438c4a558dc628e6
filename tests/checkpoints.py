"""Tiny random checkpoints of every family, saved as a hub folder would be.

Configuration, tokenizer and processor are the real classes, so that a test goes through the real loading
path; only the sizes are small and the weights random.
"""

import random
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from checkpoint_parts import SENTENCES, chat_template, save, text_config, tokenizer
from qwen_checkpoints import (
    make_qwen2_5_omni,
    make_qwen2_5_vl,
    make_qwen2_audio,
    make_qwen3_omni,
    make_qwen3_vl,
)


def add_adapter(model: Any, folder: Path, targets: str | list[str] | None = None, **changes: Any) -> Path:
    """Save a LoRA adapter whose weights change the answers, as PEFT writes it; the model is wrapped.

    targets: the modules, None for those of a family's language model, which in memory have the names that
    they have while it is trained.
    """
    from peft import LoraConfig, get_peft_model

    if targets is None:
        layers = ["q_proj", "k_proj", "v_proj", "o_proj"]
        if "moe" not in type(model).__name__.lower():
            layers += ["gate_proj", "up_proj", "down_proj"]
        targets = rf".*language_model.*\.({'|'.join(layers)})"
    torch.manual_seed(0)
    tuned = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=targets, **changes))
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    tuned.save_pretrained(folder)
    return folder


def make_text(
    folder: Path, *, end_bias: float = 0.0, generation: dict[str, Any] | None = None, **sizes: Any
) -> Path:
    """A Qwen2 causal language model with its chat template."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    made = tokenizer()
    model = Qwen2ForCausalLM(Qwen2Config(**text_config(len(made), **sizes)))
    return save(model, folder, made, made.eos_token_id, end_bias=end_bias, generation=generation)


def sentences(count: int, seed: int = 0) -> list[str]:
    """Questions of mixed lengths."""
    chosen = random.Random(seed)
    return [" ".join(chosen.choices(SENTENCES, k=chosen.randint(1, 12))) for _ in range(count)]


def make_internvl(folder: Path, *, end_bias: float = 0.0, tile: int = 56, **sizes: Any) -> Path:
    """InternVL with tiles of so many pixels on a side; 56 make 4 tokens."""
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    made, processor = _internvl_processor(tile)
    config = InternVLConfig(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": [tile, tile],
            "patch_size": [14, 14],
        },
        text_config={"model_type": "qwen2", **text_config(len(made), **sizes)},
        image_token_id=made.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=processor.image_seq_length,
        tie_word_embeddings=False,
    )
    model = InternVLForConditionalGeneration(config)
    return save(model, folder, processor, made.eos_token_id, end_bias=end_bias)


def internvl3_8b_shape(folder: Path, device: torch.device) -> tuple[Path, Any]:
    """The processor's folder and a model of the sizes of InternVL3-8B in bfloat16, random, on this device."""
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    made, processor = _internvl_processor(448)
    processor.save_pretrained(folder)
    config = InternVLConfig(
        vision_config={
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "attention_bias": True,
            "image_size": [448, 448],
            "patch_size": [14, 14],
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": 151674,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "max_position_embeddings": 32768,
            "tie_word_embeddings": False,
        },
        image_token_id=made.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=processor.image_seq_length,
        tie_word_embeddings=False,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            model = InternVLForConditionalGeneration(config).eval()
    finally:
        torch.set_default_dtype(before)
    return folder, model


def _internvl_processor(tile: int) -> tuple[PreTrainedTokenizerFast, Any]:
    from transformers import GotOcr2ImageProcessor, InternVLProcessor, InternVLVideoProcessor

    made = tokenizer(
        template=chat_template(image="<IMG_CONTEXT>\n", video="<video>\n"),
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    size = {"height": tile, "width": tile}
    processor = InternVLProcessor(
        GotOcr2ImageProcessor(size=size, crop_to_patches=False),
        made,
        InternVLVideoProcessor(size=size),
        image_seq_length=(tile // 28) ** 2,
        chat_template=made.chat_template,
    )
    return made, processor


FAMILIES = {
    "internvl": ("internvl", make_internvl),
    "qwen2.5-vl": ("qwen-vl", make_qwen2_5_vl),
    "qwen3-vl": ("qwen-vl", make_qwen3_vl),
    "qwen2.5-omni": ("qwen-omni", make_qwen2_5_omni),
    "qwen3-omni": ("qwen-omni", make_qwen3_omni),
    "qwen2-audio": ("qwen-audio", make_qwen2_audio),
}
"""For each family the kind of its expert and what makes its checkpoint."""
