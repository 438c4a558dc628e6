"""The experts: one file per model family, and the registry that names them."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from emo.errors import InputError
from emo.experts.protocol import Expert

REGISTRY: dict[str, str] = {
    "affectgpt": "emo.experts.affectgpt:AffectGPTExpert",
    "classifier": "emo.experts.classifier:ClassifierExpert",
    "face": "emo.experts.face:FaceExpert",
    "internvl": "emo.experts.internvl:InternVLExpert",
    "openai": "emo.experts.openai:OpenAIExpert",
    "qwen-audio": "emo.experts.qwen_audio:QwenAudioExpert",
    "qwen-omni": "emo.experts.qwen_omni:QwenOmniExpert",
    "qwen-vl": "emo.experts.qwen_vl:QwenVLExpert",
    "transcript": "emo.experts.transcript:TranscriptExpert",
    "voice": "emo.experts.voice:VoiceExpert",
    "words": "emo.experts.words:WordsExpert",
}


def expert_class(kind: str) -> type[Expert]:
    """The class behind one entry of the registry; raises InputError for an unknown kind."""
    try:
        module, _, name = REGISTRY[kind].partition(":")
    except KeyError:
        raise InputError(
            f"unknown expert kind {kind!r}; expected one of: {', '.join(sorted(REGISTRY))}"
        ) from None
    return getattr(import_module(module), name)


def load(settings: Mapping[str, Any]) -> Expert:
    """Make the expert that validated settings describe."""
    cls = expert_class(settings["kind"])
    return cls(cls.Settings(**settings))
