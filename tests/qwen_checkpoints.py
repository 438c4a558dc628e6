"""Tiny random checkpoints of the Qwen families: pictures, sound, and both."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from checkpoint_parts import chat_template, save, text_config, tokenizer

_VISION = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


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
