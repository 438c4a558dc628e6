"""What reviews say of the quality of labels: shares with their intervals, and how far people agree."""

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emo.review.consensus import UNUSABLE, by_clip, jaccard
from emo.review.queue import RANDOM, drawn
from emo.vocabulary import normalise
from emo.vocabulary.meaning import meaning

# Of the normal distribution, for intervals of 95 %.
_Z = 1.959963984540054


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval of Wilson (1927); low and high are 0 and 1 where nothing was counted.

    right: of a clip with several answers the part of them that are.
    """

    right: float
    of: int
    low: float
    high: float

    @property
    def value(self) -> float | None:
        return self.right / self.of if self.of else None


def wilson(right: float, of: int) -> Share:
    """The interval of Wilson, Probable inference (1927): it stays within 0 and 1 and holds for few."""
    if of == 0:
        return Share(0, 0, 0.0, 1.0)
    share = right / of
    middle = share + _Z**2 / (2 * of)
    half = _Z * math.sqrt(share * (1 - share) / of + _Z**2 / (4 * of**2))
    scale = 1 + _Z**2 / of
    return Share(right, of, max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale))


def alpha(units: Sequence[Sequence[frozenset[str]]]) -> float | None:
    """Krippendorff's alpha (Content Analysis, 2004, chapter 11) of label sets, with the distance of Jaccard.

    units: per clip the label set of each person; a clip with fewer than two counts nothing. 1: people always
    agree; 0: as much as chance gives; None where no two people labelled one clip, or all sets are the same.
    """
    pairable = [unit for unit in units if len(unit) > 1]
    values = Counter(one for unit in pairable for one in unit)
    n = values.total()
    if not n:
        return None
    seen = sum(_distances(Counter(unit)) / (len(unit) - 1) for unit in pairable) / n
    expected = _distances(values) / (n * (n - 1))
    return None if expected == 0 else 1 - seen / expected


def _distances(values: Counter[frozenset[str]]) -> float:
    """The sum of the distances of all ordered pairs."""
    sets = list(values.items())
    return 2 * sum(
        many * count * (1 - jaccard(one, other))
        for place, (one, many) in enumerate(sets)
        for other, count in sets[place + 1 :]
    )


def people_agree(
    reviews: Sequence[Mapping[str, Any]], of: Callable[[str], str] = meaning
) -> tuple[float | None, int]:
    """Alpha of the usable reviews, and how many clips two people or more labelled. of: what is compared."""
    units = [
        [frozenset(map(of, row["labels"] or ())) for row in rows if row["verdict"] != UNUSABLE]
        for rows in by_clip(reviews).values()
    ]
    return alpha(units), sum(len(unit) > 1 for unit in units)


def is_right(row: Mapping[str, Any]) -> bool:
    """Whether a person says what the machine said, by meaning."""
    return _meanings(row["labels"]) == _meanings(row["shown_labels"])


def _right_clips(reviews: Sequence[Mapping[str, Any]]) -> Share:
    # Each clip counts once: two people on one clip are no two clips of the sample.
    clips = by_clip(reviews).values()
    return wilson(sum(sum(map(is_right, rows)) / len(rows) for rows in clips), len(clips))


def _meanings(labels: Collection[str] | None) -> set[str]:
    return set(map(meaning, labels or ()))


def fair_sample(reviews: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The usable reviews of a random sample of the clips, those that were shown no judgment left out.

    Random clips are asked for in the order of `drawn`. So each reviewed clip that comes no later in that
    order than the last random one belongs to the sample, whatever it was asked for.
    """
    last = max((drawn(row["video_id"]) for row in reviews if row["queue"] == RANDOM), default=-1.0)
    return [
        row
        for row in reviews
        if drawn(row["video_id"]) <= last and row["verdict"] != UNUSABLE and row["shown_labels"] is not None
    ]


def quality(reviews: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the reviews say of the machine's labels, as plain values.

    clips: reviewed; right: share of the fair sample's clips on which a person changed no meaning, of those
    that were shown the labels; blind: the same of those that were not; labels: share of the single labels
    shown that were kept; alpha_words, alpha_clusters: how far people agree, on so many clips.
    """
    sample = fair_sample(reviews)
    shown = [row for row in sample if not row["blind"]]
    blind = [row for row in sample if row["blind"]]
    offered = [(label, row) for row in shown for label in row["shown_labels"]]
    kept = sum(meaning(label) in _meanings(row["labels"]) for label, row in offered)
    by_words, shared = people_agree(reviews, normalise)
    by_cluster, _ = people_agree(reviews)
    return {
        "reviews": len(reviews),
        "clips": len({row["video_id"] for row in reviews}),
        "reviewers": len({row["reviewer"] for row in reviews}),
        "unusable": len({row["video_id"] for row in reviews if row["verdict"] == UNUSABLE}),
        "right": _told(_right_clips(shown)),
        "blind": _told(_right_clips(blind)),
        "labels": _told(wilson(kept, len(offered))),
        "alpha_words": by_words,
        "alpha_clusters": by_cluster,
        "shared_clips": shared,
    }


def _told(share: Share) -> dict[str, Any]:
    return {"right": share.right, "of": share.of, "share": share.value, "low": share.low, "high": share.high}


def lines(found: Mapping[str, Any]) -> list[str]:
    """The same for a person."""
    told = [f"{found['reviews']} reviews of {found['clips']} clips by {found['reviewers']} reviewers"]
    if found["unusable"]:
        told[0] += f", {found['unusable']} clips unusable"
    for name, what in (("right", "right as shown"), ("blind", "right, blind")):
        one = found[name]
        if one["of"]:
            told.append(
                f"{what}: {one['share']:.0%} of {one['of']} random clips "
                f"(95 % interval {one['low']:.0%} to {one['high']:.0%})"
            )
    if found["alpha_clusters"] is not None:
        told.append(
            f"agreement of people: alpha {found['alpha_clusters']:.2f} by cluster, "
            f"{found['alpha_words']:.2f} by word, on {found['shared_clips']} clips"
        )
    return told
