"""Tiny random checkpoints of families that have no file of their own, as a hub folder would be.

Each stands for another path: how frames and sound are given, what the layers keep, how masks look. The chat
templates are written for these tests, in the form that the published ones have.
"""

from pathlib import Path
from typing import Any

import transformers

from checkpoint_parts import chat_template, save, text_config, tokenizer
from hf_sound_checkpoints import make_audioflamingo3, make_voxtral

_SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}
_MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
_SMALL = {"height": 28, "width": 28}


def make_llava_onevision(folder: Path) -> Path:
    """Pictures of a video in one block of five dimensions, pooled."""
    t = transformers
    made = tokenizer(
        template=chat_template(image="<image>", video="<video>"), image_token="<image>", video_token="<video>"
    )
    config = t.LlavaOnevisionConfig(
        vision_config={**_SIGLIP, "vision_use_head": False},
        text_config={"model_type": "qwen2", **text_config(len(made))},
        image_token_index=made.convert_tokens_to_ids("<image>"),
        video_token_index=made.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=[[28, 28], [28, 56]],
    )
    processor = t.LlavaOnevisionProcessor(
        t.LlavaOnevisionImageProcessor(size=_SMALL, image_grid_pinpoints=[[28, 28], [28, 56]]),
        made,
        t.LlavaOnevisionVideoProcessor(size=_SMALL),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=made.chat_template,
    )
    return save(t.LlavaOnevisionForConditionalGeneration(config), folder, processor, made.eos_token_id)


def make_smolvlm(folder: Path) -> Path:
    """Frames of a video under the name of pictures, with their times in words."""
    t = transformers
    special = ["<fake_token_around_image>", "<end_of_utterance>", "<global-img>"]
    made = tokenizer(
        special, chat_template(image="<image>", video="<video>"), image_token="<image>", video_token="<video>"
    )
    config = t.SmolVLMConfig(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 56,
            "patch_size": 14,
        },
        text_config={"model_type": "llama", **text_config(len(made), pad_token_id=0)},
        image_token_id=made.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    size = {"longest_edge": 56}
    processor = t.SmolVLMProcessor(
        t.SmolVLMImageProcessor(size=size, max_image_size=size),
        made,
        t.SmolVLMVideoProcessor(size=size, max_image_size=size),
        image_seq_len=4,
        chat_template=made.chat_template,
    )
    return save(t.SmolVLMForConditionalGeneration(config), folder, processor, made.eos_token_id)


def make_gemma4(folder: Path) -> Path:
    """Frames and sound; media that look both ways, a share of layers without keys of their own."""
    t = transformers
    named = {
        "image_token": "<|image|>",
        "boi_token": "<|image>",
        "eoi_token": "<image|>",
        "audio_token": "<|audio|>",
        "boa_token": "<|audio>",
        "eoa_token": "<audio|>",
    }
    made = tokenizer(
        ["<|video|>"], chat_template(image="<|image|>", video="<|video|>", audio="<|audio|>"), **named
    )
    token = made.convert_tokens_to_ids
    sizes = text_config(len(made), pad_token_id=0, num_hidden_layers=4)
    config = t.Gemma4Config(
        text_config={
            **sizes,
            "head_dim": 8,
            "global_head_dim": 8,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "sliding_window": 64,
            "vocab_size_per_layer_input": len(made),
            "hidden_size_per_layer_input": 8,
            "num_kv_shared_layers": 2,
            "use_bidirectional_attention": "vision",
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "head_dim": 8,
            "position_embedding_size": 64,
            "pooling_kernel_size": 2,
        },
        audio_config={
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "subsampling_conv_channels": [16, 4],
            "output_proj_dims": 32,
        },
        tie_word_embeddings=False,
        image_token_id=token("<|image|>"),
        boi_token_id=token("<|image>"),
        eoi_token_id=token("<image|>"),
        video_token_id=token("<|video|>"),
        audio_token_id=token("<|audio|>"),
        boa_token_id=token("<|audio>"),
        eoa_token_index=token("<audio|>"),
    )
    processor = t.Gemma4Processor(
        t.Gemma4AudioFeatureExtractor(feature_size=16),
        t.Gemma4ImageProcessor(max_soft_tokens=70, pooling_kernel_size=2),
        made,
        t.Gemma4VideoProcessor(max_soft_tokens=70, pooling_kernel_size=2),
        chat_template=made.chat_template,
    )
    return save(t.Gemma4ForConditionalGeneration(config), folder, processor, made.eos_token_id)


def make_qwen2_vl(folder: Path) -> Path:
    """Patches of all videos in one list, positions along three axes."""
    t = transformers
    special = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    made = tokenizer(special, chat_template(video="<|vision_start|><|video_pad|><|vision_end|>"))
    config = t.Qwen2VLConfig(
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "mlp_ratio": 2},
        text_config={**text_config(len(made)), "rope_parameters": _MROPE},
        **_vision_tokens(made, special),
    )
    pixels = {"shortest_edge": 56 * 56, "longest_edge": 84 * 84}
    processor = t.Qwen2VLProcessor(
        t.Qwen2VLImageProcessor(size=pixels), made, t.Qwen2VLVideoProcessor(size=pixels), made.chat_template
    )
    return save(t.Qwen2VLForConditionalGeneration(config), folder, processor, made.eos_token_id)


def make_qwen3_5(folder: Path) -> Path:
    """Layers that keep a recurrent state beside attention; the thought is begun in the prompt."""
    t = transformers
    special = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    marked = "<|vision_start|><|{}_pad|><|vision_end|>"
    template = chat_template(image=marked.format("image"), video=marked.format("video"))
    template += (
        "{% if add_generation_prompt %}"
        "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n"
        "{% else %}<think>\n{% endif %}{% endif %}"
    )
    made = tokenizer(special, template)
    rope = {**_MROPE, "mrope_section": [2, 1, 1], "mrope_interleaved": True}
    config = t.Qwen3_5Config(
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 4,
            "out_hidden_size": 32,
            "num_position_embeddings": 64,
        },
        text_config={
            **text_config(len(made), num_hidden_layers=4),
            "head_dim": 8,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "layer_types": ["linear_attention", "full_attention"] * 2,
            "rope_parameters": {**rope, "partial_rotary_factor": 1.0},
        },
        **_vision_tokens(made, special),
    )
    pixels = {"shortest_edge": 8 * 64 * 64, "longest_edge": 8 * 96 * 96}
    processor = t.Qwen3VLProcessor(
        t.Qwen2VLImageProcessor(size=pixels, patch_size=16),
        made,
        t.Qwen3VLVideoProcessor(size=pixels),
        made.chat_template,
    )
    return save(t.Qwen3_5ForConditionalGeneration(config), folder, processor, made.eos_token_id)


def _vision_tokens(made: Any, special: list[str]) -> dict[str, int]:
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    return dict(zip(names, made.convert_tokens_to_ids(special), strict=True))


def make_glm46v(folder: Path) -> Path:
    """Every frame of a video between its own marks, with its time."""
    t = transformers
    marks = ["<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"]
    made = tokenizer(
        marks,
        chat_template(
            image="<|begin_of_image|><|image|><|end_of_image|>",
            video="<|begin_of_video|><|video|><|end_of_video|>",
        ),
        image_token="<|image|>",
        video_token="<|video|>",
    )
    token = made.convert_tokens_to_ids
    names = ("image_start_token_id", "image_end_token_id", "video_start_token_id", "video_end_token_id")
    config = t.Glm46VConfig(
        vision_config={
            "model_type": "glm4v_vision",
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 4,
            "out_hidden_size": 32,
            "image_size": 56,
        },
        text_config={"model_type": "glm4v_text", **text_config(len(made)), "rope_parameters": _MROPE},
        image_token_id=token("<|image|>"),
        video_token_id=token("<|video|>"),
        **dict(zip(names, token(marks), strict=True)),
    )
    pixels = {"shortest_edge": 56 * 56, "longest_edge": 8 * 84 * 84}
    processor = t.Glm46VProcessor(
        t.Glm46VImageProcessor(size=pixels), made, t.Glm46VVideoProcessor(size=pixels), made.chat_template
    )
    return save(t.Glm46VForConditionalGeneration(config), folder, processor, made.eos_token_id)


def make_molmo2(folder: Path) -> Path:
    """Pooled patches by index; the tokens of pictures look both ways."""
    t = transformers
    special = ["<im_patch>", "<im_col>", "<im_start>", "<low_res_im_start>", "<frame_start>", "<im_end>"]
    special += ["<frame_end>", "<im_low>"]
    made = tokenizer(
        special,
        chat_template(image="<|image|>", video="<|video|>"),
        image_token="<|image|>",
        video_token="<|video|>",
    )
    token = made.convert_tokens_to_ids
    config = t.Molmo2Config(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "head_dim": 8,
            "image_size": [56, 56],
            "num_position_embeddings": 16,
        },
        adapter_config={
            "vision_feature_layer": [-1],
            "hidden_size": 32,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "head_dim": 8,
            "intermediate_size": 64,
            "text_hidden_size": 32,
        },
        text_config={**text_config(len(made)), "head_dim": 8, "additional_vocab_size": 8},
        image_start_token_id=token("<im_start>"),
        low_res_image_start_token_id=token("<low_res_im_start>"),
        image_end_token_id=token("<im_end>"),
        image_patch_id=token("<im_patch>"),
        frame_start_token_id=token("<frame_start>"),
        frame_end_token_id=token("<frame_end>"),
    )
    size = {"height": 56, "width": 56}
    processor = t.Molmo2Processor(
        t.Molmo2ImageProcessor(size=size),
        t.Molmo2VideoProcessor(size=size),
        made,
        chat_template=made.chat_template,
    )
    return save(t.Molmo2ForConditionalGeneration(config), folder, processor, made.eos_token_id)


def make_gemma3(folder: Path) -> Path:
    """Pictures one by one: its processor has no videos. Its template takes no system turn."""
    t = transformers
    named = {
        "image_token": "<image_soft_token>",
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
    }
    template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    template += "{% endif %}" + chat_template(image="<start_of_image>")
    made = tokenizer(template=template, **named)
    token = made.convert_tokens_to_ids
    config = t.Gemma3Config(
        vision_config={**_SIGLIP, "vision_use_head": False},
        text_config={
            **text_config(len(made), pad_token_id=0),
            "head_dim": 8,
            "sliding_window": 64,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        tie_word_embeddings=False,
        mm_tokens_per_image=4,
        boi_token_index=token("<start_of_image>"),
        eoi_token_index=token("<end_of_image>"),
        image_token_index=token("<image_soft_token>"),
    )
    processor = t.Gemma3Processor(
        t.Gemma3ImageProcessor(size=_SMALL), made, made.chat_template, image_seq_length=4
    )
    return save(t.Gemma3ForConditionalGeneration(config), folder, processor, made.eos_token_id)


FAMILIES = {
    "llava-onevision": make_llava_onevision,
    "smolvlm": make_smolvlm,
    "gemma4": make_gemma4,
    "qwen2-vl": make_qwen2_vl,
    "qwen3.5": make_qwen3_5,
    "glm4.6v": make_glm46v,
    "molmo2": make_molmo2,
    "audioflamingo3": make_audioflamingo3,
    "voxtral": make_voxtral,
    "gemma3": make_gemma3,
}
# Packages of which the processors of some are made; no extra of emo has them.
NEEDS = {"smolvlm": "num2words", "voxtral": "mistral_common"}
