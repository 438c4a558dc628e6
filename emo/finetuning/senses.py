"""Whether an answer speaks of what the trained family can sense.

A model without ears that is trained on "the voice trembles" learns to make such things up.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from emo.captions.messages import Video
from emo.captions.prompts import sense_asked
from emo.errors import RowError
from emo.experts.in_process import finetunable
from emo.experts.protocol import AUDIO, FRAMES
from emo.finetuning.settings import Finetune

_NAMED = {FRAMES: "pictures", AUDIO: "sound"}
CODE = "other_sense"


def of_caption(row: Mapping[str, Any]) -> set[str]:
    """The senses that a row of the `captions` table may speak of: those of its drafter and of its prompt."""
    found = {sense for sense, used in ((FRAMES, row["frames"]), (AUDIO, row["audio"])) if used}
    asked = sense_asked((row["source"] or {}).get("prompt") or "")
    return found if asked is None else found | {asked}


def of_files(images: Sequence[str], videos: Sequence[Video], audios: Sequence[str]) -> set[str]:
    """The senses that a chat with these media may speak of; a video stands for its pictures."""
    return {sense for sense, media in ((FRAMES, [*images, *videos]), (AUDIO, audios)) if media}


def check(settings: Finetune, spoken_of: Iterable[str], why: str) -> None:
    """Raise RowError `other_sense` where the family lacks one of these senses, unless that is asked for.

    why: what speaks of them, for a person.
    """
    lacking = sorted(set(spoken_of) - set(finetunable(settings.family).family.senses))
    if lacking and not settings.other_senses:
        named = " and ".join(_NAMED[sense] for sense in lacking)
        raise RowError(
            CODE,
            f"{why} {named}, which {settings.family} is not given; finetune.other_senses=true trains on it "
            "all the same",
        )
