"""How far what is seen and what is heard or said contradict each other in a clip."""

from collections.abc import Iterable, Mapping
from typing import Any

from emo.experts.protocol import FRAMES
from emo.review.consensus import jaccard
from emo.vocabulary.meaning import meaning

# What is looked at: whole frames, or the faces that were cut out of them.
_SIGHT = {FRAMES, "face", "faces"}


def conflicts(votes: Iterable[Mapping[str, Any]], senses: Mapping[str, Iterable[str]]) -> dict[str, float]:
    """video_id -> 1 minus the Jaccard index of the meanings that either side named, 0 to 1.

    votes: rows with video_id, expert and labels of votes that went well; senses: expert -> the modalities
    that it takes. One side are the experts that see and do not hear or read, the other those that do not
    see. A clip on which a side is silent or absent has no conflict that is known.
    """
    seen: dict[str, set[str]] = {}
    unseen: dict[str, set[str]] = {}
    side = {name: _side(set(taken), seen, unseen) for name, taken in senses.items()}
    for row in votes:
        into = side.get(row["expert"])
        if into is not None and row["labels"]:
            into.setdefault(row["video_id"], set()).update(map(meaning, row["labels"]))
    return {
        video_id: 1 - jaccard(named, unseen[video_id])
        for video_id, named in seen.items()
        if video_id in unseen
    }


def _side(
    senses: set[str], seen: dict[str, set[str]], unseen: dict[str, set[str]]
) -> dict[str, set[str]] | None:
    if senses and not senses & _SIGHT:
        return unseen
    return seen if senses and senses <= _SIGHT else None
