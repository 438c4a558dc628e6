"""How sure a score is: bootstrap over clips, and a paired test between two systems."""

from dataclasses import dataclass

import numpy as np

from emo.errors import InputError
from emo.evaluation.overlap import Overlaps

DRAWS = 2000


@dataclass(frozen=True)
class Interval:
    """value: the score itself; low, high: the middle `level` of the draws; standard_error: their spread."""

    value: float
    low: float
    high: float
    standard_error: float
    level: float
    draws: int


@dataclass(frozen=True)
class Comparison:
    """b minus a on the same clips: the difference with its interval, and how often a difference of this size
    or larger, in either direction, comes from swapping the two systems' answers clip by clip at random
    (`p_value`, an approximate randomisation test; Noreen 1989)."""

    difference: Interval
    p_value: float
    clips: int


def f_interval(overlaps: Overlaps, draws: int = DRAWS, level: float = 0.95, seed: int = 0) -> Interval:
    """The interval of F, averaged over the mappings (for EW: the five wheels), when clips are drawn anew."""
    value = float(overlaps.f_of_means()[0].mean())
    drawn = overlaps.f_of_means(_draw(len(overlaps.video_ids), draws, seed))[0].mean(axis=-1)
    return _interval(value, drawn, level)


def compare(a: Overlaps, b: Overlaps, draws: int = DRAWS, level: float = 0.95, seed: int = 0) -> Comparison:
    """Whether `b` is better than `a`; both must be of the same gold set. Raises InputError where not."""
    if a.video_ids != b.video_ids or a.names != b.names or not np.array_equal(a.counted, b.counted):
        raise InputError("compare: the two systems must be scored on the same clips with the same mappings")
    weights = _draw(len(a.video_ids), draws, seed)
    drawn = (b.f_of_means(weights)[0] - a.f_of_means(weights)[0]).mean(axis=-1)
    value = float((b.f_of_means()[0] - a.f_of_means()[0]).mean())
    swaps = np.random.default_rng(seed + 1).random((draws, len(a.video_ids))) < 0.5
    swapped = _f_after(b, a, swaps) - _f_after(a, b, swaps)
    as_large = int((np.abs(swapped) >= abs(value) - 1e-12).sum())
    return Comparison(_interval(value, drawn, level), (as_large + 1) / (draws + 1), len(a.video_ids))


def _f_after(own: Overlaps, other: Overlaps, swaps: np.ndarray) -> np.ndarray:
    """F of a system that takes the other's answer where `swaps` (draws, clips) says so."""
    clips = own.counted.sum(axis=1)
    precision = own.precision.sum(axis=1) + swaps @ (other.precision - own.precision).T
    recall = own.recall.sum(axis=1) + swaps @ (other.recall - own.recall).T
    precision, recall = precision / clips, recall / clips
    total = precision + recall
    f = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    return f.mean(axis=-1)


def _draw(clips: int, draws: int, seed: int) -> np.ndarray:
    """How often each clip stands in each draw: float64 (draws, clips)."""
    return np.random.default_rng(seed).multinomial(clips, np.full(clips, 1 / clips), size=draws).astype(float)


def _interval(value: float, drawn: np.ndarray, level: float) -> Interval:
    usable = drawn[~np.isnan(drawn)]
    if not len(usable):
        raise InputError("bootstrap: too few clips to draw from")
    low, high = np.quantile(usable, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), float(usable.std(ddof=1)), level, len(usable))
