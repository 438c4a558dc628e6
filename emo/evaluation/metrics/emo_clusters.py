"""Label sets over a vocabulary of emotions: the wheels of the benchmark, or emo's own."""

from typing import Any, ClassVar

from emo import vocabulary
from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.rule import Rule
from emo.evaluation.bootstrap import per_clip_f
from emo.evaluation.ew import SetResult, emo_clusters, ew, ew_mappings, own_mappings
from emo.evaluation.labels import Read, voter_name
from emo.evaluation.metric import (
    WHEELS_FOLDER,
    Evaluation,
    Metric,
    Option,
    Request,
    Scored,
    finish,
    gold_labels,
    missing,
    systems,
)
from emo.evaluation.overlap import Labels, NodeOf, Overlaps, by_node, overlaps
from emo.evaluation.systems import System, read_system, votes_table
from emo.evaluation.text import table
from emo.evaluation.wheels import LEVELS, WHEELS, WheelTables, load_wheels
from emo.pages import charts
from emo.report.agreement import Voters

_SHARES = (0.05, 0.08, 0.1, 0.13, 0.15, 0.18, 0.22, 0.26, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)
_BARS = 30  # labels in the plot of single labels

UNKNOWN = Option(
    "unknown",
    "predicted labels outside the vocabulary are left out (as the benchmark does, the default) or count as "
    "wrong",
    None,
    str,
    ("drop", "wrong"),
)


class EmoClustersMetric(Metric[SetResult]):
    """F of average precision and recall, over the clusters of emo's vocabulary."""

    summary = "the arithmetic of ew over emo's own vocabulary; not comparable with ew"
    # What is said where no wheels were given.
    without_wheels: ClassVar[tuple[str, ...]] = ()

    def score(self, request: Request) -> Evaluation:
        gold, notes = gold_labels(request)
        predicted, other = systems(request, read_system)
        folder = request.given(WHEELS_FOLDER)
        wheels = load_wheels(folder) if folder is not None else None
        if wheels is None:
            notes = (*notes, *self.without_wheels)

        def score(system: System) -> Scored:
            labels: Any = system.values
            result = self.result(gold, labels, wheels, request.given(UNKNOWN) or "drop")
            made_of = {"F": [per_clip_f(_overlaps(request, gold, labels, wheels))]}
            return Scored(system.name, result, made_of, (*notes, *system.notes))

        evaluation = finish(self, request, score(predicted), None if other is None else score(other))
        if predicted.votes is not None and predicted.name.startswith("co-judgment"):
            for voter, labels in sorted(predicted.votes.voters.items(), key=lambda item: voter_name(item[0])):
                if not gold.keys().isdisjoint(labels):
                    f, p, r = _overlaps(request, gold, labels, wheels).f_of_means().mean(axis=1)
                    evaluation.voters[voter_name(voter)] = {"f": float(f), "p": float(p), "r": float(r)}
        evaluation.draw = lambda: _label_plots(request, gold, predicted, wheels)
        return evaluation

    def result(self, gold: Labels, labels: Any, wheels: WheelTables | None, unknown: str) -> SetResult:
        """The numbers of one system."""
        return emo_clusters(gold, labels) if wheels is None else ew(gold, labels, wheels, unknown)

    def lines(self, result: SetResult) -> list[str]:
        seen = result.coverage
        lines = [f"{result.metric}: F {100 * result.score.f:.2f}, {seen.clips} clips"]
        rows: list[list[object]] = [
            [name, score.f, score.p, score.r, score.clips] for name, score in result.scores.items()
        ]
        lines.append(table(["", "F", "precision", "recall", "clips"], rows))
        for name, side in (("gold", seen.gold), ("predicted", seen.predicted)):
            words = ", ".join(list(side.unknown)[:5])
            share = side.unknown_labels / side.labels if side.labels else 0.0
            lines.append(
                f"{name}: {side.unknown_labels} of {side.labels} labels ({share:.1%}) "
                "are outside the vocabulary" + (f", such as {words}" if words else "")
            )
        dropped = max(seen.dropped.values())
        if dropped:
            lines.append(f"clips without a known gold label, not scored: up to {dropped} per mapping")
        if seen.empty_predictions:
            lines.append(f"empty predictions, scored 0: {seen.empty_predictions}")
        lines += missing(seen.missing_predictions)
        if seen.extra_predictions:
            lines.append(f"predictions without gold, not used: {seen.extra_predictions}")
        return [*lines, *result.notes]

    def headline(self, result: SetResult) -> tuple[str, int]:
        return f"F {100 * result.score.f:.2f}", result.coverage.clips


def _headline_mappings(wheels: WheelTables | None) -> dict[str, NodeOf]:
    """The mappings that the headline averages over."""
    if wheels is None:
        return {"clusters": own_mappings()["clusters"]}
    return {name: node for name, node in ew_mappings(wheels).items() if name.endswith("/" + LEVELS[0])}


def _overlaps(request: Request, gold: Labels, labels: Any, wheels: WheelTables | None) -> Overlaps:
    return overlaps(gold, labels, _headline_mappings(wheels), request.given(UNKNOWN) == "wrong")


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
    drawn = {"labels": charts.bars(rows, f"F per {what}, most frequent in gold first")}
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
    drawn = {"precision-recall": charts.precision_recall(curve, "Precision and recall over the share")}
    voters = Voters(of_gold["video_id"].unique())
    voters.add(of_gold)
    _, by_cluster, clips = voters.heatmaps()
    title = f"Agreement of the experts (Jaccard index of clusters, {clips} clips)"
    return drawn | {"agreement": charts.matrix(by_cluster.names, by_cluster.mean, title)}
