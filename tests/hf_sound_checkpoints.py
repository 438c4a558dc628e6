"""Tiny random checkpoints of families that hear only and have no file of their own."""

import base64
import json
from pathlib import Path
from typing import Any

import transformers

from checkpoint_parts import chat_template, save, text_config, tokenizer


def _whisper(**changes: Any) -> Any:
    return transformers.WhisperFeatureExtractor(feature_size=16, return_attention_mask=True, **changes)


def make_audioflamingo3(folder: Path) -> Path:
    """Sound alone, in windows."""
    t = transformers
    made = tokenizer(["<sound>"], chat_template(audio="<sound>"))
    config = t.AudioFlamingo3Config(
        audio_config={
            "num_mel_bins": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "hidden_size": 32,
            "max_source_positions": 100,
        },
        text_config={"model_type": "qwen2", **text_config(len(made))},
        audio_token_id=made.convert_tokens_to_ids("<sound>"),
    )
    processor = t.AudioFlamingo3Processor(_whisper(chunk_length=2), made, made.chat_template)
    return save(t.AudioFlamingo3ForConditionalGeneration(config), folder, processor, made.eos_token_id)


def make_voxtral(folder: Path) -> Path:
    """Sound alone; the chat is written by the package mistral-common, not by a template."""
    t = transformers
    vocabulary = 1256
    tokens = [
        {"rank": byte, "token_bytes": base64.b64encode(bytes([byte])).decode(), "token_str": None}
        for byte in range(256)
    ]
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"]
    names += ["[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[TOOL_CONTENT]", "<pad>"]
    names += ["[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]"]
    names += ["[ARGS]", "[CALL_ID]", *(f"<special_{at}>" for at in range(19, 24))]
    names += ["[AUDIO]", "[BEGIN_AUDIO]", "[TRANSCRIBE]"]
    window = {"num_mel_bins": 16, "hop_length": 160, "window_size": 400}
    content = {
        "config": {
            "pattern": r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|\s+|[^\s\p{L}\p{N}]+",
            "num_vocab_tokens": 256,
            "default_vocab_size": vocabulary,
            "default_num_special_tokens": 1000,
            "version": "v7",
        },
        "vocab": tokens,
        "special_tokens": [
            {"rank": at, "token_str": name, "is_control": True} for at, name in enumerate(names)
        ],
        "audio": {
            "sampling_rate": 16_000,
            "frame_rate": 12.5,
            "audio_encoding_config": window,
            "chunk_length_s": 30.0,
        },
    }
    folder.mkdir(exist_ok=True)
    (folder / "tekken.json").write_text(json.dumps(content))
    made = t.MistralCommonBackend(folder / "tekken.json")
    config = t.VoxtralConfig(
        audio_config={
            "num_mel_bins": 16,
            "hidden_size": 32,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_source_positions": 1500,
        },
        text_config={"model_type": "llama", **text_config(vocabulary)},
        audio_token_id=24,
    )
    processor = t.VoxtralProcessor(t.WhisperFeatureExtractor(feature_size=16), made)
    return save(t.VoxtralForConditionalGeneration(config), folder, processor, made.eos_token_id)
