"""EMER: two descriptions, compared by a text model."""

from collections.abc import Mapping
from contextlib import closing
from typing import Any

import numpy as np

from emo.errors import InputError
from emo.evaluation.bootstrap import PerClip, paired, per_clip_mean
from emo.evaluation.clues import OverlapJudgement, description_overlap
from emo.evaluation.judging import Judge, read_judge
from emo.evaluation.labels import TEXTS, read
from emo.evaluation.metric import (
    JUDGE,
    MAX_FAILED,
    Evaluation,
    Metric,
    Request,
    Scored,
    check_answers,
    finish,
    missing,
    systems,
)
from emo.evaluation.overlap import check_ids
from emo.evaluation.systems import read_descriptions
from emo.pages import charts


class DescriptionsMetric(Metric[OverlapJudgement]):
    """Overlap of clues and overlap of labels, each from 1 to 10."""

    summary = "overlap of clues and of labels between descriptions (EMER), scored by --judge"
    options = (JUDGE, MAX_FAILED)
    unit = 1.0

    def check(self, request: Request) -> None:
        if request.given(JUDGE) is None:
            raise InputError("--metric descriptions needs --judge, the text model that compares them")

    def score(self, request: Request) -> Evaluation:
        found = read(request.gold[0], TEXTS)
        gold = found.one()
        predicted, other = systems(request, read_descriptions)
        for system in filter(None, (predicted, other)):
            check_ids(gold, system.values)
        asked = request.given(JUDGE)
        assert asked is not None
        with closing(Judge(read_judge(asked))) as judge:
            notes = (f"gold: column {found.column} of {found.where}",)
            results = [
                (system, description_overlap(gold, system.values, judge.ask, judge.name))  # type: ignore[arg-type]
                for system in (predicted, other)
                if system is not None
            ]
        for _, result in results:
            for unread in (result.unread_clue, result.unread_label):
                check_answers(judge.name, unread, result.clips, request.given(MAX_FAILED))
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
        evaluation = finish(self, request, scored, None)
        if other is not None:
            evaluation.compared = compared
            evaluation.comparisons = {name: paired(both[1][name], both[0][name]) for name in both[0]}
        return evaluation

    def lines(self, result: OverlapJudgement) -> list[str]:
        lines = [f"{result.metric}, judge: {result.judge}, {result.clips} clips, 1 to 10"]
        for name, value, unread in (
            ("clues", result.clue, result.unread_clue),
            ("labels", result.label, result.unread_label),
        ):
            shown = "-" if value is None else f"{value:.2f}"
            lines.append(f"{name}: {shown}" + (f" ({unread} answers could not be read)" if unread else ""))
        return lines + missing(result.missing_predictions)

    def headline(self, result: OverlapJudgement) -> tuple[str, int]:
        shown = ["-" if score is None else f"{score:.2f}" for score in (result.clue, result.label)]
        return f"clues {shown[0]}, labels {shown[1]} (judge: {result.judge})", result.clips

    def plots(self, result: OverlapJudgement) -> dict[str, str]:
        drawn = {}
        for place, name in enumerate(("clues", "labels")):
            known = [scores[place] for scores in result.scores.values() if scores[place] is not None]
            if known:
                rows = [
                    (str(score), known.count(score) / len(known), f"% of {len(known)}")
                    for score in range(1, 11)
                ]
                drawn[name] = charts.bars(rows, f"How often each score was given: {name}")
        return drawn


def _per_clip_scores(video_ids: list[str], scores: Mapping[str, Any]) -> PerClip:
    return per_clip_mean(video_ids, np.array([[scores[video_id] for video_id in video_ids]], dtype=float))
