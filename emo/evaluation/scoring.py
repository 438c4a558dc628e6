"""judgments (or votes, or any file of predictions) + gold → metrics.

read gold and systems  →  score  →  intervals, paired test  →  text, JSON, plots

Runs in one process and writes no table: a gold set is small beside what was labelled.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from emo import vocabulary
from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.rule import Rule
from emo.config import MAX_FAILED_SHARE
from emo.errors import EmoError, InputError
from emo.evaluation import plots
from emo.evaluation.benchmark_files import data_set_paths
from emo.evaluation.bootstrap import (
    Comparison,
    Interval,
    PerClip,
    interval,
    paired,
    per_clip_f,
    per_clip_mean,
)
from emo.evaluation.clues import OverlapJudgement, description_overlap
from emo.evaluation.ew import CLUSTERS, EW, SetResult, emo_clusters, ew, ew_mappings, own_mappings
from emo.evaluation.judging import Judge, read_judge
from emo.evaluation.labels import LABELS, TEXTS, Read, read, voter_name
from emo.evaluation.mer2024 import (
    GIVEN,
    GroupedResult,
    Grouping,
    group_by_model,
    grouped_shares,
    mer2024,
    read_groups,
)
from emo.evaluation.overlap import Labels, NodeOf, Overlaps, by_node, check_ids, overlaps
from emo.evaluation.page import plot_folder, write_page
from emo.evaluation.systems import System, read_descriptions, read_system, votes_table
from emo.evaluation.text import as_text, table, to_json
from emo.evaluation.unibench import (
    DATA_SETS,
    SENTIMENT,
    SENTIMENT_OF_LABELS,
    UniBenchResult,
    is_sentiment,
    per_clip,
    polarity,
    read_gold,
    sentiment_of_labels,
    unibench,
)
from emo.evaluation.wheels import LEVELS, WHEELS, WheelTables, load_wheels
from emo.report.agreement import Voters

UNIBENCH, MER2024, DESCRIPTIONS = "unibench", "mer2024", "descriptions"
# Options beyond those that every metric takes.
TAKES: Mapping[str, frozenset[str]] = {
    EW: frozenset({"wheels", "unknown", "expert", "sample", "compare_expert", "compare_sample"}),
    CLUSTERS: frozenset({"expert", "sample", "compare_expert", "compare_sample"}),
    MER2024: frozenset(
        {"groups", "judge", "max_failed_share", "expert", "sample", "compare_expert", "compare_sample"}
    ),
    UNIBENCH: frozenset({"wheels", "selection"}),
    DESCRIPTIONS: frozenset(
        {"judge", "max_failed_share", "expert", "sample", "compare_expert", "compare_sample"}
    ),
}
_ALL_TAKE = frozenset({"predicted", "gold", "metric", "compare", "plots"})
_SHARES = (0.05, 0.08, 0.1, 0.13, 0.15, 0.18, 0.22, 0.26, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)
_BARS = 30  # labels in the plot of single labels
_NO_WHEELS = "no wheels were given: the same arithmetic over emo's own vocabulary, not comparable with EW"


@dataclass(frozen=True)
class Request:
    """What was asked for, as on the command line: paths, names, None where not given.

    predicted, gold, compare: one path, for unibench also NAME=PATH for each data set.
    """

    predicted: tuple[str, ...]
    gold: tuple[str, ...]
    metric: str = EW
    wheels: str | None = None
    unknown: str | None = None
    expert: str | None = None
    sample: int | None = None
    compare: tuple[str, ...] = ()
    compare_expert: str | None = None
    compare_sample: int | None = None
    groups: str | None = None
    judge: str | None = None
    max_failed_share: float | None = None
    selection: str | None = None
    plots: str | None = None


Result = SetResult | GroupedResult | UniBenchResult | OverlapJudgement


@dataclass(frozen=True)
class Scored:
    """One system's result; per_clip: what each of its numbers is made of, for intervals and tests."""

    name: str
    result: Result
    per_clip: dict[str, list[PerClip]]
    notes: tuple[str, ...] = ()


@dataclass
class Evaluation:
    """Everything that is said about a system; values are 0 to 1 (descriptions: 1 to 10).

    intervals, comparisons: by the name of the number; compared: the system of --compare; voters: the score of
    each voter that a co-judgment was made of; draw: makes the plots, name -> SVG; page: where they are.
    """

    request: Request
    scored: Scored
    intervals: dict[str, Interval]
    compared: Scored | None = None
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    voters: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    draw: Callable[[], dict[str, str]] = dict
    page: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The result with all that decided it, as plain values."""
        asked = {name: value for name, value in asdict(self.request).items() if value not in (None, ())}
        return {
            **to_json(self.scored.result),
            "predicted": self.scored.name,
            "options": asked,
            "intervals": {name: to_json(value) for name, value in self.intervals.items()},
            "compared": None
            if self.compared is None
            else {**to_json(self.compared.result), "predicted": self.compared.name},
            "comparisons": {name: to_json(value) for name, value in self.comparisons.items()},
            "voters": self.voters,
            "notes": [*dict.fromkeys([*getattr(self.scored.result, "notes", ()), *self.notes])],
            "page": self.page,
        }

    def as_text(self) -> str:
        """The same for a person, in percent."""
        lines = [f"predicted: {self.scored.name}", as_text(self.scored.result)]
        unit = 1.0 if isinstance(self.scored.result, OverlapJudgement) else 100.0
        for name, value in self.intervals.items():
            lines.append(
                f"{name}: {value.level:.0%} interval {unit * value.low:.2f} to {unit * value.high:.2f}, "
                f"standard error {unit * value.standard_error:.2f} ({value.draws} draws of the clips)"
            )
        if self.voters:
            rows = [[name, *scores.values()] for name, scores in self.voters.items()]
            lines += ["", table(["voter", "F", "precision", "recall"], rows)]
        if self.compared is not None:
            lines += ["", f"compared with: {self.compared.name}", as_text(self.compared.result)]
            lines.append("predicted minus compared, and how likely chance alone makes that much:")
            for name, found in self.comparisons.items():
                difference = found.difference
                lines.append(
                    f"{name}: {unit * difference.value:+.2f} (95% interval {unit * difference.low:+.2f} to "
                    f"{unit * difference.high:+.2f}), p = {found.p_value:.4f}, {found.clips} clips"
                )
        return "\n".join([*lines, *(f"note: {note}" for note in dict.fromkeys(self.notes))])

    def headline(self) -> str:
        """One line with the number that counts."""
        result = self.scored.result
        if isinstance(result, SetResult):
            value, clips = f"F {100 * result.score.f:.2f}", result.coverage.clips
        elif isinstance(result, GroupedResult):
            value, clips = f"average {100 * result.avg:.2f} (judge: {result.judge})", result.clips
        elif isinstance(result, UniBenchResult):
            clips = sum(score.clips for score in result.data_sets)
            value = (
                f"mean {100 * result.mean:.2f}"
                if result.mean is not None
                else f"{len(result.data_sets)} of {len(DATA_SETS)} data sets, so no mean"
            )
        else:
            shown = ["-" if score is None else f"{score:.2f}" for score in (result.clue, result.label)]
            value, clips = f"clues {shown[0]}, labels {shown[1]} (judge: {result.judge})", result.clips
        page = f"; plots: {self.page}" if self.page else ""
        return f"{result.metric} {value}, {clips} clips{page}"


def run(request: Request) -> Evaluation:
    """Score what was asked for; raises InputError before any model is loaded where something is wrong."""
    _check(request)
    folder = plot_folder(request.plots) if request.plots else None
    metric: Callable[[Request], Evaluation] = {
        EW: _label_sets,
        CLUSTERS: _label_sets,
        MER2024: _groups,
        UNIBENCH: _benchmark,
        DESCRIPTIONS: _texts,
    }[request.metric]
    evaluation = metric(request)
    if folder is not None:
        title = f"emo evaluate: {evaluation.scored.result.metric}"
        page = write_page(folder, title, evaluation.as_text(), evaluation.draw())
        evaluation.page = str(page)
    return evaluation


def _check(request: Request) -> None:
    if request.metric not in TAKES:
        raise InputError(f"--metric {request.metric}: expected one of {', '.join(TAKES)}")
    for name, value in asdict(request).items():
        if value not in (None, ()) and name not in TAKES[request.metric] | _ALL_TAKE:
            raise InputError(f"--{name.replace('_', '-')} is not used by --metric {request.metric}")
    if (request.compare_expert, request.compare_sample) != (None, None) and not request.compare:
        raise InputError("--compare-expert and --compare-sample say what --compare means; it is not given")
    if request.metric != UNIBENCH:
        for side in ("predicted", "gold", "compare"):
            if len(getattr(request, side)) > 1:
                raise InputError(f"--{side} is given twice; --metric {request.metric} takes one")
    if request.metric == UNIBENCH and request.wheels is None:
        raise InputError("--metric unibench needs --wheels, the folder with the benchmark's emotion wheels")
    if request.metric == EW and request.wheels is None and request.unknown is not None:
        raise InputError("--unknown is an option of EW, which needs --wheels")
    if request.metric == MER2024 and (request.groups is None) == (request.judge is None):
        raise InputError(
            "--metric mer2024 needs --groups or --judge, one of them, to know what means the same"
        )
    if request.max_failed_share is not None and not 0 <= request.max_failed_share <= 1:
        raise InputError(f"--max-failed-share is {request.max_failed_share:g}; expected a share from 0 to 1")
    if request.metric == DESCRIPTIONS and request.judge is None:
        raise InputError("--metric descriptions needs --judge, the text model that compares them")


def _finish(request: Request, scored: Scored, compared: Scored | None) -> Evaluation:
    """Intervals of every number, and the paired test of those that both systems have."""
    notes = [*scored.notes, *(compared.notes if compared else ())]
    return Evaluation(
        request,
        scored,
        {name: interval(parts) for name, parts in scored.per_clip.items()},
        compared,
        {}
        if compared is None
        else {
            name: paired(compared.per_clip[name], parts)
            for name, parts in scored.per_clip.items()
            if name in compared.per_clip
        },
        notes=tuple(dict.fromkeys(notes)),
    )


def _gold_labels(request: Request) -> tuple[Labels, tuple[str, ...]]:
    found = read(request.gold[0], LABELS)
    notes = (f"{found.where}: {found.failed} rows failed and are no gold",) if found.failed else ()
    return found.one(), notes


def _systems(
    request: Request, reader: Callable[[str, str | None, int | None], System]
) -> tuple[System, System | None]:
    predicted = reader(request.predicted[0], request.expert, request.sample)
    if not request.compare:
        return predicted, None
    return predicted, reader(request.compare[0], request.compare_expert, request.compare_sample)


# The wheels, or emo's vocabulary: per-clip overlaps of two label sets.


def _headline_mappings(wheels: WheelTables | None) -> dict[str, NodeOf]:
    """The mappings that the headline averages over."""
    if wheels is None:
        return {"clusters": own_mappings()["clusters"]}
    return {name: node for name, node in ew_mappings(wheels).items() if name.endswith("/" + LEVELS[0])}


def _overlaps(request: Request, gold: Labels, labels: Any, wheels: WheelTables | None) -> Overlaps:
    return overlaps(gold, labels, _headline_mappings(wheels), request.unknown == "wrong")


def _label_sets(request: Request) -> Evaluation:
    gold, notes = _gold_labels(request)
    predicted, other = _systems(request, read_system)
    wheels = load_wheels(request.wheels) if request.wheels is not None else None
    if request.metric == EW and wheels is None:
        notes = (*notes, _NO_WHEELS)

    def score(system: System) -> Scored:
        labels: Any = system.values
        result = (
            emo_clusters(gold, labels)
            if wheels is None
            else ew(gold, labels, wheels, request.unknown or "drop")
        )
        made_of = {"F": [per_clip_f(_overlaps(request, gold, labels, wheels))]}
        return Scored(system.name, result, made_of, (*notes, *system.notes))

    evaluation = _finish(request, score(predicted), None if other is None else score(other))
    if predicted.votes is not None and predicted.name.startswith("co-judgment"):
        for voter, labels in sorted(predicted.votes.voters.items(), key=lambda item: voter_name(item[0])):
            if not gold.keys().isdisjoint(labels):
                f, p, r = _overlaps(request, gold, labels, wheels).f_of_means().mean(axis=1)
                evaluation.voters[voter_name(voter)] = {"f": float(f), "p": float(p), "r": float(r)}
    evaluation.draw = lambda: _label_plots(request, gold, predicted, wheels)
    return evaluation


# MER2024-OV: words in groups of the same meaning, given or made by a text model.


def _groups(request: Request) -> Evaluation:
    gold, notes = _gold_labels(request)
    predicted, other = _systems(request, read_system)
    for system in filter(None, (predicted, other)):
        check_ids(gold, system.values)
    given = read_groups(request.groups) if request.groups is not None else None
    judge = Judge(read_judge(request.judge)) if request.judge is not None else None

    def score(system: System) -> Scored:
        labels: Any = system.values
        made: Mapping[str, Grouping]
        said = [*notes, *system.notes]
        if judge is None:
            assert given is not None
            made = given
        else:
            made, unread = group_by_model(gold, labels, judge.ask)
            asked = sum(sum(map(len, groups)) > 1 for groups in made.values())
            _check_answers(judge.name, len(unread), asked, request.max_failed_share)
            if unread:
                said.append(
                    f"{system.name}: for {len(unread)} clips the judge's answer could not be read; "
                    "their words stand for themselves"
                )
        result = mer2024(gold, labels, groups=made, judge=GIVEN if judge is None else judge.name)
        shares = grouped_shares(gold, labels, made)[0]
        made_of = per_clip_mean(list(shares), np.array(list(shares.values())).T)
        return Scored(system.name, result, {"average": [made_of]}, tuple(said))

    try:
        evaluation = _finish(request, score(predicted), None if other is None else score(other))
    finally:
        if judge is not None:
            judge.close()
    evaluation.draw = lambda: _plots_of_numbers(evaluation.scored.result)
    return evaluation


def _check_answers(judge: str, unread: int, asked: int, share: float | None) -> None:
    """Raise EmoError where so many answers of a judge could not be read that its number means nothing."""
    if unread > (MAX_FAILED_SHARE if share is None else share) * asked:
        raise EmoError(
            f"{unread} of {asked} answers of the judge {judge} could not be read, so there is no score; take "
            "another model, or allow a larger share with --max-failed-share"
        )


# MER-UniBench: nine data sets, each by its own rule.


def _benchmark(request: Request) -> Evaluation:
    assert request.wheels is not None
    wheels = load_wheels(request.wheels)
    places = data_set_paths(request.gold, "gold")
    gold = {name: read_gold(name, path) for name, path in places.items()}
    selection = request.selection or "not stated; nothing was selected here"

    def score(given: Sequence[str], side: str) -> Scored:
        notes, labels = [], {}
        for name, path in data_set_paths(given, side).items():
            system = read_system(path)
            notes += [f"{name}: {note}" for note in system.notes]
            labels[name], of_labels = _as_predicted(name, system.values)
            if of_labels:
                notes.append(f"{name}: {SENTIMENT_OF_LABELS}")
        result = unibench(gold, labels, wheels, selection)
        shared = [entry.name for entry in result.data_sets]
        made_of = {name: [per_clip(name, gold[name], labels[name], wheels)] for name in shared}
        if result.mean is not None:
            made_of["mean"] = [made_of[name][0] for name in shared]
        unused = [name for name in labels if name not in gold]
        if unused:
            notes.append(f"predictions without gold, not used: {', '.join(unused)}")
        return Scored(", ".join(given), result, made_of, tuple(notes))

    other = score(request.compare, "compare") if request.compare else None
    evaluation = _finish(request, score(request.predicted, "predicted"), other)
    evaluation.draw = lambda: _plots_of_numbers(evaluation.scored.result)
    return evaluation


def _as_predicted(data_set: str, labels: Any) -> tuple[Any, bool]:
    """Predictions as score_data_set takes them, and whether a sentiment had to be read from labels."""
    if DATA_SETS[data_set].kind != SENTIMENT:
        return labels, False
    if is_sentiment(labels):
        return polarity(labels), False
    return sentiment_of_labels(labels), True


# EMER: two descriptions, compared by a text model.


def _texts(request: Request) -> Evaluation:
    found = read(request.gold[0], TEXTS)
    gold = found.one()
    predicted, other = _systems(request, read_descriptions)
    for system in filter(None, (predicted, other)):
        check_ids(gold, system.values)
    assert request.judge is not None
    judge = Judge(read_judge(request.judge))
    notes = (f"gold: column {found.column} of {found.where}",)
    try:
        results = [
            (system, description_overlap(gold, system.values, judge.ask, judge.name))  # type: ignore[arg-type]
            for system in (predicted, other)
            if system is not None
        ]
    finally:
        judge.close()
    for _, result in results:
        for unread in (result.unread_clue, result.unread_label):
            _check_answers(judge.name, unread, result.clips, request.max_failed_share)
    # A test needs clips that both systems were judged on.
    first, second = results[0], results[-1]
    made_of: list[dict[str, list[PerClip]]] = [{}, {}]
    both: list[dict[str, list[PerClip]]] = [{}, {}]
    for place, name in enumerate(("clues", "labels")):
        read_of = [
            {
                video_id: scores[place]
                for video_id, scores in result.scores.items()
                if scores[place] is not None
            }
            for _, result in (first, second)
        ]
        common = [video_id for video_id in read_of[0] if video_id in read_of[1]]
        for number, scores in enumerate(read_of):
            if scores:
                made_of[number][name] = [_per_clip_scores(list(scores), scores)]
            if common:
                both[number][name] = [_per_clip_scores(common, scores)]
    scored, compared = (
        Scored(system.name, result, made, (*notes, *system.notes))
        for (system, result), made in zip((first, second), made_of, strict=True)
    )
    evaluation = _finish(request, scored, None)
    if other is not None:
        evaluation.compared = compared
        evaluation.comparisons = {name: paired(both[1][name], both[0][name]) for name in both[0]}
    evaluation.draw = lambda: _plots_of_numbers(evaluation.scored.result)
    return evaluation


def _per_clip_scores(video_ids: list[str], scores: Mapping[str, Any]) -> PerClip:
    return per_clip_mean(video_ids, np.array([[scores[video_id] for video_id in video_ids]], dtype=float))


# Plots.


def _plots_of_numbers(result: Result) -> dict[str, str]:
    if isinstance(result, GroupedResult):
        rows = [("accuracy", result.accuracy, ""), ("recall", result.recall, ""), ("average", result.avg, "")]
        return {"scores": plots.bars(rows, f"{result.metric}, judge: {result.judge}")}
    if isinstance(result, UniBenchResult):
        rows = [(score.name, score.score, score.metric) for score in result.data_sets]
        return {"scores": plots.bars(rows, "Score of each data set")}
    assert isinstance(result, OverlapJudgement)
    drawn = {}
    for place, name in enumerate(("clues", "labels")):
        known = [scores[place] for scores in result.scores.values() if scores[place] is not None]
        if known:
            rows = [
                (str(score), known.count(score) / len(known), f"% of {len(known)}") for score in range(1, 11)
            ]
            drawn[name] = plots.bars(rows, f"How often each score was given: {name}")
    return drawn


def _label_plots(
    request: Request, gold: Labels, system: System, wheels: WheelTables | None
) -> dict[str, str]:
    """Single labels; and where there are votes, the curve over the share and how far experts agree."""
    labels: Any = system.values
    node_of = vocabulary.cluster_of if wheels is None else ew_mappings(wheels)[f"{WHEELS[0]}/{LEVELS[1]}"]
    what = "cluster" if wheels is None else "node of wheel 1, level 2"
    rows = [
        (node.name, 2 * node.both / (node.gold + node.predicted), f"of {node.gold}")
        for node in by_node(gold, labels, node_of)[:_BARS]
    ]
    drawn = {"labels": plots.bars(rows, f"F per {what}, most frequent in gold first")}
    if system.votes is not None and len(system.votes.voters) > 1:
        drawn |= _vote_plots(request, gold, system.votes, wheels)
    return drawn


def _vote_plots(request: Request, gold: Labels, votes: Read, wheels: WheelTables | None) -> dict[str, str]:
    of_gold = votes_table(votes, gold)
    points = []
    for share in _SHARES:
        judged = judge_votes(of_gold, Rule(share))
        fused = dict(zip(judged["video_id"].to_pylist(), judged["labels"].to_pylist(), strict=True))
        _, p, r = _overlaps(request, gold, fused, wheels).f_of_means().mean(axis=1)
        points.append((share, float(p), float(r)))
    curve = {f"{len(votes.voters)} voters": points}
    drawn = {"precision-recall": plots.precision_recall(curve, "Precision and recall over the share")}
    voters = Voters(of_gold["video_id"].unique())
    voters.add(of_gold)
    _, by_cluster, clips = voters.heatmaps()
    title = f"Agreement of the experts (Jaccard index of clusters, {clips} clips)"
    return drawn | {"agreement": plots.matrix(by_cluster.names, by_cluster.mean, title)}
