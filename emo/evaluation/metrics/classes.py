"""Closed sets of classes: MER-Cross, MELD, DFEW, MAFW, RAVDESS, EmoBench-M, and any other."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emo.evaluation.class_gold import ANSWERS, ClassGold, of_gold, read_class_gold, read_classes
from emo.evaluation.closed import Mapped, class_scores, confusion, made_of, to_classes
from emo.evaluation.metric import Evaluation, Metric, Option, Request, Scored, finish, missing, systems
from emo.evaluation.systems import System, read_system
from emo.evaluation.text import table
from emo.evaluation.viewer_responses import is_responses, read_responses
from emo.pages import charts
from emo.paths import is_s3
from emo.sources.records import is_table

_MOST_WORDS = 20

CLASSES = Option(
    "classes",
    "the classes, as happy,sad, as 1=happy,2=sad for files with numbers, or a named set (mer, meld, dfew, "
    "mafw, ravdess, sentiment, binary-sentiment); by default those that gold has",
    "SET",
    str,
)


@dataclass(frozen=True)
class ClassResult:
    """accuracy (WAR), weighted_f1, macro_f1, uar: 0 to 1; recall: of each gold class; confusion: rows gold in
    the order of classes, columns the same and `none`; rule: how labels became classes; labels: each class
    and the labels that meant it, how often each; unmapped: labels that mean no class; unanswered: clips with
    a prediction that means no class; missing_predictions: clips without one. Both are wrong."""

    metric: str
    accuracy: float
    weighted_f1: float
    macro_f1: float
    uar: float
    recall: dict[str, float]
    classes: tuple[str, ...]
    confusion: list[list[int]]
    rule: str
    labels: dict[str, dict[str, int]]
    unmapped: dict[str, int]
    clips: int
    unanswered: int
    missing_predictions: int
    notes: tuple[str, ...] = ()


class ClassesMetric(Metric[ClassResult]):
    """One class for each clip, answered by open labels or by a class."""

    summary = (
        "one class for each clip, of a closed set (--classes): accuracy, weighted and macro F1, UAR, "
        "confusion matrix. Open labels are mapped by emo's vocabulary; what maps to no class is wrong. Gold "
        "as handed out by MER-Cross, MELD, EmoBench-M and MME-Emotion, or any table with name and label; "
        "also viewer_responses."
    )
    options = (CLASSES,)

    def check(self, request: Request) -> None:
        if (classes := request.given(CLASSES)) is not None:
            read_classes(classes)

    def score(self, request: Request) -> Evaluation:
        if _is_responses(request.gold[0]):
            return self._responses(request)
        found = read_class_gold(request.gold[0], request.given(CLASSES))
        gold = found.one(request.gold[0])
        predicted, other = systems(
            request, lambda path, expert, sample: read_system(path, expert, sample, ANSWERS)
        )

        def score(system: System) -> Scored:
            return _scored(found, gold, system.name, of_gold(system.values, gold), system.notes)

        return finish(self, request, score(predicted), None if other is None else score(other))

    def _responses(self, request: Request) -> Evaluation:
        """Every viewer's response is scored; a prediction without a viewer holds for all of them."""
        responses = read_responses(request.gold[0])
        named = request.given(CLASSES)
        classes = read_classes(named)[0] if named else tuple(sorted({*responses.values()}))
        gold = {str(asked): response for asked, response in responses.items()}
        found = ClassGold(
            {name: (response,) for name, response in gold.items()}, dict.fromkeys(gold, classes), classes
        )

        def score(path: str, expert: str | None, sample: int | None) -> Scored:
            if _is_responses(path):
                given = {str(asked): (answer,) for asked, answer in read_responses(path).items()}
                return _scored(found, gold, path, given, ())
            system = read_system(path, expert, sample, ANSWERS)
            clips = of_gold(system.values, {asked.video_id for asked in responses})
            values = {str(asked): clips[asked.video_id] for asked in responses if asked.video_id in clips}
            told = (*system.notes, "one prediction for each clip stands for all of its viewers")
            return _scored(found, gold, system.name, values, told)

        one = score(request.predicted[0], request.expert, request.sample)
        if not request.compare:
            return finish(self, request, one, None)
        return finish(
            self, request, one, score(request.compare[0], request.compare_expert, request.compare_sample)
        )

    def lines(self, result: ClassResult) -> list[str]:
        lines = [
            f"{result.metric}: {result.clips} clips, {len(result.classes)} classes",
            table(
                ["accuracy (WAR)", "weighted F1", "macro F1", "UAR"],
                [[result.accuracy, result.weighted_f1, result.macro_f1, result.uar]],
            ),
            "rows gold, columns answers:",
            table(
                ["", *result.classes, "none", "recall"],
                [
                    [name, *row, result.recall.get(name)]
                    for name, row in zip(result.classes, result.confusion, strict=True)
                ],
            ),
            f"mapping: {result.rule}",
        ]
        for name, words in result.labels.items():
            lines.append(f"  {name}: {_words(words) or '-'}")
        if result.unmapped:
            lines.append(f"  no class, not counted as neutral: {_words(result.unmapped)}")
        if result.unanswered:
            lines.append(f"clips whose labels mean no class, counted as wrong: {result.unanswered}")
        return [*lines, *missing(result.missing_predictions), *result.notes]

    def headline(self, result: ClassResult) -> tuple[str, int]:
        return (
            (
                f"weighted F1 {100 * result.weighted_f1:.2f}, accuracy {100 * result.accuracy:.2f}, "
                f"UAR {100 * result.uar:.2f}"
            ),
            result.clips,
        )

    def plots(self, result: ClassResult) -> dict[str, str]:
        names = (*result.classes, "none")
        shares: list[list[float | None]] = [
            [count / sum(row) if sum(row) else None for count in row] for row in result.confusion
        ]
        shares.append([None] * len(names))
        return {"confusion": charts.matrix(names, shares, "Share of each gold class (row) by answer")}


def _is_responses(path: str) -> bool:
    return (is_s3(path) or Path(path).is_file()) and is_table(path) and is_responses(path)


def _scored(
    found: ClassGold,
    gold: Mapping[str, str],
    name: str,
    predicted: Mapping[str, Any],
    notes: tuple[str, ...],
) -> Scored:
    if gold.keys().isdisjoint(predicted):
        # Says which names the two sides have.
        class_scores(gold, dict.fromkeys(predicted))
    mapped = to_classes(gold, predicted, found.sets)
    absent = sum(video_id not in predicted for video_id in gold)
    scores = class_scores(gold, mapped.answers)
    result = ClassResult(
        metric="classes",
        accuracy=scores.accuracy,
        weighted_f1=scores.weighted_f1,
        macro_f1=scores.macro_f1,
        uar=scores.uar,
        recall=scores.recall,
        classes=found.classes,
        confusion=confusion(gold, mapped.answers, found.classes),
        rule=mapped.rule,
        labels={name: _meaning(mapped, name) for name in found.classes},
        unmapped=_meaning(mapped, None),
        clips=len(gold),
        unanswered=sum(answer is None for answer in mapped.answers.values()) - absent,
        missing_predictions=absent,
    )
    per_clip = {number: [part] for number, part in made_of(gold, mapped.answers).items()}
    return Scored(name, result, per_clip, notes)


def _meaning(mapped: Mapped, name: str | None) -> dict[str, int]:
    return {label: count for label, (meant, count) in mapped.counts.items() if meant == name}


def _words(counts: Mapping[str, int]) -> str:
    shown = [f"{label} ({count})" for label, count in list(counts.items())[:_MOST_WORDS]]
    return ", ".join(shown) + (f" and {len(counts) - _MOST_WORDS} more" if len(counts) > _MOST_WORDS else "")
