"""MER2024-OV: words in groups of the same meaning, given or made by a text model."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from emo.errors import InputError
from emo.evaluation.bootstrap import per_clip_mean
from emo.evaluation.judging import judge_of
from emo.evaluation.mer2024 import (
    GIVEN,
    GroupedResult,
    Grouping,
    group_by_model,
    grouped_shares,
    mer2024,
    read_groups,
)
from emo.evaluation.metric import (
    JUDGE,
    MAX_FAILED,
    Evaluation,
    Metric,
    Option,
    Request,
    Scored,
    check_answers,
    finish,
    gold_labels,
    missing,
    systems,
)
from emo.evaluation.overlap import check_ids
from emo.evaluation.systems import System, read_system
from emo.evaluation.text import table
from emo.pages import charts

GROUPS = Option("groups", "a JSON file of video_id to lists of words that mean the same", "FILE", str)


class Mer2024Metric(Metric[GroupedResult]):
    """Mean of accuracy and recall over groups of words."""

    summary = "MER2024-OV: words in groups of the same meaning, from --groups or made by --judge"
    options = (GROUPS, JUDGE, MAX_FAILED)

    def check(self, request: Request) -> None:
        if (request.given(GROUPS) is None) == (request.given(JUDGE) is None):
            raise InputError(
                "--metric mer2024 needs --groups or --judge, one of them, to know what means the same"
            )

    def score(self, request: Request) -> Evaluation:
        gold, notes = gold_labels(request)
        predicted, other = systems(request, read_system)
        for system in filter(None, (predicted, other)):
            check_ids(gold, system.values)
        file = request.given(GROUPS)
        given = read_groups(file) if file is not None else None
        with judge_of(request.given(JUDGE)) as judge:

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
                    check_answers(judge.name, len(unread), asked, request.given(MAX_FAILED))
                    if unread:
                        said.append(
                            f"{system.name}: for {len(unread)} clips the judge's answer could not be read; "
                            "their words stand for themselves"
                        )
                result = mer2024(gold, labels, groups=made, judge=GIVEN if judge is None else judge.name)
                shares = grouped_shares(gold, labels, made)[0]
                made_of = per_clip_mean(list(shares), np.array(list(shares.values())).T)
                return Scored(system.name, result, {"average": [made_of]}, tuple(said))

            return finish(self, request, score(predicted), None if other is None else score(other))

    def lines(self, result: GroupedResult) -> list[str]:
        lines = [
            f"{result.metric}, judge: {result.judge}, {result.clips} clips",
            table(["accuracy", "recall", "average"], [[result.accuracy, result.recall, result.avg]]),
        ]
        if result.spread is not None:
            lines.append(f"{result.runs} runs of the judge, standard deviation {100 * result.spread:.2f}")
        if result.ungrouped:
            lines.append(f"{result.ungrouped} words were in no group and stand for themselves")
        return lines + missing(result.missing_predictions)

    def headline(self, result: GroupedResult) -> tuple[str, int]:
        return f"average {100 * result.avg:.2f} (judge: {result.judge})", result.clips

    def plots(self, result: GroupedResult) -> dict[str, str]:
        rows = [("accuracy", result.accuracy, ""), ("recall", result.recall, ""), ("average", result.avg, "")]
        return {"scores": charts.bars(rows, f"{result.metric}, judge: {result.judge}")}
