"""What is known of a family of chat models before one of them is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from emo.experts.protocol import Clip

if TYPE_CHECKING:
    from emo.experts.chat import ChatPreprocessor

Part = Literal["vision", "projector", "language"]

LANGUAGE = r"(model\.language_model|lm_head)\."
"""The weights of the language part, as transformers names them in all families so far."""


class Asking(Protocol):
    """What a preprocessor wants of a question: its text, and the chat with the media in their places."""

    def text(self, clip: Clip) -> str: ...

    def turns(self, clip: Clip, media: Sequence[dict[str, Any]]) -> list[dict[str, Any]]: ...


@dataclass(frozen=True)
class Family:
    """All that the engine and finetuning need of a family.

    classes: for each architecture that a checkpoint may name the class of transformers that loads it; senses:
    the modalities that the models perceive; preprocessor: makes a clip into the inputs of a model; prompts:
    the files `PROMPTS-description.txt` and `PROMPTS-open-vocabulary.txt` of `emo/experts/prompts`, those of a
    family with the same senses will do.

    parts: for each part of the model a pattern of the names of its weights, from the root of the model, as
    q_proj or gate_proj stand in the towers too. The first that fits decides. A family without parts cannot be
    finetuned.
    """

    classes: Mapping[str, str]
    senses: tuple[str, ...]
    preprocessor: type[ChatPreprocessor]
    prompts: str
    parts: Mapping[Part, str] = field(default_factory=dict)
