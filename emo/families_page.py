"""The page docs/families.md: which families of the installed transformers the expert `hf` loads.

`python -m emo.families_page > docs/families.md` writes it, from the classes of the installed transformers.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass

from emo.engines.any_class import families
from emo.engines.private import processor_of_family

_INTRODUCTION = """\
# Families that the expert `hf` loads

`{kind: hf, model: NAME}` runs a checkpoint of any of these families with its own processor and its own
`generate`. Nothing has to be written for a new one. Use a kind of its own where there is one: `qwen-vl`,
`qwen-omni`, `qwen-audio`, `internvl` and `affectgpt` run in the loop of emo, in which rows come and go, and
can be finetuned. `engine: vllm` is the way to full speed for all of them that vLLM loads.

The table is made from the classes of transformers VERSION. "Tried" are those that the tests run with a small
random checkpoint, from its files to its answers; of the others the classes fit together. A checkpoint needs
a chat template besides. What the model takes of a clip is looked up when it is loaded: a video with its times
before pictures, and the sound where it takes both. `smolvlm` needs the package `num2words`, `voxtral` the
package `mistral-common` (the extra `families` has both).

This page is written by `python -m emo.families_page`; do not edit it by hand.
"""

# Families (`model_type`) of tests/hf_checkpoints.py.
TRIED = (
    "audioflamingo3",
    "gemma3",
    "gemma4",
    "glm46v",
    "llava_onevision",
    "molmo2",
    "qwen2_vl",
    "qwen3_5",
    "smolvlm",
    "voxtral",
)
_OWN = {
    "internvl": "internvl",
    "qwen2_5_vl": "qwen-vl",
    "qwen3_vl": "qwen-vl",
    "qwen3_vl_moe": "qwen-vl",
    "qwen2_audio": "qwen-audio",
    "qwen2_5_omni": "qwen-omni",
    "qwen2_5_omni_thinker": "qwen-omni",
    "qwen3_omni_moe": "qwen-omni",
    "qwen3_omni_moe_thinker": "qwen-omni",
}


# What processors take that only load with a package beside transformers (mistral-common).
_NEEDING_A_PACKAGE = {"voxtral": ("sound",), "voxtral_realtime": ("sound",)}


@dataclass(frozen=True)
class Family:
    """takes: the media; fault: why it is not loaded, None where it is."""

    name: str
    cls: str
    takes: tuple[str, ...]
    fault: str | None


def found() -> Iterator[Family]:
    """Every family, by name."""
    for name, cls in sorted(families().items()):
        takes, fault = _looked_at(name, cls)
        yield Family(name, cls, takes, fault)


def _looked_at(name: str, cls: str) -> tuple[tuple[str, ...], str | None]:
    import transformers

    model = getattr(transformers, cls, None)
    if model is None or not hasattr(model, "forward"):
        return (), "this version has no such class"
    if not model.can_generate():
        return (), "it does not write text"
    if model.config_class is not None and getattr(model.config_class(), "is_encoder_decoder", False):
        return (), "an encoder-decoder, which writes no answer after a prompt"
    processor = getattr(transformers, processor_of_family().get(name) or "", None)
    if processor is None:
        return (), None
    if getattr(processor, "is_dummy", False):
        # A package that it needs is not installed. The page is the same everywhere.
        return _NEEDING_A_PACKAGE.get(name, ()), None
    parts = set(processor.get_attributes())
    if "tokenizer" not in parts:
        return (), "its processor has no tokenizer"
    arguments = set(inspect.signature(model.forward).parameters)
    takes = tuple(medium for medium, there in _media(parts, arguments) if there)
    return takes, None if takes else "it takes neither pictures nor sound"


def _media(parts: set[str], arguments: set[str]) -> Iterator[tuple[str, bool]]:
    pictures = any("pixel_values" in name for name in arguments)
    videos = any("video" in name for name in arguments) or pictures
    sound = any(name.startswith(("input_features", "input_values", "audio_")) for name in arguments)
    yield "video", "video_processor" in parts and videos
    yield "images", "image_processor" in parts and pictures
    yield "sound", bool({"feature_extractor", "audio_processor"} & parts) and sound


def page() -> str:
    """The whole page as Markdown."""
    import transformers

    rows = [
        "| family | class | takes | loads | |",
        "|---|---|---|---|---|",
        *(
            f"| `{family.name}` | `{family.cls}` | {_takes(family)} "
            f"| {'no: ' + family.fault if family.fault else 'yes'} | {_note(family)} |"
            for family in found()
        ),
    ]
    return _INTRODUCTION.replace("VERSION", transformers.__version__) + "\n" + "\n".join(rows) + "\n"


def _takes(family: Family) -> str:
    if family.fault:
        return "–"
    return ", ".join(family.takes) or "what the processor takes that the checkpoint names"


def _note(family: Family) -> str:
    notes = ["tried"] if family.name in TRIED else []
    if family.name in _OWN:
        notes.append(f"own kind: `{_OWN[family.name]}`")
    return "; ".join(notes)


if __name__ == "__main__":
    print(page(), end="")
