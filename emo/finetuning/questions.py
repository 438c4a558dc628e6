"""The question that a caption of the whole person is trained to answer."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from emo.captions.messages import TAGS, Turn
from emo.experts.in_process import finetunable
from emo.experts.prompts import load_prompt
from emo.finetuning.settings import Finetune


def as_labelled(turns: Sequence[Turn], name: str, settings: Finetune) -> list[Turn]:
    """A chat about the whole person, in some samples with the question that `emo label` asks of the family.

    name: of the sample, which decides. An adapter that never met that question is asked it all the same.
    """
    digest = hashlib.sha256(f"question\0{name}".encode()).digest()
    if int.from_bytes(digest[:8], "big") / 2**64 >= settings.label_question:
        return list(turns)
    asked = _label_question(settings.family)
    users = [number for number, turn in enumerate(turns) if turn.role == "user"]
    if len(users) != 1:
        return list(turns)
    changed = list(turns)
    shown = "".join(tag * turns[users[0]].content.count(tag) for tag in TAGS.values())
    changed[users[0]] = replace(turns[users[0]], content=f"{shown}\n{asked}")
    return changed


@cache
def _label_question(family: str) -> str:
    """What `emo label` asks of the family; read once, not for each of a million samples."""
    return load_prompt(f"{finetunable(family).family.prompts}-description").text
