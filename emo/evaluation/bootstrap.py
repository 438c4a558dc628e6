"""How sure a score is: bootstrap over clips, and a paired test between two systems."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from emo.errors import InputError
from emo.evaluation.overlap import Overlaps

DRAWS = 2000
_NUMBERS_AT_ONCE = 20_000_000  # draws times clips that are held in memory


@dataclass(frozen=True)
class PerClip:
    """What a score is made of, clip by clip, so that clips can be drawn anew and answers be swapped.

    video_ids: n; values: float64 (k, n), as `score` reads them; score: from values and weights (..., n), how
    often each clip counts, to the score (...), nan where nothing is counted.
    """

    video_ids: tuple[str, ...]
    values: np.ndarray
    score: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def value(self) -> float:
        """The score itself: every clip once."""
        return float(self.score(self.values, np.ones(len(self.video_ids))))


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


def per_clip_f(overlaps: Overlaps) -> PerClip:
    """F of the averages over clips, averaged over the mappings (for EW: the five wheels)."""
    return _of_overlaps(overlaps, 0)


def per_clip_recall(overlaps: Overlaps) -> PerClip:
    """Recall, averaged over the mappings; with one gold label per clip it is the hit rate."""
    return _of_overlaps(overlaps, 2)


def _of_overlaps(overlaps: Overlaps, which: int) -> PerClip:
    names = overlaps.names
    parts = (overlaps.precision, overlaps.recall, overlaps.counted)

    def score(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        precision, recall, counted = np.split(values, 3)
        ids = ("",) * values.shape[1]
        some = Overlaps(ids, names, precision, recall, counted.astype(bool))
        return some.f_of_means(weights)[which].mean(axis=-1)

    return PerClip(overlaps.video_ids, np.concatenate(parts).astype(np.float64), score)


def per_clip_mean(video_ids: Sequence[str], values: np.ndarray) -> PerClip:
    """The average over clips and over k kinds of values: float64 (k, n)."""
    return PerClip(tuple(video_ids), values, lambda values, weights: _mean(values.mean(axis=0), weights))


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return weights @ values / weights.sum(axis=-1)


def f_interval(overlaps: Overlaps, draws: int = DRAWS, seed: int = 0) -> Interval:
    """The interval of F, averaged over the mappings (for EW: the five wheels), when clips are drawn anew."""
    return interval([per_clip_f(overlaps)], draws, seed=seed)


def interval(parts: Sequence[PerClip], draws: int = DRAWS, level: float = 0.95, seed: int = 0) -> Interval:
    """The interval of the mean of the scores of `parts` (data sets; one: its score), the clips of each drawn
    anew. Raises InputError where there are too few clips."""
    value = float(np.mean([part.value() for part in parts]))
    random = np.random.default_rng(seed)
    drawn = [
        np.concatenate(
            [part.score(part.values, weights) for weights in _draw(len(part.video_ids), draws, random)]
        )
        for part in parts
    ]
    return _interval(value, np.mean(drawn, axis=0), level)


def compare(a: Overlaps, b: Overlaps, draws: int = DRAWS, level: float = 0.95, seed: int = 0) -> Comparison:
    """Whether `b` is better than `a`; both must be of the same gold set. Raises InputError where not."""
    if a.names != b.names or a.video_ids != b.video_ids or not np.array_equal(a.counted, b.counted):
        raise InputError("compare: the two systems must be scored on the same clips with the same mappings")
    return paired([per_clip_f(a)], [per_clip_f(b)], draws, level, seed)


def paired(
    a: Sequence[PerClip],
    b: Sequence[PerClip],
    draws: int = DRAWS,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Whether `b` is better than `a` in the mean over parts (data sets), part by part on the same clips.

    Raises InputError where the clips are not the same.
    """
    if [part.video_ids for part in a] != [part.video_ids for part in b]:
        raise InputError("compare: the two systems must be scored on the same clips with the same mappings")
    value = float(np.mean([of_b.value() - of_a.value() for of_a, of_b in zip(a, b, strict=True)]))
    random, coins = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    drawn, swapped = [], []
    for of_a, of_b in zip(a, b, strict=True):
        clips = len(of_a.video_ids)
        drawn.append(
            np.concatenate(
                [
                    of_b.score(of_b.values, weights) - of_a.score(of_a.values, weights)
                    for weights in _draw(clips, draws, random)
                ]
            )
        )
        # Both systems' answers side by side: a swap moves the weight of a clip from the one to the other.
        both = np.concatenate([of_a.values, of_b.values], axis=1)
        swapped.append(
            np.concatenate(
                [
                    of_b.score(both, np.concatenate([swaps, 1 - swaps], axis=1))
                    - of_a.score(both, np.concatenate([1 - swaps, swaps], axis=1))
                    for size in _batches(clips, draws)
                    for swaps in [(coins.random((size, clips)) < 0.5).astype(np.float64)]
                ]
            )
        )
    as_large = int((np.abs(np.mean(swapped, axis=0)) >= abs(value) - 1e-12).sum())
    return Comparison(
        _interval(value, np.mean(drawn, axis=0), level),
        (as_large + 1) / (draws + 1),
        sum(len(part.video_ids) for part in a),
    )


def _batches(clips: int, draws: int) -> Iterator[int]:
    size = max(1, _NUMBERS_AT_ONCE // max(clips, 1))
    yield from (min(size, draws - start) for start in range(0, draws, size))


def _draw(clips: int, draws: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each clip stands in each draw: float64 (some draws, clips), until all draws are made."""
    for size in _batches(clips, draws):
        yield random.multinomial(clips, np.full(clips, 1 / clips), size=size).astype(np.float64)


def _interval(value: float, drawn: np.ndarray, level: float) -> Interval:
    usable = drawn[~np.isnan(drawn)]
    if not len(usable):
        raise InputError("bootstrap: too few clips to draw from")
    low, high = np.quantile(usable, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), float(usable.std(ddof=1)), level, len(usable))
