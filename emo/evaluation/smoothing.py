"""How much the turns of a speaker should share their scores: learned on gold labels of dialogues."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.learning import MIN_CLIPS
from emo.cojudgment.rule import Rule
from emo.errors import InputError
from emo.evaluation.bootstrap import Interval, compare, f_interval
from emo.evaluation.overlap import Labels, NodeOf, Overlaps, overlaps

Rival = Callable[[Sequence[set[str]]], Sequence[Mapping[str, Sequence[str]]]]
"""Sets of dialogues -> for each the labels of its clips by what was learned on the others"""

FACTORS = tuple(round(0.1 * step, 1) for step in range(10))
FOLDS = 5
DRAWS = 1000


@dataclass(frozen=True)
class Point:
    """A factor, and F with it on all gold clips, 0 to 1."""

    factor: float
    f: Interval


@dataclass(frozen=True)
class Smoothing:
    """clips: of gold, with a neighbour; points: by factor; best: the factor of the highest F; held_out: what
    smoothing gains in dialogues that its factor was not learned on, 0 to 1; recommended: the best factor, 0
    where nothing is gained there; beyond: what the rival gains there over smoothing, None without a rival.
    The intervals take clips for independent, which those of one dialogue are not: they are too narrow rather
    than too wide.
    """

    clips: int
    points: tuple[Point, ...]
    best: float
    held_out: Interval
    recommended: float
    beyond: Interval | None = None


def learn(
    votes: pa.Table,
    beside: pa.Table,
    dialogue_of: Mapping[str, str],
    gold: Labels,
    rule: Rule,
    mappings: Mapping[str, NodeOf],
    draws: int = DRAWS,
    rival: Rival | None = None,
) -> Smoothing:
    """The factor with the highest F on the gold clips that have a neighbour, and what it gains elsewhere.

    votes: a votes table, also of clips without gold, which are neighbours too; beside: pairs as of
    `judge_votes`; dialogue_of: video_id -> dialogue; gold: video_id -> labels; rival: what else is scored on
    the same parts. Whole dialogues are dealt out to FOLDS parts by their names; each part is scored with the
    factor that is best on the others. Raises InputError with fewer than MIN_CLIPS clips or with all of them
    in one part.
    """
    near = set(beside.column("video_id").to_pylist())
    voted = set(votes.column("video_id").to_pylist())
    clips = sorted(one for one in near & voted if gold.get(one))
    if len(clips) < MIN_CLIPS:
        raise InputError(
            f"smoothing: {len(clips)} clips have gold labels, votes and another turn of their speaker beside "
            f"them; expected at least {MIN_CLIPS}. Dialogues are columns of the manifest: dialogue_id, turn, "
            "speaker"
        )
    fold = np.array([_fold(dialogue_of[one]) for one in clips])
    if len(set(fold)) < 2:
        raise InputError("smoothing: the gold clips are of too few dialogues; expected at least 5")
    truth = {one: gold[one] for one in clips}
    labels = [_labels(judge_votes(votes, replace(rule, smoothing=one), beside=beside)) for one in FACTORS]
    scored = [overlaps(truth, one, mappings) for one in labels]
    weights = [(fold != number).astype(np.float64) for number in range(FOLDS)]
    chosen = [_best(scored, weight) for weight in weights]
    unseen = {one: labels[chosen[number]].get(one, []) for one, number in zip(clips, fold, strict=True)}
    smoothed = overlaps(truth, unseen, mappings)
    held_out = compare(scored[0], smoothed, draws).difference
    beyond = None
    if rival is not None:
        names = sorted(set(dialogue_of.values()))
        parts = [{name for name in names if _fold(name) == number} for number in sorted(set(fold))]
        others = {clip: labels for part in rival(parts) for clip, labels in part.items()}
        beyond = compare(smoothed, overlaps(truth, others, mappings), draws).difference
    best = FACTORS[_best(scored, np.ones(len(clips)))]
    return Smoothing(
        len(clips),
        tuple(Point(*pair) for pair in zip(FACTORS, (f_interval(one, draws) for one in scored), strict=True)),
        best,
        held_out,
        best if held_out.value > 0 else 0.0,
        beyond,
    )


def _labels(judgments: pa.Table) -> dict[str, list[str]]:
    return dict(zip(judgments["video_id"].to_pylist(), judgments["labels"].to_pylist(), strict=True))


def _best(scored: Sequence[Overlaps], weights: np.ndarray) -> int:
    """The place of the factor with the highest F on these clips; of equals the least factor."""
    values = [float(np.mean(one.f_of_means(weights)[0])) for one in scored]
    return int(np.argmax(np.round(values, 12)))


def _fold(dialogue: str) -> int:
    return hashlib.sha256(f"fold\0{dialogue}".encode("utf-8", "surrogatepass")).digest()[0] % FOLDS


def lines(found: Smoothing, metric: str) -> list[str]:
    """The points for a person."""
    from emo.evaluation.text import table

    rows = [[f"{point.factor:g}", _points(point.f)] for point in found.points]
    return table(["smoothing", f"F of {metric}"], rows).splitlines()


def summary(found: Smoothing) -> str:
    """What is recommended, in one line."""
    gain = f"in dialogues that it was not learned on, smoothing gains {_points(found.held_out)} points of F"
    if found.beyond is not None:
        gain += f"; the reconstruction of Broad Mamba gains {_points(found.beyond)} points over that"
    if not found.recommended:
        return f"on {found.clips} clips leave judge.smoothing at 0: {gain}"
    return f"on {found.clips} clips, recommended: judge.smoothing: {found.recommended:g}; {gain}"


def _points(interval: Interval) -> str:
    return f"{100 * interval.value:.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"
