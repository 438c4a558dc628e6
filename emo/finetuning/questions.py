"""The question that a caption of the whole person is trained to answer."""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np

from emo.captions.messages import TAGS, Turn
from emo.experts.in_process import finetunable
from emo.experts.prompts import load_prompt
from emo.finetuning.settings import Finetune


def as_labelled(turns: Sequence[Turn], name: str, settings: Finetune) -> Sequence[Turn]:
    """A chat about the whole person, in some samples with the question that `emo label` asks of the family.

    name: of the sample, which decides. An adapter that never met that question is asked it all the same.
    """
    return asked_as_labelled(turns, settings) if are_asked([name], settings)[0] else turns


def are_asked(names: Iterable[str], settings: Finetune) -> np.ndarray:
    """Whether the samples of these names are among those that answer the question of `emo label`: bool."""
    digests = b"".join([hashlib.sha256(f"question\0{name}".encode()).digest() for name in names])
    # The first 8 bytes of the 32 of each, as a share of all that these can be.
    return np.frombuffer(digests, ">u8")[::4] / 2.0**64 < settings.label_question


def asked_as_labelled(turns: Sequence[Turn], settings: Finetune) -> Sequence[Turn]:
    """A chat with one question, with that of `emo label` in its place; any other chat as it is."""
    users = [number for number, turn in enumerate(turns) if turn.role == "user"]
    if len(users) != 1:
        return turns
    changed = list(turns)
    was = turns[users[0]]
    shown = "".join(tag * was.content.count(tag) for tag in TAGS.values())
    changed[users[0]] = Turn("user", f"{shown}\n{_label_question(settings.family)}", was.loss)
    return changed


@cache
def _label_question(family: str) -> str:
    """What `emo label` asks of the family; read once, not for each of a million samples."""
    return load_prompt(f"{finetunable(family).family.prompts}-description").text
