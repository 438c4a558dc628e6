"""What a report says of people's reviews: how right they call the labels, and what they changed."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo.errors import InputError
from emo.evaluation.reliability import Reliability, reliability
from emo.report.pieces import ranked
from emo.report.summary import Count
from emo.review import figures
from emo.review.consensus import UNUSABLE, Agreed, agreed, by_clip
from emo.store import planning
from emo.vocabulary import normalise
from emo.vocabulary.meaning import meaning


@dataclass(frozen=True)
class OfClip:
    """The reviews of a clip. said: each reviewer with the labels (None: unusable) and the comment; counts:
    what they agree on, None where they do not; changed: whether that is another meaning than the machine's.
    """

    said: tuple[tuple[str, tuple[str, ...] | None, str | None], ...]
    counts: Agreed | None
    changed: bool


@dataclass(frozen=True)
class Reviewed:
    """lines: the figures for a person; by_clip: video_id -> its reviews; agreed, changed: clips; taken,
    added: labels that reviews took away or added, most often first.
    """

    lines: tuple[str, ...] = ()
    by_clip: Mapping[str, OfClip] | None = None
    agreed: int = 0
    changed: int = 0
    taken: tuple[Count, ...] = ()
    added: tuple[Count, ...] = ()

    def of(self, video_id: str) -> OfClip | None:
        """The reviews of a clip; None: it has none."""
        return (self.by_clip or {}).get(video_id)

    def shown_first(self) -> list[str]:
        """Reviewed clips, those first whose labels changed."""
        clips = self.by_clip or {}
        return sorted(clips, key=lambda video_id: (not clips[video_id].changed, video_id))


def curve(people: Reviewed, judgments: pa.Table) -> Reliability | None:
    """How often the machine's labels are right by the agreement of its voters, on the clips that people agree
    on; None where these are too few.

    judgments: rows of the table with `video_id`, `labels`, `agreement` and `status`.
    """
    gold = {
        video_id: one.counts.labels
        for video_id, one in (people.by_clip or {}).items()
        if one.counts is not None and one.counts.labels is not None
    }
    rows = planning.well(judgments)
    rows = rows.filter(pc.is_in(rows.column("video_id"), value_set=pa.array(list(gold), pa.string())))
    ids, labels, agreement = (rows.column(name).to_pylist() for name in ("video_id", "labels", "agreement"))
    try:
        found, _ = reliability(
            gold, dict(zip(ids, labels, strict=True)), dict(zip(ids, agreement, strict=True))
        )
    except InputError:
        return None
    return found


def reviewed(reviews: Sequence[Mapping[str, Any]]) -> Reviewed:
    """What the newest reviews of each clip and reviewer say."""
    if not reviews:
        return Reviewed()
    clips = {video_id: _of_clip(rows) for video_id, rows in sorted(by_clip(reviews).items())}
    return Reviewed(
        tuple(figures.lines(figures.quality(reviews))),
        clips,
        sum(one.counts is not None for one in clips.values()),
        sum(one.changed for one in clips.values()),
        _most(row["removed"] for row in reviews),
        _most(row["added"] for row in reviews if not row["blind"]),
    )


def _of_clip(rows: Sequence[Mapping[str, Any]]) -> OfClip:
    rows = sorted(rows, key=lambda row: row["reviewer"])
    counts = agreed(rows)
    shown = next((row["shown_labels"] for row in rows if row["shown_labels"] is not None), None)
    changed = (
        counts is not None
        and shown is not None
        and (counts.labels is None or {*map(meaning, counts.labels)} != {*map(meaning, shown)})
    )
    said = tuple(
        (
            row["reviewer"],
            None if row["verdict"] == UNUSABLE else tuple(row["labels"] or ()),
            row["comment"],
        )
        for row in rows
    )
    return OfClip(said, counts, changed)


def _most(labels: Iterable[Sequence[str] | None]) -> tuple[Count, ...]:
    counted = Counter(word for given in labels for word in {normalise(label) for label in given or ()})
    return tuple(Count(word, clips) for word, clips in ranked(counted))
