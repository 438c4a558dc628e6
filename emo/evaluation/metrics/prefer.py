"""MER-Prefer (MER2026 track 3, EmoPrefer): which of two descriptions of a clip people prefer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from emo.errors import InputError
from emo.evaluation.bootstrap import PerClip
from emo.evaluation.class_gold import IDS, id_of, records_at
from emo.evaluation.closed import class_scores, made_of
from emo.evaluation.metric import Evaluation, Metric, Request, Scored, finish, missing
from emo.evaluation.text import table
from emo.sources.record import is_missing, short

FIRST, SECOND, SAME = "a1", "a2", "same"
PREFERENCES = (FIRST, SECOND, SAME)

Key = tuple[str, str, str]
"""clip, first description, second description; the descriptions are empty where the file has none"""


@dataclass(frozen=True)
class PreferResult:
    """two: without pairs that people found equal, where a predicted `same` counts as a1, as published;
    three: all pairs; each has weighted_f1 and accuracy, 0 to 1. unread: predictions that name no preference,
    which count as `same`, as published; missing_predictions: pairs without a prediction, which are wrong."""

    metric: str
    two: dict[str, float]
    three: dict[str, float]
    pairs: int
    decided_pairs: int
    unread: int
    missing_predictions: int
    notes: tuple[str, ...] = ()


def read_preference(text: str) -> str | None:
    """The preference in an answer: what it begins with, else the first of a1, a2, same that occurs in it.

    MER2026 track 3. None where none of the three occurs; the benchmark takes that for `same`.
    """
    plain = text.strip().lower()
    for name in PREFERENCES:
        if plain.startswith(name):
            return name
    return next((name for name in PREFERENCES if name in plain), None)


class PreferMetric(Metric[PreferResult]):
    """Weighted F1 and accuracy over preferences, in both arithmetics of the challenge."""

    summary = (
        "MER2026 track 3 and EmoPrefer: which of two descriptions people prefer. Gold name,a1,a2,preference; "
        "predicted name,preference, a label or free text. Two classes and three classes; no model."
    )
    takes = frozenset()

    def score(self, request: Request) -> Evaluation:
        gold = _gold(request.gold[0])
        other = _scored(gold, request.compare[0]) if request.compare else None
        return finish(self, request, _scored(gold, request.predicted[0]), other)

    def lines(self, result: PreferResult) -> list[str]:
        rows: list[list[object]] = [
            [name, numbers["weighted_f1"], numbers["accuracy"], count]
            for name, numbers, count in (
                ("two classes", result.two, result.decided_pairs),
                ("three classes", result.three, result.pairs),
            )
        ]
        lines = [f"{result.metric}: {result.pairs} pairs"]
        lines.append(table(["", "weighted F1", "accuracy", "pairs"], rows))
        if result.unread:
            lines.append(f"predictions that name no preference, counted as same: {result.unread}")
        return [*lines, *missing(result.missing_predictions), *result.notes]

    def headline(self, result: PreferResult) -> tuple[str, int]:
        two, three = (100 * numbers["weighted_f1"] for numbers in (result.two, result.three))
        return f"weighted F1 {two:.2f} (two classes), {three:.2f} (three classes)", result.pairs


def _gold(path: str) -> dict[Key, str]:
    gold: dict[Key, str] = {}
    for key, text, where in _rows(path):
        preference = text.strip().lower()
        if preference not in PREFERENCES:
            raise InputError(f"{where}: preference is {short(text)}; expected a1, a2 or same")
        if key in gold:
            raise InputError(f"{where}: this pair of {key[0]} is there twice")
        gold[key] = preference
    if not any(preference != SAME for preference in gold.values()):
        raise InputError(f"{path}: no pair of which one was preferred: nothing to score")
    return gold


def _rows(path: str) -> Iterable[tuple[Key, str, str]]:
    for record in records_at(path, (*IDS, "a1", "a2", "preference")):
        row = record.values
        name = next((name for name in IDS if name in row), None)
        if name is None or "preference" not in row:
            raise InputError(
                f"{record.where}: needs the columns name and preference; it has {', '.join(row)}"
            )
        first, second = ("" if is_missing(row.get(side)) else str(row[side]) for side in ("a1", "a2"))
        value = "" if is_missing(row["preference"]) else str(row["preference"])
        yield (id_of(row[name], record.where), first, second), value, record.where


def _scored(gold: Mapping[Key, str], path: str) -> Scored:
    read, absent = _predicted(gold, path)
    unread = sum(answer is None for answer in read.values())
    answers: dict[Key, str | None] = {key: answer or SAME for key, answer in read.items()}
    decided = {key: label for key, label in gold.items() if label != SAME}
    first_for_same: Any = {key: FIRST if answer == SAME else answer for key, answer in answers.items()}
    numbers: dict[str, dict[str, float]] = {}
    per_clip: dict[str, list[PerClip]] = {}
    for name, side, given in (("two", decided, first_for_same), ("three", gold, answers)):
        known, said = _named(side), _named(given)
        found = class_scores(known, said)
        numbers[name] = {"weighted_f1": found.weighted_f1, "accuracy": found.accuracy}
        made = made_of(known, said)
        per_clip |= {f"{name}: {what}": [made[what]] for what in ("weighted_f1", "accuracy")}
    result = PreferResult("prefer", numbers["two"], numbers["three"], len(gold), len(decided), unread, absent)
    return Scored(path, result, per_clip)


def _named(values: Mapping[Key, Any]) -> dict[str, Any]:
    return {"\n".join(key): value for key, value in values.items()}


def _predicted(gold: Mapping[Key, str], path: str) -> tuple[dict[Key, str | None], int]:
    """The preference for each gold pair, and the pairs without a prediction.

    A file of name and preference alone is enough where each clip has one pair.
    """
    given: dict[Key, str] = {}
    for key, text, where in _rows(path):
        if key in given:
            raise InputError(f"{where}: this pair of {key[0]} is there twice")
        given[key] = text
    clips = [key[0] for key in gold]
    if len(set(clips)) == len(clips):
        by_clip = {key[0]: text for key, text in given.items()}
        if len(by_clip) < len(given):
            raise InputError(f"{path}: a clip is there twice, but gold has one pair of each")
        found = {key: by_clip[key[0]] for key in gold if key[0] in by_clip}
    else:
        found = {key: given[key] for key in gold if key in given}
    if not found:
        raise InputError(
            f"{path}: no pair of the gold file is predicted; where a clip has several pairs, the file needs "
            "the columns a1 and a2 as gold has them"
        )
    return {key: read_preference(text) for key, text in found.items()}, len(gold) - len(found)
