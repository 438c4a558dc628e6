"""Tiny random checkpoints of every family, saved as a hub folder would be.

Configuration, tokenizer and processor are the real classes, so that a test goes through the real loading
path; only the sizes are small and the weights random.
"""

import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast

_SENTENCES = [
    "The person smiles and looks relaxed, the voice is warm and quick.",
    "She frowns, lowers her eyes and speaks slowly in a low voice.",
    "He raises his eyebrows, opens his mouth and leans forward.",
    "Describe the face, the body and the voice of the person in this clip.",
    "What the person feels is not certain; several feelings are possible.",
]
_QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% elif part['type'] == 'video' %}VIDEO"
    "{% elif part['type'] == 'audio' %}AUDIO{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def chat_template(image: str = "", video: str = "", audio: str = "") -> str:
    """A chat template of the Qwen form with these texts in place of the media."""
    return _QWEN_TEMPLATE.replace("IMAGE", image).replace("VIDEO", video).replace("AUDIO", audio)


def tokenizer(
    special: list[str] | None = None, template: str | None = None, **named: str
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of a few hundred entries; `named` are special tokens by attribute name."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    extra = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(special or []), *named.values()]
    trained.train_from_iterator(
        _SENTENCES,
        trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=list(dict.fromkeys(extra)),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=trained,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=named,
    )
    made.chat_template = template or chat_template()
    return made


def text_config(vocabulary: int, **changes: Any) -> dict[str, Any]:
    """Sizes of a small decoder with grouped heads."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "bos_token_id": None,
        "tie_word_embeddings": False,
        **changes,
    }


def save(
    model: Any,
    folder: Path,
    processor: Any,
    end_token: int,
    seed: int = 0,
    end_bias: float = 0.0,
    generation: dict[str, Any] | None = None,
) -> Path:
    """Draw the weights anew, wide enough that answers differ, and write everything into `folder`.

    end_bias: how much more often than by chance the model ends its answer (it widens the end token's row).
    """
    random_numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                # Every layer passes on what it was given at about the same size, so that the pictures and the
                # sound still count in the last layer.
                scale = 0.5 if "embed" in name or "lm_head" in name else 2.0 / parameter[0].numel() ** 0.5
                parameter.copy_(torch.randn(parameter.shape, generator=random_numbers) * scale)
        model.get_output_embeddings().weight[end_token] *= 1.0 + end_bias
    model.generation_config = GenerationConfig(eos_token_id=end_token, **(generation or {}))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "README.md").write_text(
        "---\nlicense: apache-2.0\ndatasets:\n- random/none\n---\n\nRandom weights for tests.\n"
    )
    return folder


def drawn(name: str, shape: tuple[int, ...], numbers: torch.Generator) -> torch.Tensor:
    """A random weight, wide enough that what comes out depends on what goes in."""
    found = torch.randn(shape, generator=numbers)
    if "embed" in name:
        return found * 0.5
    if len(shape) > 1:
        return found * 2.0 / found[0].numel() ** 0.5
    return 1.0 + 0.1 * found if name.endswith("weight") else 0.1 * found


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
    return [" ".join(chosen.choices(_SENTENCES, k=chosen.randint(1, 12))) for _ in range(count)]


_VISION = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


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


def _qwen_tokenizer(**named: str) -> PreTrainedTokenizerFast:
    marked = "<|vision_start|><|{}_pad|><|vision_end|>"
    template = chat_template(image=marked.format("image"), video=marked.format("video"))
    return tokenizer(list(_VISION), template, **named)


def _qwen_ids(made: PreTrainedTokenizerFast) -> dict[str, int]:
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    return dict(zip(names, made.convert_tokens_to_ids(list(_VISION)), strict=True))


def make_qwen2_5_vl(folder: Path, *, end_bias: float = 0.0, **sizes: Any) -> Path:
    """Qwen2.5-VL with patches of 14 pixels."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    made = _qwen_tokenizer()
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 4,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [1],
            "window_size": 56,
            "tokens_per_second": 2,
        },
        text_config={**text_config(len(made), **sizes), "rope_parameters": rope},
        tie_word_embeddings=False,
        **_qwen_ids(made),
    )
    pixels = {"shortest_edge": 56 * 56, "longest_edge": 84 * 84}
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(size=pixels), made, Qwen2VLVideoProcessor(size=pixels), made.chat_template
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    return save(model, folder, processor, made.eos_token_id, end_bias=end_bias)


def make_qwen3_vl(folder: Path, *, end_bias: float = 0.0, **sizes: Any) -> Path:
    """Qwen3-VL with patches of 16 pixels, deep stacked features and times written between the frames."""
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    made = _qwen_tokenizer()
    rope = {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [2, 1, 1],
        "mrope_interleaved": True,
    }
    config = Qwen3VLConfig(
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 4,
            "out_hidden_size": 32,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        text_config={**text_config(len(made), **sizes), "head_dim": 8, "rope_parameters": rope},
        tie_word_embeddings=False,
        **_qwen_ids(made),
    )
    pixels = {"shortest_edge": 8 * 64 * 64, "longest_edge": 8 * 96 * 96}
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(size=pixels, patch_size=16),
        made,
        Qwen3VLVideoProcessor(size=pixels),
        made.chat_template,
    )
    model = Qwen3VLForConditionalGeneration(config)
    return save(model, folder, processor, made.eos_token_id, end_bias=end_bias)


_OMNI = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}


def _omni_tokenizer() -> PreTrainedTokenizerFast:
    return tokenizer(
        template=chat_template(
            image="<|vision_bos|><|IMAGE|><|vision_eos|>",
            video="<|vision_bos|><|VIDEO|><|vision_eos|>",
            audio="<|audio_bos|><|AUDIO|><|audio_eos|>",
        ),
        **_OMNI,
    )


def _audio_config(**changes: Any) -> dict[str, Any]:
    return {
        "num_mel_bins": 16,
        "encoder_layers": 2,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "d_model": 32,
        **changes,
    }


def make_qwen2_5_omni(folder: Path, *, end_bias: float = 0.0, **sizes: Any) -> Path:
    """The thinker of Qwen2.5-Omni."""
    from transformers import (
        Qwen2_5OmniProcessor,
        Qwen2_5OmniThinkerConfig,
        Qwen2_5OmniThinkerForConditionalGeneration,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
        WhisperFeatureExtractor,
    )

    made = _omni_tokenizer()
    token = made.convert_tokens_to_ids
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
    config = Qwen2_5OmniThinkerConfig(
        audio_config=_audio_config(output_dim=32, n_window=100),
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 4,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [1],
            "window_size": 56,
        },
        text_config={**text_config(len(made), **sizes), "rope_parameters": rope},
        audio_token_index=token("<|AUDIO|>"),
        image_token_index=token("<|IMAGE|>"),
        video_token_index=token("<|VIDEO|>"),
        audio_start_token_id=token("<|audio_bos|>"),
        audio_end_token_id=token("<|audio_eos|>"),
        vision_start_token_id=token("<|vision_bos|>"),
        vision_end_token_id=token("<|vision_eos|>"),
        user_token_id=token("<|im_start|>"),
    )
    pixels = {"shortest_edge": 56 * 56, "longest_edge": 84 * 84}
    processor = Qwen2_5OmniProcessor(
        Qwen2VLImageProcessor(size=pixels),
        Qwen2VLVideoProcessor(size=pixels),
        WhisperFeatureExtractor(feature_size=16, chunk_length=300, return_attention_mask=True),
        made,
        made.chat_template,
    )
    model = Qwen2_5OmniThinkerForConditionalGeneration(config)
    return save(model, folder, processor, made.eos_token_id, end_bias=end_bias)


def make_qwen3_omni(folder: Path, *, end_bias: float = 0.0, **sizes: Any) -> Path:
    """The thinker of Qwen3-Omni, with a mixture of four experts per layer."""
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
        Qwen3OmniMoeProcessor,
        Qwen3OmniMoeThinkerConfig,
        Qwen3OmniMoeThinkerForConditionalGeneration,
        WhisperFeatureExtractor,
    )

    made = _omni_tokenizer()
    token = made.convert_tokens_to_ids
    rope = {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [2, 1, 1],
        "mrope_interleaved": True,
    }
    config = Qwen3OmniMoeThinkerConfig(
        audio_config=_audio_config(output_dim=32, n_window=50, n_window_infer=100, downsample_hidden_size=8),
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 4,
            "out_hidden_size": 32,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        text_config={
            "head_dim": 8,
            "rope_parameters": rope,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            **text_config(len(made), **sizes),
        },
        audio_token_id=token("<|AUDIO|>"),
        image_token_id=token("<|IMAGE|>"),
        video_token_id=token("<|VIDEO|>"),
        audio_start_token_id=token("<|audio_bos|>"),
        vision_start_token_id=token("<|vision_bos|>"),
        user_token_id=token("<|im_start|>"),
    )
    pixels = {"shortest_edge": 64 * 64, "longest_edge": 96 * 96}
    processor = Qwen3OmniMoeProcessor(
        Qwen2VLImageProcessor(size=pixels, patch_size=16),
        Qwen2VLVideoProcessor(size=pixels, patch_size=16),
        WhisperFeatureExtractor(feature_size=16, chunk_length=300, return_attention_mask=True),
        made,
        made.chat_template,
    )
    model = Qwen3OmniMoeThinkerForConditionalGeneration(config)
    return save(model, folder, processor, made.eos_token_id, end_bias=end_bias)


def make_qwen2_audio(
    folder: Path, *, end_bias: float = 0.0, bands: int = 16, width: int = 32, seconds: int = 2, **sizes: Any
) -> Path:
    """Qwen2-Audio; bands: of frequencies; width: of its encoder; seconds: that it hears at once."""
    from transformers import (
        Qwen2AudioConfig,
        Qwen2AudioForConditionalGeneration,
        Qwen2AudioProcessor,
        WhisperFeatureExtractor,
    )

    made = tokenizer(
        ["<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"],
        chat_template(audio="<|audio_bos|><|AUDIO|><|audio_eos|>\n"),
    )
    config = Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            **_audio_config(
                max_source_positions=50 * seconds,
                num_mel_bins=bands,
                d_model=width,
                encoder_ffn_dim=2 * width,
            ),
        },
        text_config={"model_type": "qwen2", **text_config(len(made), **sizes)},
        audio_token_index=made.convert_tokens_to_ids("<|AUDIO|>"),
    )
    processor = Qwen2AudioProcessor(
        WhisperFeatureExtractor(feature_size=bands, chunk_length=seconds, return_attention_mask=True),
        made,
        made.chat_template,
    )
    model = Qwen2AudioForConditionalGeneration(config)
    return save(model, folder, processor, made.eos_token_id, end_bias=end_bias)


FAMILIES = {
    "internvl": ("internvl", make_internvl),
    "qwen2.5-vl": ("qwen-vl", make_qwen2_5_vl),
    "qwen3-vl": ("qwen-vl", make_qwen3_vl),
    "qwen2.5-omni": ("qwen-omni", make_qwen2_5_omni),
    "qwen3-omni": ("qwen-omni", make_qwen3_omni),
    "qwen2-audio": ("qwen-audio", make_qwen2_audio),
}
"""For each family the kind of its expert and what makes its checkpoint."""
