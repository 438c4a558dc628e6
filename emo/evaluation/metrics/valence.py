"""Valence of descriptions: how pleasant the emotion is that a text tells of, against a human number."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from emo import vocabulary
from emo.errors import InputError
from emo.evaluation.bootstrap import PerClip
from emo.evaluation.class_gold import IDS
from emo.evaluation.closed import class_scores, made_of
from emo.evaluation.judging import judge_of
from emo.evaluation.labels import TEXTS, Kind, read
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
from emo.evaluation.systems import System, read_descriptions
from emo.evaluation.text import table
from emo.experts.prompts.plain import as_text
from emo.extraction import rules
from emo.sources.record import short

Valences = dict[str, float | None]
_NUMBER = re.compile(r"^[-+−]?(?:\d+(?:\.\d+)?|\.\d+)$")
_SIGNS = {"positive": 1.0, "neutral": 0.0, "negative": -1.0}
_NOT_PUBLISHED = (
    "the question and the reading of valence are emo's own: the challenge's prompt is not published, so "
    "numbers cannot be compared with its"
)


@dataclass(frozen=True)
class ValenceResult:
    """weighted_f1, accuracy: of the sign, on the clips whose gold is not 0; correlation: Pearson's r;
    concordance: Lin's coefficient, which also asks for the same scale, over the clips whose valence is known;
    unknown: predicted texts that tell no valence, wrong for the sign and left out of the correlations."""

    metric: str
    weighted_f1: float
    accuracy: float
    correlation: float
    concordance: float
    clips: int
    signed_clips: int
    unknown: int
    missing_predictions: int
    notes: tuple[str, ...] = ()


def _number(value: Any, where: str) -> float | str:
    """A valence as a number or as positive, neutral, negative; any other text is a description."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InputError(f"{where}: the valence is {short(value)}; expected a number or a text")
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in _SIGNS:
            return _SIGNS[text.lower()]
        if not _NUMBER.match(text):
            if not text:
                raise InputError(f"{where}: the valence is empty; expected a number or a text")
            return text
        value = text.replace("−", "-")
    number = float(value)
    if not np.isfinite(number):
        raise InputError(f"{where}: the valence is {value}; expected a finite number")
    return number


_GOLD = Kind(
    ("valence", "val", "sentiment", *TEXTS.columns), lambda kind: True, "a number or a text", _number, ids=IDS
)


class ValenceMetric(Metric[ValenceResult]):
    """Sign, correlation and concordance of the valence that descriptions tell of."""

    summary = (
        "how pleasant the emotion is that descriptions tell of. Gold: valence (val, sentiment) as a number "
        "or positive/neutral/negative, or human descriptions. Read by --judge, without one by emo's rules "
        "and vocabulary, and the result says so."
    )
    options = (JUDGE, MAX_FAILED)

    def score(self, request: Request) -> Evaluation:
        given = read(request.gold[0], _GOLD).one()
        predicted, other = systems(request, read_descriptions)
        for system in filter(None, (predicted, other)):
            check_ids({name: [] for name in given}, {name: [] for name in system.values})
        with judge_of(request.given(JUDGE)) as judge:
            name = "valence[rules]" if judge is None else f"valence[judge={judge.name}]"

            def valences(texts: Mapping[str, str]) -> Valences:
                if judge is None:
                    return {video_id: of_rules(text) for video_id, text in texts.items()}
                found, unread = of_judge(texts, judge.ask)
                check_answers(judge.name, unread, len(texts), request.given(MAX_FAILED))
                return found

            of_texts = valences({key: value for key, value in given.items() if isinstance(value, str)})
            gold = {key: of_texts[key] if isinstance(value, str) else value for key, value in given.items()}
            known = {key: value for key, value in gold.items() if value is not None}
            notes = [_NOT_PUBLISHED]
            if len(known) < len(gold):
                notes.append(f"{len(gold) - len(known)} gold texts tell no valence and were left out")

            def score(system: System) -> Scored:
                texts: Any = {key: text for key, text in system.values.items() if key in known and text}
                return _scored(name, system.name, known, valences(texts), (*notes, *system.notes))

            return finish(self, request, score(predicted), None if other is None else score(other))

    def lines(self, result: ValenceResult) -> list[str]:
        lines = [
            f"{result.metric}: {result.clips} clips, {result.signed_clips} with a sign",
            table(
                ["weighted F1 of the sign", "accuracy", "correlation", "concordance"],
                [[result.weighted_f1, result.accuracy, result.correlation, result.concordance]],
            ),
        ]
        if result.unknown:
            lines.append(f"texts that tell no valence, wrong for the sign: {result.unknown}")
        return [*lines, *missing(result.missing_predictions), *result.notes]

    def headline(self, result: ValenceResult) -> tuple[str, int]:
        return f"weighted F1 of the sign {100 * result.weighted_f1:.2f}", result.clips


def of_rules(text: str) -> float | None:
    """The mean valence of the emotions that emo's rules find in a text; None where they find none."""
    known = [value for value in map(vocabulary.valence, rules.labels_of(text)) if value is not None]
    return sum(known) / len(known) if known else None


def of_judge(texts: Mapping[str, str], ask: Callable[[Sequence[str]], list[str]]) -> tuple[Valences, int]:
    """The valence that a text model reads, None where it says that the text tells none; and how many answers
    could not be read (they are None too)."""
    template = (resources.files("emo.evaluation") / "valence_of_text.txt").read_text(encoding="utf-8")
    answers = ask([template.replace("{text}", as_text(text)) for text in texts.values()])
    found: Valences = {}
    unread = 0
    for video_id, answer in zip(texts, answers, strict=True):
        plain = answer.strip().strip(".*\"'").lower()
        number = float(plain.replace("−", "-")) if _NUMBER.match(plain) else None
        found[video_id] = number if number is not None and -1 <= number <= 1 else None
        unread += found[video_id] is None and plain != "unknown"
    return found, unread


def _scored(
    metric: str, name: str, gold: Mapping[str, float], predicted: Valences, notes: tuple[str, ...]
) -> Scored:
    signed = {key: _sign(value) for key, value in gold.items() if value != 0}
    if not signed:
        raise InputError("valence: every gold value is 0: no sign to score")
    answers = {key: None if value is None else _sign(value) for key, value in predicted.items()}
    signs: Mapping[str, str | None] = {key: answers.get(key) for key in signed}
    scores = class_scores(signed, signs)
    both = [key for key in gold if predicted.get(key) is not None]
    values = np.array([[gold[key] for key in both], [predicted[key] for key in both]], dtype=float)
    parts = made_of(signed, signs)
    per_clip = {"weighted_f1": [parts["weighted_f1"]], "accuracy": [parts["accuracy"]]}
    found = {"correlation": float("nan"), "concordance": float("nan")}
    for number, of in (("correlation", correlation), ("concordance", concordance)):
        made = PerClip(tuple(both), values, of)
        found[number] = made.value() if len(both) > 1 else float("nan")
        if np.isfinite(found[number]):
            per_clip[number] = [made]
    result = ValenceResult(
        metric,
        scores.weighted_f1,
        scores.accuracy,
        found["correlation"],
        found["concordance"],
        len(gold),
        len(signed),
        sum(value is None for value in predicted.values()),
        sum(key not in predicted for key in gold),
        notes,
    )
    return Scored(name, result, per_clip)


def _sign(value: float) -> str:
    return "positive" if value > 0 else "negative" if value < 0 else "neutral"


def _moments(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, ...]:
    """Means (2, ...), variances (2, ...) and covariance (...) of values (2, n) under weights (..., n)."""
    total = weights.sum(axis=-1)
    means = np.stack([weights @ row / total for row in values])
    squares = np.stack([weights @ row**2 / total for row in values])
    covariance = weights @ (values[0] * values[1]) / total - means[0] * means[1]
    return means, np.maximum(squares - means**2, 0), covariance


def correlation(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson's r of gold and prediction; nan where one of them does not vary."""
    _, variances, covariance = _moments(values, weights)
    scale = np.sqrt(variances[0] * variances[1])
    return np.divide(covariance, scale, out=np.full_like(covariance, np.nan), where=scale > 1e-12)


def concordance(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Lin's concordance correlation coefficient (Biometrics 45, 1989)."""
    means, variances, covariance = _moments(values, weights)
    scale = variances.sum(axis=0) + (means[0] - means[1]) ** 2
    return np.divide(2 * covariance, scale, out=np.full_like(covariance, np.nan), where=scale > 1e-12)
