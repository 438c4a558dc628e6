"""What rounds would cost and keep: F on gold against answers per clip, from votes that hold every answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo.cojudgment.closing import closed_by, decide, first_answers
from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.learning import MIN_CLIPS
from emo.cojudgment.rounds import AgreeOn, Rounds
from emo.cojudgment.rule import Rule
from emo.errors import InputError
from emo.evaluation.bootstrap import Interval, compare, f_interval
from emo.evaluation.overlap import Labels, NodeOf, Overlaps, overlaps
from emo.store.tables import OK

BOUNDS = tuple(round(0.05 * step, 2) for step in range(2, 21))
# Answers by the end of each round but the last that are tried where no rounds are configured.
BEFORE_ALL = ((2,), (3,), (3, 5))
DRAWS = 1000
_NEVER = 2.0  # no agreement is so high

Asked = Sequence[Mapping[str, int]]


@dataclass(frozen=True)
class Outcome:
    """What rounds would have asked and found. answers: per clip, int64; scored: per clip, its overlaps with
    gold; both in the order of `scored.video_ids`. rounds: None where every expert gave every answer.
    """

    rounds: Rounds | None
    answers: np.ndarray
    scored: Overlaps


@dataclass(frozen=True)
class Point:
    """One point of the curve: answers per clip, and of all answers the share; f: with its interval; loss:
    how much F is below that of every answer, on the same clips. F and loss are shares, 0 to 1.
    """

    asked: tuple[dict[str, int], ...]
    enough: float
    answers: float
    share: float
    f: Interval
    loss: Interval


@dataclass(frozen=True)
class Curve:
    """clips: of gold, that have every answer; in_full: answers per clip; f: with all of them; points: by
    answers; knee: the fewest answers whose loss is at most its own standard error, None: there are none.
    """

    clips: int
    in_full: int
    f: Interval
    points: tuple[Point, ...]
    knee: Point | None


def shapes(samples: Mapping[str, int]) -> list[Asked]:
    """The rounds that are tried where none are configured: a few answers first, then some more or all.

    samples: expert -> its answers in all; one that gives no more than the first round asks for gives them
    there. Raises InputError where no expert answers often enough.
    """
    found: list[Asked] = []
    for counts in BEFORE_ALL:
        several = {name: count for name, count in samples.items() if count > counts[0]}
        if several and max(several.values()) > counts[-1]:
            before = [{name: min(most, count) for name, count in several.items()} for most in counts]
            found.append((*before, several))
    if not found:
        raise InputError(
            f"rounds: no expert gives more than {BEFORE_ALL[0][0]} answers to a clip; say which rounds to "
            "try, such as --set 'rounds=[{small: 2}, {large: 1}]' --set enough=0.5"
        )
    return found


def outcomes(
    votes: pa.Table,
    gold: Labels,
    tried: Sequence[Asked],
    samples: Mapping[str, int],
    rule: Rule,
    mappings: Mapping[str, NodeOf],
    bounds: Sequence[float] = BOUNDS,
    agree_on: AgreeOn = "families",
) -> tuple[Outcome, list[Outcome]]:
    """Every answer, and every way to ask for less: each of `tried` with each bound.

    votes: a votes table without failed rows; samples: expert -> its answers in all; gold: video_id -> labels;
    mappings: of the metric; agree_on: what agreement closes a clip. Clips that lack an answer are left out,
    because it is not known what it would have been. Raises InputError with fewer than MIN_CLIPS clips.
    """
    votes = first_answers(votes, samples)
    counts = votes.group_by("video_id", use_threads=False).aggregate([([], "count_all")])
    whole = counts.filter(pc.equal(counts.column("count_all"), sum(samples.values()))).column("video_id")
    clips = sorted(one for one in whole.to_pylist() if gold.get(one))
    if len(clips) < MIN_CLIPS:
        raise InputError(
            f"rounds: {len(clips)} clips have gold labels and all {sum(samples.values())} answers of "
            f"{', '.join(samples)}; expected at least {MIN_CLIPS}. Label the gold clips without rounds first"
        )
    ids = pa.array(clips, pa.string())
    votes = votes.filter(pc.is_in(votes.column("video_id"), value_set=ids))
    votes = votes.append_column("status", pa.array([OK] * votes.num_rows, pa.string()))
    truth = {clip: gold[clip] for clip in clips}

    after: dict[frozenset[tuple[str, int]], Outcome] = {}

    def outcome(by_then: Mapping[str, int]) -> Outcome:
        """That of everybody's first answers, each set of which is judged once."""
        if (key := frozenset(by_then.items())) not in after:
            judged = judge_votes(first_answers(votes, by_then), rule)
            labels = dict(zip(judged["video_id"].to_pylist(), judged["labels"].to_pylist(), strict=True))
            answers = np.full(len(clips), sum(by_then.values()))
            after[key] = Outcome(None, answers, overlaps(truth, labels, mappings))
        return after[key]

    found = []
    for one in tried:
        rounds = Rounds.of(one, samples, _NEVER, agree_on)
        agreement = np.array(decide(ids, votes, votes, rounds).column("round_agreement").to_pylist(), float)
        each = [outcome(by_then) for by_then in rounds.by_then]
        for bound in bounds:
            closed_in = closed_by(agreement, bound)
            last = np.where(closed_in > 0, closed_in, len(rounds)) - 1
            found.append(_chosen(each, last, replace(rounds, enough=bound)))
    return outcome(samples), found


def _chosen(each: Sequence[Outcome], last: np.ndarray, rounds: Rounds) -> Outcome:
    """Of the outcomes after each round that of the last round of each clip; last: int64, from 0."""
    clips = np.arange(len(last))

    def of(values: list[np.ndarray]) -> np.ndarray:
        return np.moveaxis(np.stack(values)[last, ..., clips], 0, -1)

    scored = replace(
        each[0].scored,
        precision=of([one.scored.precision for one in each]),
        recall=of([one.scored.recall for one in each]),
    )
    return Outcome(rounds, of([one.answers for one in each]), scored)


def curve(full: Outcome, found: Sequence[Outcome], draws: int = DRAWS) -> Curve:
    """The points of `outcomes` with their intervals, and the knee."""
    points: dict[float, Point] = {}
    for one in found:
        assert one.rounds is not None
        answers = float(one.answers.mean())
        loss = compare(one.scored, full.scored, draws).difference
        point = Point(
            tuple(map(dict, one.rounds.by_then)),
            one.rounds.enough,
            answers,
            answers / float(full.answers.mean()),
            f_interval(one.scored, draws),
            loss,
        )
        # Of two ways to the same number of answers, the better one.
        if answers not in points or point.f.value > points[answers].f.value:
            points[answers] = point
    ordered = tuple(points[answers] for answers in sorted(points))
    good = [point for point in ordered if point.loss.value <= point.loss.standard_error and point.share < 1]
    return Curve(
        len(full.answers),
        int(full.answers[0]),
        f_interval(full.scored, draws),
        ordered,
        good[0] if good else None,
    )


def lines(found: Curve, metric: str) -> list[str]:
    """A curve for a person."""
    from emo.evaluation.text import table

    def points(interval: Interval) -> str:
        return f"{100 * interval.value:.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"

    rows: list[list[Any]] = [
        [
            " ".join(told(one) for one in point.asked),
            f"{point.enough:g}",
            f"{point.answers:.2f}",
            f"{point.share:.0%}",
            points(point.f),
            points(point.loss),
        ]
        for point in found.points
    ]
    rows.append(["every answer", "", f"{found.in_full:.2f}", "100%", points(found.f), ""])
    header = ["rounds (answers by then)", "enough", "answers per clip", "of all", f"F of {metric}", "lost"]
    return table(header, rows).splitlines()


def told(by_then: Mapping[str, int]) -> str:
    """One round as YAML has it."""
    return "{" + ", ".join(f"{name}: {count}" for name, count in by_then.items()) + "}"
