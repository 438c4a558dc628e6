"""Closed sets of classes: how open labels become one class, and the numbers that the field reports on them.

A clip has one gold class. A prediction is a list of open labels, best first; the first of them that means a
class of the set is the answer, or where none does the first whose family has one class in the set. Where
there is none either, there is no answer, and that is wrong; it is not neutral.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from emo import vocabulary
from emo.evaluation.bootstrap import PerClip, per_clip_mean
from emo.evaluation.overlap import Labels, check_ids

SENTIMENTS = ("negative", "neutral", "positive")
_BY_CLUSTER = (
    "a label means the class that it names, in any form; else the one class of its cluster in emo's "
    "vocabulary; the first label of a clip that means a class is the answer; where none does, the first "
    "whose family in the vocabulary (furious is of anger) has one class in the set, but never neutral"
)
_BY_VALENCE = (
    "an answer is a class that is named, else the sign of the mean valence of the labels in emo's vocabulary"
)


@dataclass(frozen=True)
class Mapped:
    """How the labels of one system became classes.

    answers: video_id -> class, None where no label means one; rule: in words; counts: label -> (class or
    None, how often), most frequent first.
    """

    answers: dict[str, str | None]
    rule: str
    counts: dict[str, tuple[str | None, int]]


@cache
def class_of(label: str, classes: tuple[str, ...]) -> str | None:
    """The class that a label means: the same words, the same headword, or the one class of its cluster.

    None where no class is meant, and where the cluster holds several classes and the label names none of
    them: which is meant cannot be told.
    """
    plain = vocabulary.normalise(label)
    for name in classes:
        if vocabulary.normalise(name) == plain:
            return name
    known = vocabulary.entry(label)
    if known is None:
        return None
    entries = {name: vocabulary.entry(name) for name in classes}
    of_word = [name for name, entry in entries.items() if entry is not None and entry == known]
    if len(of_word) == 1:
        return of_word[0]
    of_cluster = [name for name, entry in entries.items() if entry and entry.cluster == known.cluster]
    return of_cluster[0] if len(of_cluster) == 1 else None


@cache
def class_of_family(label: str, classes: tuple[str, ...]) -> str | None:
    """The one class of the set that is of the label's family; None where it has none or several.

    Never neutral, with which calm shares a family: who is calm was not found to feel nothing.
    """
    family = vocabulary.family_of(label)
    if family is None:
        return None
    found = [name for name in classes if vocabulary.family_of(name) == family]
    return found[0] if len(found) == 1 and class_of(found[0], ("neutral",)) is None else None


def is_sentiment_set(classes: Sequence[str]) -> bool:
    """Whether the set is positive and negative, with or without neutral."""
    names = {name.lower() for name in classes}
    return {"positive", "negative"} <= names <= set(SENTIMENTS)


def to_classes(gold: Mapping[str, str], predicted: Labels, sets: Mapping[str, tuple[str, ...]]) -> Mapped:
    """The answer to each gold clip; sets: the classes that each clip could have had."""
    counts: Counter[str] = Counter()
    meant: dict[str, str | None] = {}
    answers: dict[str, str | None] = {}
    by_valence = False
    for video_id in gold:
        labels, classes = predicted.get(video_id, ()), sets[video_id]
        found = [class_of(label, classes) for label in labels]
        for label, name in zip(labels, found, strict=True):
            counts[label] += 1
            meant[label] = name or meant.get(label)
        answer = next((name for name in found if name is not None), None)
        if answer is None and is_sentiment_set(classes):
            by_valence = True
            answer = _of_valence(labels, classes)
        elif answer is None:
            related = [(label, class_of_family(label, classes)) for label in labels]
            word, answer = next((pair for pair in related if pair[1] is not None), (None, None))
            if word is not None:
                meant[word] = answer
        answers[video_id] = answer
    ordered = {label: (meant[label], count) for label, count in counts.most_common()}
    sentiment = by_valence or any(map(is_sentiment_set, set(sets.values())))
    return Mapped(answers, _BY_VALENCE if sentiment else _BY_CLUSTER, ordered)


def _of_valence(labels: Sequence[str], classes: Sequence[str]) -> str | None:
    known = [value for value in map(vocabulary.valence, labels) if value is not None]
    if not known:
        return None
    mean = sum(known) / len(known)
    wanted = "positive" if mean > 0 else "negative" if mean < 0 else "neutral"
    return next((name for name in classes if name.lower() == wanted), None)


@dataclass(frozen=True)
class ClassScores:
    """accuracy: the share of right answers (WAR); weighted_f1: F1 of each class, weighted by its gold clips;
    macro_f1: the plain mean over the classes that occur in gold or in an answer; uar: the mean recall over
    the classes of gold; recall: that of each. All from 0 to 1."""

    accuracy: float
    weighted_f1: float
    macro_f1: float
    uar: float
    recall: dict[str, float]


def class_scores(gold: Mapping[str, str], answers: Mapping[str, str | None]) -> ClassScores:
    """The numbers of one system; clips of gold without an answer are wrong."""
    parts = made_of(gold, answers)
    recall = {}
    for name in sorted(set(gold.values())):
        of_class = [answers.get(video_id) == name for video_id, label in gold.items() if label == name]
        recall[name] = float(np.mean(of_class))
    values = {name: part.value() for name, part in parts.items()}
    return ClassScores(values["accuracy"], values["weighted_f1"], values["macro_f1"], values["uar"], recall)


def made_of(gold: Mapping[str, str], answers: Mapping[str, str | None]) -> dict[str, PerClip]:
    """What accuracy, weighted_f1, macro_f1 and uar are made of, clip by clip."""
    check_ids({video_id: [] for video_id in gold}, {video_id: [] for video_id in answers})
    names = sorted({*gold.values(), *(answer for answer in answers.values() if answer is not None)})
    number = {name: place for place, name in enumerate(names)}
    video_ids = tuple(gold)
    values = np.array(
        [
            [number[gold[video_id]] for video_id in video_ids],
            [_number(number, answers.get(video_id)) for video_id in video_ids],
        ],
        dtype=float,
    )

    def part(which: str) -> PerClip:
        return PerClip(video_ids, values, lambda values, weights: _share(values, weights, len(names), which))

    right = (values[0] == values[1]).astype(float)[None]
    return {
        "accuracy": per_clip_mean(video_ids, right),
        **{which: part(which) for which in ("weighted_f1", "macro_f1", "uar")},
    }


def _number(number: Mapping[str, int], answer: str | None) -> int:
    return -1 if answer is None else number[answer]


def _share(values: np.ndarray, weights: np.ndarray, classes: int, which: str) -> np.ndarray:
    """values (2, n): gold and answer as numbers, -1 for none; weights (..., n); gives (...)."""
    total, weight = np.zeros(weights.shape[:-1]), np.zeros(weights.shape[:-1])
    for name in range(classes):
        is_gold, is_answer = values[0] == name, values[1] == name
        wanted, named = weights @ is_gold, weights @ is_answer
        hits = weights @ (is_gold & is_answer)
        if which == "uar":
            scale, of_class = wanted, hits
        else:
            scale, of_class = wanted + named, 2 * hits
        share = np.divide(of_class, scale, out=np.zeros_like(total), where=scale > 0)
        counts = wanted if which == "weighted_f1" else (scale > 0).astype(float)
        total, weight = total + counts * share, weight + counts
    return np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)


def confusion(
    gold: Mapping[str, str], answers: Mapping[str, str | None], classes: Sequence[str]
) -> list[list[int]]:
    """Rows: gold classes; columns: answers, the last one for none."""
    counts = Counter((label, answers.get(video_id)) for video_id, label in gold.items())
    return [[counts[name, answer] for answer in (*classes, None)] for name in classes]
