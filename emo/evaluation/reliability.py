"""How far agreement tells whether labels are right: the reliability curve and the expected calibration error.

Clips are put into bins of equal size by the agreement of their voters. Expected calibration error: Guo et al.
2017 (arXiv 1706.04599), section 2, with agreement as the confidence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emo.errors import InputError
from emo.evaluation.bootstrap import PerClip, interval
from emo.evaluation.overlap import Labels
from emo.vocabulary import normalise
from emo.vocabulary.meaning import meaning

BINS = 5
RIGHT, ERROR = "labels that are right", "calibration error"


@dataclass(frozen=True)
class Bin:
    """Clips of about one agreement. agreement: from, to and their mean; right: share of their labels that are
    right, with its interval and standard error; from_here: the same share over this bin and all above."""

    lowest: float
    highest: float
    agreement: float
    right: float
    low: float
    high: float
    standard_error: float
    from_here: float
    labels: int
    clips: int


@dataclass(frozen=True)
class Reliability:
    """error: the expected calibration error; right: the share of all labels that are right; trusted: the
    lowest agreement from which on every bin is surely more often right than all are, None where
    there is none; bins: low to high; clips, labels: how many were looked at."""

    metric: str
    error: float
    right: float
    trusted: float | None
    bins: tuple[Bin, ...]
    clips: int
    labels: int
    notes: tuple[str, ...] = ()


def reliability(
    gold: Labels, predicted: Mapping[str, Sequence[str]], agreement: Mapping[str, float]
) -> tuple[Reliability, dict[str, list[PerClip]]]:
    """The curve over the clips of gold with an agreement and a label, and what its numbers are made of.

    gold, predicted: video_id -> labels; agreement: video_id -> 0 to 1. A label is right where gold has one of
    its meaning. Raises InputError where fewer than 2 BINS clips are left.
    """
    wanted = {video_id: set(map(_meaning, labels)) for video_id, labels in gold.items()}
    usable = [one for one in sorted(gold) if agreement.get(one) is not None and predicted.get(one)]
    if len(usable) < 2 * BINS:
        raise InputError(
            f"reliability: {len(usable)} clips of gold have a label and several voters; expected at least "
            f"{2 * BINS}"
        )
    sure = np.array([agreement[one] for one in usable])
    given = np.array([float(len(predicted[one])) for one in usable])
    hits = np.array(
        [float(sum(_meaning(label) in wanted[one] for label in predicted[one])) for one in usable]
    )
    edges = np.unique(np.quantile(sure, np.arange(1, BINS) / BINS))
    place = np.searchsorted(edges, sure, side="right")
    values = np.stack([sure, given, hits])

    def part(which: np.ndarray) -> PerClip:
        return PerClip(
            tuple(np.array(usable)[which]), values[:, which], lambda of, w: (w @ of[2]) / (w @ of[1])
        )

    bins = []
    for number in sorted(set(place.tolist())):
        here = place == number
        share, rest = interval([part(here)]), part(place >= number).value()
        bins.append(
            Bin(
                *(float(sure[here].min()), float(sure[here].max()), float(sure[here].mean())),
                *(share.value, share.low, share.high, share.standard_error),
                rest,
                labels=int(given[here].sum()),
                clips=int(here.sum()),
            )
        )

    def error(of: np.ndarray, weights: np.ndarray) -> np.ndarray:
        bin_of = np.searchsorted(edges, of[0], side="right")
        total = np.zeros(weights.shape[:-1])
        for number in range(len(edges) + 1):
            chosen = weights * (bin_of == number)
            total = total + np.abs(chosen @ of[2] - chosen @ (of[1] * of[0]))
        return total / (weights @ of[1])

    whole = part(np.ones(len(usable), dtype=bool))
    gap = PerClip(tuple(usable), values, error)
    right, trusted = whole.value(), None
    for one in reversed(bins):
        if one.low <= right:
            break
        trusted = one.lowest
    result = Reliability(
        metric="reliability",
        error=gap.value(),
        right=right,
        trusted=trusted,
        bins=tuple(bins),
        clips=len(usable),
        labels=int(given.sum()),
    )
    return result, {RIGHT: [whole], ERROR: [gap]}


def _meaning(label: str) -> str:
    return meaning(normalise(label))
