"""Which class of transformers loads a checkpoint that takes pictures, videos or sound and writes text."""

from pathlib import Path
from typing import Any

from emo.engines.models import read_config
from emo.errors import InputError

# Families that the mapping of transformers lists elsewhere, or with a class that also speaks.
_CLASSES = {
    "audioflamingo3": "AudioFlamingo3ForConditionalGeneration",
    "musicflamingo": "MusicFlamingoForConditionalGeneration",
    "qwen2_5_omni": "Qwen2_5OmniThinkerForConditionalGeneration",
    "qwen3_omni_moe": "Qwen3OmniMoeThinkerForConditionalGeneration",
}
# The entries of a checkpoint's own code, the likeliest first.
_OWN = ("AutoModelForMultimodalLM", "AutoModelForImageTextToText", "AutoModelForCausalLM", "AutoModel")


def brings_code(name: str) -> bool:
    """Whether a name that `class_name` gave means a class of the checkpoint's own code."""
    return name in _OWN


def families() -> dict[str, str]:
    """Each family (`model_type`) that transformers has a class for, with the class."""
    from emo.engines.private import class_of_family

    return {**class_of_family(), **_CLASSES}


def model_class(folder: Path, trust_remote_code: bool) -> Any:
    """The class that loads the checkpoint; raises InputError as `class_name` does."""
    import transformers

    from emo.engines.private import class_of_own_code

    name = class_name(folder, trust_remote_code)
    if not brings_code(name):
        return getattr(transformers, name)
    return class_of_own_code(read_config(folder)["auto_map"][name], str(folder))


def class_name(folder: Path, trust_remote_code: bool) -> str:
    """The name of the class in transformers, or of its automatic class where the checkpoint brings code.

    Raises InputError where there is none, and where only code that nobody consented to could load it.
    """
    config = read_config(folder)
    family = config.get("model_type")
    known = families()
    if family in known:
        return known[family]
    own = config.get("auto_map") or {}
    found = next((name for name in _OWN if name in own), None)
    if found is not None and trust_remote_code:
        return found
    import transformers

    told = f"{folder}: transformers {transformers.__version__} has no class for {family!r} that takes media"
    if found is not None:
        raise InputError(f"{told}; the checkpoint brings its own code, which trust_remote_code: true runs")
    raise InputError(f"{told}; serve it and use the expert `openai`")
