"""Overlap of descriptions as EMER measures it (arXiv 2306.15401), with a language model as the judge.

EMER asked a chat model how much a predicted description has in common with the human one, once for the clues
and once for the labels, from 1 to 10. The model is part of the metric: its name is part of the result, and
numbers of two judges cannot be compared.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np

from emo.errors import InputError
from emo.experts.prompts.plain import as_text

Ask = Callable[[list[str]], list[str]]
"""prompts -> the answers of a text model, aligned"""

_SCORE = re.compile(r"(?<![\d.])(10|[1-9])(?:\s*/\s*10)?(?!\d|\.\d|\s*/)")


@dataclass(frozen=True)
class OverlapJudgement:
    """clue, label: the average score, 1 to 10, None where no answer could be read; unread: answers without a
    score, which are left out of the averages, never taken for a number; scores: video_id -> (clue, label)."""

    metric: str
    judge: str
    clue: float | None
    label: float | None
    clips: int
    unread_clue: int
    unread_label: int
    missing_predictions: int
    scores: dict[str, tuple[int | None, int | None]]


def prompt(kind: str, gold: str, predicted: str) -> str:
    """The question about one clip; kind: clue or label."""
    template = (resources.files(__package__) / f"{kind}_overlap.txt").read_text(encoding="utf-8")
    return template.replace("{gold}", as_text(gold)).replace("{predicted}", as_text(predicted))


def read_score(answer: str) -> int | None:
    """The one score, 1 to 10, of an answer; None where there is none or where it gives several."""
    found = {int(number) for number in _SCORE.findall(answer)}
    return found.pop() if len(found) == 1 else None


def description_overlap(
    gold: Mapping[str, str], predicted: Mapping[str, str], ask: Ask, judge: str
) -> OverlapJudgement:
    """Let `ask` compare the description of every clip with the human one; `judge` names the model.

    Clips without a prediction are counted and not asked about. Raises InputError where no clip is on both
    sides, or where the answers do not match the questions.
    """
    if not judge:
        raise InputError("description overlap: the judging model must be named: it is part of the result")
    clips = [video_id for video_id in gold if predicted.get(video_id)]
    if not clips:
        raise InputError("description overlap: no clip has both a gold and a predicted description")
    read = {}
    for kind in ("clue", "label"):
        answers = ask([prompt(kind, gold[video_id], predicted[video_id]) for video_id in clips])
        if len(answers) != len(clips):
            raise InputError(f"description overlap: {len(answers)} answers to {len(clips)} questions")
        read[kind] = [read_score(answer) for answer in answers]
    return OverlapJudgement(
        metric="emer-overlap",
        judge=judge,
        clue=_average(read["clue"]),
        label=_average(read["label"]),
        clips=len(clips),
        unread_clue=read["clue"].count(None),
        unread_label=read["label"].count(None),
        missing_predictions=len(gold) - len(clips),
        scores=dict(zip(clips, zip(read["clue"], read["label"], strict=True), strict=True)),
    )


def _average(scores: Sequence[int | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return float(np.mean(known)) if known else None
