"""How far the agreement of the voters tells whether their labels are right."""

from typing import Any

from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.rule import Rule
from emo.errors import InputError
from emo.evaluation.metric import Evaluation, Metric, Request, Scored, finish, gold_labels, systems
from emo.evaluation.reliability import Reliability, reliability
from emo.evaluation.systems import System, read_system, votes_table
from emo.evaluation.text import table
from emo.pages import charts


class ReliabilityMetric(Metric[Reliability]):
    """The share of labels that are right over the agreement of the voters, with the calibration error."""

    summary = "agreement against how often labels are right, and which agreement to trust; of an OUT or votes"

    def score(self, request: Request) -> Evaluation:
        gold, notes = gold_labels(request)
        predicted, other = systems(request, read_system)

        def score(system: System) -> Scored:
            if system.votes is None:
                raise InputError(
                    f"{system.name}: has no votes beside it; expected an OUT, or votes of several voters"
                )
            judged = judge_votes(votes_table(system.votes, gold), Rule())
            ids, agreement = judged["video_id"].to_pylist(), judged["agreement"].to_pylist()
            labels: Any = system.values
            result, made_of = reliability(gold, labels, dict(zip(ids, agreement, strict=True)))
            return Scored(system.name, result, made_of, (*notes, *system.notes))

        return finish(self, request, score(predicted), None if other is None else score(other))

    def lines(self, result: Reliability) -> list[str]:
        rows: list[list[object]] = [
            [
                f"{one.lowest:.2f} to {one.highest:.2f}",
                f"{100 * one.right:.1f}",
                f"{100 * one.low:.1f} to {100 * one.high:.1f}",
                f"{100 * one.from_here:.1f}",
                one.labels,
                one.clips,
            ]
            for one in result.bins
        ]
        columns = ["agreement", "right, %", "95 % interval", "right from here on", "labels", "clips"]
        trust = "no agreement tells labels that are surely better than the average"
        if result.trusted is not None:
            trust = (
                f"from an agreement of {result.trusted:.2f} on labels are surely more often right than "
                "on average"
            )
        return [
            self._first(result),
            table(columns, rows),
            trust,
        ]

    def _first(self, result: Reliability) -> str:
        return (
            f"expected calibration error {100 * result.error:.1f}, {100 * result.right:.1f} % of "
            f"{result.labels} labels are right, {result.clips} clips"
        )

    def headline(self, result: Reliability) -> tuple[str, int]:
        return f"calibration error {100 * result.error:.1f}", result.clips

    def plots(self, result: Reliability) -> dict[str, str]:
        points = [(one.agreement, one.right, one.standard_error, one.clips) for one in result.bins]
        title = "How often labels are right"
        return {
            "reliability": charts.scatter_of_groups(
                points, title, "agreement of the voters", "share of labels right"
            )
        }
