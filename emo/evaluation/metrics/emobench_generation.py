"""EmoBench-M, SMILE: generated explanations against references."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import numpy as np

from emo.errors import InputError
from emo.evaluation.bootstrap import PerClip, per_clip_mean
from emo.evaluation.class_gold import IDS, id_of, of_gold, records_at
from emo.evaluation.generation_overlap import bleu, bleu_parts, rouge_l
from emo.evaluation.judging import Judge, judge_of
from emo.evaluation.labels import TEXTS
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
)
from emo.evaluation.overlap import check_ids
from emo.evaluation.text import table
from emo.experts.prompts.plain import as_text
from emo.sources.record import is_missing

GRADES = ("logic", "content")
_GRADE = {name: re.compile(rf"{name}\W{{1,6}}([1-5])(?![\d.])", re.IGNORECASE) for name in GRADES}
_REFERENCE = ("reference", *TEXTS.columns)
_PREDICTION = ("prediction", *TEXTS.columns)
_NOTE = (
    "BLEU-4 and ROUGE-L are over emo's own words; BERTScore, which the benchmark also gives, needs a model "
    "of its own and is not computed"
)


@dataclass(frozen=True)
class GenerationResult:
    """bleu, rouge_l: 0 to 1; grades: logic and content, 1 to 5, an answer of the judge that cannot be read is
    0, as published; None without a judge; unread: how many those are."""

    metric: str
    judge: str | None
    bleu: float
    rouge_l: float
    grades: dict[str, float] | None
    unread: int
    clips: int
    missing_predictions: int
    notes: tuple[str, ...] = (_NOTE,)


def read_grades(answer: str) -> tuple[int, int] | None:
    """Logic and content of an answer; None where one of them is not there or there is more than one."""
    found = [set(_GRADE[name].findall(answer)) for name in GRADES]
    if any(len(grades) != 1 for grades in found):
        return None
    logic, content = (int(grades.pop()) for grades in found)
    return logic, content


class EmoBenchGenerationMetric(Metric[GenerationResult]):
    """Overlap with a reference, and two grades of a text model."""

    summary = (
        "EmoBench-M's generation set: BLEU-4 and ROUGE-L against references, with --judge two grades from 1 "
        "to 5. Rows reference (gold) and prediction (predicted), with the name of the clip; one file may be "
        "both sides and then needs no names"
    )
    takes = frozenset()
    options = (JUDGE, MAX_FAILED)
    benchmark = "EmoBench-M"

    def score(self, request: Request) -> Evaluation:
        one_file = {*request.predicted, *request.compare} == {*request.gold}
        gold = _read(request.gold[0], _REFERENCE, one_file)
        sides = [
            (path, of_gold(_read(path, _PREDICTION, one_file), gold))
            for path in (*request.predicted, *request.compare)
        ]
        for _, predicted in sides:
            check_ids({key: [] for key in gold}, {key: [] for key in predicted})
        with judge_of(request.given(JUDGE)) as judge:
            scored = [_scored(path, gold, predicted, judge, request) for path, predicted in sides]
        return finish(self, request, scored[0], scored[1] if len(scored) > 1 else None)

    def lines(self, result: GenerationResult) -> list[str]:
        lines = [
            f"{result.metric}: {result.clips} texts" + (f", judge: {result.judge}" if result.judge else ""),
            table(["BLEU-4", "ROUGE-L"], [[result.bleu, result.rouge_l]]),
        ]
        if result.grades is not None:
            told = ", ".join(f"{name} {value:.2f}" for name, value in result.grades.items())
            unread = f" ({result.unread} answers could not be read and count as 0)" if result.unread else ""
            lines.append(f"grades, 1 to 5: {told}{unread}")
        return [*lines, *missing(result.missing_predictions), *result.notes]

    def headline(self, result: GenerationResult) -> tuple[str, int]:
        return f"BLEU-4 {100 * result.bleu:.2f}, ROUGE-L {100 * result.rouge_l:.2f}", result.clips


def _read(path: str, columns: tuple[str, ...], by_row: bool) -> dict[str, str]:
    """Clip -> text, without those that have none; by_row: a file without names is numbered."""
    found: dict[str, str] = {}
    for number, record in enumerate(records_at(path, (*IDS, *columns)), start=1):
        row = record.values
        name = next((name for name in IDS if name in row), None)
        column = next((column for column in columns if column in row), None)
        if column is None or (name is None and not by_row):
            raise InputError(
                f"{record.where}: needs {' or '.join(IDS)} and {' or '.join(columns)}; "
                f"it has {', '.join(row)}"
            )
        video_id = f"row {number}" if name is None else id_of(row[name], record.where)
        if video_id in found:
            raise InputError(f"{record.where}: {video_id} is there twice")
        if not is_missing(row[column]):
            found[video_id] = str(row[column])
    return found


def _scored(
    path: str, gold: Mapping[str, str], predicted: Mapping[str, str], judge: Judge | None, request: Request
) -> Scored:
    """A text that was not predicted is empty: it has nothing in common with the reference."""
    ids = tuple(gold)
    parts = np.stack([bleu_parts(predicted.get(key, ""), gold[key]) for key in ids], axis=1)
    rouge = np.array([[rouge_l(predicted.get(key, ""), gold[key]) for key in ids]])
    per_clip = {"bleu": [PerClip(ids, parts, bleu)], "rouge_l": [per_clip_mean(ids, rouge)]}
    grades, unread = None, 0
    if judge is not None:
        given, unread = _grades(gold, predicted, judge)
        check_answers(judge.name, unread, sum(key in predicted for key in ids), request.given(MAX_FAILED))
        grades = {name: float(given[place].mean()) for place, name in enumerate(GRADES)}
    result = GenerationResult(
        metric="emobench-generation",
        judge=None if judge is None else judge.name,
        bleu=per_clip["bleu"][0].value(),
        rouge_l=per_clip["rouge_l"][0].value(),
        grades=grades,
        unread=unread,
        clips=len(ids),
        missing_predictions=sum(key not in predicted for key in ids),
    )
    return Scored(path, result, per_clip)


def _grades(gold: Mapping[str, str], predicted: Mapping[str, str], judge: Judge) -> tuple[np.ndarray, int]:
    """Grades (2, n), 0 for what was not predicted or could not be read; and how many could not be read."""
    template = (resources.files("emo.evaluation") / "generation_score.txt").read_text(encoding="utf-8")
    asked = [key for key in gold if key in predicted]
    questions = [
        template.replace("{reference}", as_text(gold[key])).replace("{prediction}", as_text(predicted[key]))
        for key in asked
    ]
    read = dict(zip(asked, map(read_grades, judge.ask(questions)), strict=True))
    grades = np.array([read.get(key) or (0, 0) for key in gold], dtype=float).T
    return grades, sum(answer is None for answer in read.values())
