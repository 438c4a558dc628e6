"""EmoBench-M, MC-EIU: emotion and intent of a clip, each and both at once."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from emo.errors import InputError
from emo.evaluation.bootstrap import per_clip_mean
from emo.evaluation.class_gold import IDS, answer_of, id_of, of_gold, records_at
from emo.evaluation.closed import class_scores, made_of
from emo.evaluation.metric import Evaluation, Metric, Request, Scored, finish, missing
from emo.evaluation.text import table
from emo.sources.record import is_missing

_PARTS = ("emotion", "intent")
_JOINT = "joint"

Answers = dict[str, tuple[str, str]]
"""clip -> emotion and intent in lower case, empty where there is none"""


@dataclass(frozen=True)
class JointResult:
    """scores: emotion, intent and joint (the pair as one class) -> accuracy, weighted precision, recall and
    f1, each over the clips both of whose sides are there, as published; accuracy_of_all: the same accuracy
    where a clip without an answer is wrong; dropped: clips without an answer, by part."""

    metric: str
    scores: dict[str, dict[str, float]]
    accuracy_of_all: dict[str, float]
    dropped: dict[str, int]
    clips: int
    missing_predictions: int
    notes: tuple[str, ...] = ()


class EmoBenchJointMetric(Metric[JointResult]):
    """Accuracy and weighted scores over emotion, intent and the pair of both."""

    summary = (
        "EmoBench-M, MC-EIU: emotion and intent, each and as a pair. Result rows modal_path, "
        "expected_emotion, expected_intent (gold), predicted_emotion and predicted_intent "
        "(predicted); one file may be both."
    )
    takes = frozenset()
    benchmark = "EmoBench-M"

    def score(self, request: Request) -> Evaluation:
        gold = _read(request.gold[0], "expected")
        for video_id, parts in gold.items():
            if not all(parts):
                raise InputError(f"{request.gold[0]}: {video_id} has no expected emotion or intent")

        def score(path: str) -> Scored:
            return _scored(path, gold, of_gold(_read(path, "predicted"), gold))

        other = score(request.compare[0]) if request.compare else None
        return finish(self, request, score(request.predicted[0]), other)

    def lines(self, result: JointResult) -> list[str]:
        rows: list[list[object]] = [
            [name, *numbers.values(), result.accuracy_of_all[name], result.dropped[name]]
            for name, numbers in result.scores.items()
        ]
        columns = ["", "accuracy", "precision", "recall", "weighted F1", "accuracy of all", "dropped"]
        lines = [f"{result.metric}: {result.clips} clips", table(columns, rows)]
        return [*lines, *missing(result.missing_predictions), *result.notes]

    def headline(self, result: JointResult) -> tuple[str, int]:
        found = result.scores[_JOINT]
        return (
            f"joint weighted F1 {100 * found['f1']:.2f}, accuracy {100 * found['accuracy']:.2f}",
            result.clips,
        )


def _read(path: str, side: str) -> Answers:
    columns = [f"{side}_{part}" for part in _PARTS]
    found: Answers = {}
    for record in records_at(path, (*IDS, *columns)):
        row = record.values
        name = next((name for name in IDS if name in row), None)
        if name is None or not all(column in row for column in columns):
            raise InputError(
                f"{record.where}: needs modal_path (or another name of the clip) and {', '.join(columns)}; "
                f"it has {', '.join(row)}"
            )
        video_id = id_of(row[name], record.where)
        if video_id in found:
            raise InputError(f"{record.where}: {video_id} is there twice")
        emotion, intent = (
            "" if is_missing(row[column]) else answer_of(str(row[column])).lower() for column in columns
        )
        found[video_id] = emotion, intent
    return found


def _scored(path: str, gold: Answers, predicted: Mapping[str, tuple[str, str]]) -> Scored:
    if gold.keys().isdisjoint(predicted):
        made_of(dict.fromkeys(gold, ""), dict.fromkeys(predicted))  # says which names the two sides have
    scores, of_all, dropped, per_clip = {}, {}, {}, {}
    for name in (*_PARTS, _JOINT):
        wanted = {key: _part(parts, name) for key, parts in gold.items()}
        given = {key: _part(predicted.get(key, ("", "")), name) for key in gold}
        answered = {key: label for key, label in wanted.items() if given[key]}
        if not answered:
            raise InputError(f"{path}: no clip has an answer for {name}")
        answers = {key: given[key] for key in answered}
        found = class_scores(answered, answers)
        precision = weighted_precision(answered, answers)
        scores[name] = {
            "accuracy": found.accuracy,
            "precision": precision,
            "recall": found.accuracy,  # the recalls weighted by their clips are the accuracy
            "f1": found.weighted_f1,
        }
        right = np.array([[bool(given[key]) and given[key] == wanted[key] for key in gold]], dtype=float)
        of_all[name] = float(right.mean())
        dropped[name] = len(gold) - len(answered)
        per_clip[f"{name}: accuracy of all"] = [per_clip_mean(list(gold), right)]
    absent = sum(key not in predicted for key in gold)
    return Scored(path, JointResult("emobench-joint", scores, of_all, dropped, len(gold), absent), per_clip)


def _part(parts: tuple[str, str], name: str) -> str:
    """One side of a clip; the pair is `emotion_intent`, and empty where one of them is."""
    if name == _JOINT:
        return "_".join(parts) if all(parts) else ""
    return parts[_PARTS.index(name)]


def weighted_precision(gold: Mapping[str, str], answers: Mapping[str, str]) -> float:
    """The precision of each gold class, weighted by its clips; 0 for a class that was never answered."""
    total = 0.0
    for name in set(gold.values()):
        named = [key for key in gold if answers[key] == name]
        if named:
            share = sum(gold[key] == name for key in named) / len(named)
            total += share * sum(label == name for label in gold.values())
    return total / len(gold)
