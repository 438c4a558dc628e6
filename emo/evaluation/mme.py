"""MME-Emotion (arXiv 2508.09210): steps of an answer, scored by a text model, and their arithmetic.

Three stages: the answer (made elsewhere), its steps, the scores of the steps. Recognition is the score of the
last step, reasoning the mean of the earlier ones (0 where there is one step only), the whole their mean. The
questions are emo's own: those that the tested systems were asked are not published, and the judge here reads
text and sees no picture.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np

from emo.evaluation.closed import class_of
from emo.experts.prompts.plain import as_text
from emo.extraction import rules
from emo.vocabulary import normalise

_STEPS = re.compile(r"<step>(.*?)</step>", re.DOTALL)
_SCORE = re.compile(r"<score>(.*?)</score>", re.DOTALL)
# The published code reads no score that is written over two lines, and so leaves the row out.
_SCORE_IN_A_LINE = re.compile(r"<score>(.*?)</score>")
_PARTS = re.compile(r":\s*(\d+)\s*/\s*(\d+)")
NOUNS = {
    "ER-Lab": "emotion",
    "ER-Wild": "emotion",
    "Noise-ER": "emotion",
    "FG-ER": "emotion",
    "ML-ER": "emotion",
    "SA": "sentiment",
    "FG-SA": "sentiment",
    "IR": "intent",
}
ALPHA = 0.5


@dataclass(frozen=True)
class Item:
    """One question of the benchmark: its task, its gold labels (several in ML-ER and FG-ER), its set."""

    task: str
    labels: tuple[str, ...]
    classes: tuple[str, ...]


def task_of(name: str) -> str | None:
    """The task that a name means, however it is written (`er_lab`, `ER-Lab`)."""
    squeezed = re.sub(r"[^a-z]", "", name.lower())
    return next((task for task in NOUNS if re.sub(r"[^a-z]", "", task.lower()) == squeezed), None)


def steps_question(item: Item, answer: str) -> str:
    """Asks for the steps of an answer."""
    return _template("mme_steps").replace("{noun}", NOUNS[item.task]).replace("{answer}", as_text(answer))


def scores_question(item: Item, steps: str, clue: str | None) -> str:
    """Asks for the scores of the steps; clue: what was heard, in words, None for nothing."""
    last = (
        f"C/{len(item.labels)}, where C is how many of the right labels it names."
        if len(item.labels) > 1
        else f"1/1 where it is the right {NOUNS[item.task]}, else 0/1."
    )
    text = _template("mme_scores").replace("{noun}", NOUNS[item.task]).replace("{last}", last)
    heard = f"what is heard: {as_text(clue)}\n" if clue else ""
    return (
        text.replace("{gold}", ", ".join(item.labels))
        .replace("{clue}", heard)
        .replace("{steps}", as_text(steps))
    )


def _template(name: str) -> str:
    return (resources.files(__package__) / f"{name}.txt").read_text(encoding="utf-8")


def read_steps(answer: str) -> str | None:
    """The steps in an answer of the judge; None where there are none."""
    found = _STEPS.findall(answer)
    steps = "\n".join(part.strip() for part in found).strip()
    return steps if "step" in steps.lower() else None


def read_scores(answer: str, labels: int, as_published: bool = False) -> tuple[float, ...] | None:
    """The score of each step, 0 to 1; labels: how many the gold has; None where they cannot be read.

    as_published: a score that is written over two lines is not read.
    """
    found = (_SCORE_IN_A_LINE if as_published else _SCORE).search(answer)
    pairs = [(int(part), int(whole)) for part, whole in _PARTS.findall(found[1])] if found else []
    if not pairs or any(whole < 1 or part > whole for part, whole in pairs):
        return None
    if any(whole != 1 for _, whole in pairs[:-1]) or pairs[-1][1] != labels:
        return None
    return tuple(part / whole for part, whole in pairs)


def rec_rea_cot(scores: Sequence[float]) -> tuple[float, float, float]:
    """Recognition, reasoning and the whole, of the scores of the steps of one answer."""
    recognition = scores[-1]
    reasoning = float(np.mean(scores[:-1])) if len(scores) > 1 else 0.0
    return recognition, reasoning, ALPHA * recognition + (1 - ALPHA) * reasoning


def judged(
    items: Mapping[str, Item],
    answers: Mapping[str, str],
    clues: Mapping[str, str],
    ask: Callable[[list[str]], list[str]],
    as_published: bool,
) -> dict[str, tuple[float, ...] | None]:
    """Clip -> the scores of its steps, None where the judge's steps or scores could not be read."""
    asked = [key for key in items if answers.get(key, "").strip()]
    written = ask([steps_question(items[key], answers[key]) for key in asked])
    steps = {key: found for key, text in zip(asked, written, strict=True) if (found := read_steps(text))}
    said = ask([scores_question(items[key], text, clues.get(key)) for key, text in steps.items()])
    scores: dict[str, tuple[float, ...] | None] = dict.fromkeys(asked)
    for key, text in zip(steps, said, strict=True):
        scores[key] = read_scores(text, len(items[key].labels), as_published)
    return scores


def recognised(item: Item, answer: str) -> float:
    """Recognition without a judge, and so without a leak: the share of the gold labels that the answer names.

    A label that stands in the answer as it is written counts where the answer names one class of the set
    only, or where several are right. Else emo's rules read the answer, which know denials; where they too
    find several classes for one gold label, nothing was decided, and that is 0.
    """
    named = {name for name in item.classes if _names(answer, name)}
    if len(item.labels) == 1 and len(named) != 1:
        named = {found for label in rules.labels_of(answer) if (found := class_of(label, item.classes))}
        if len(named) != 1:
            return 0.0
    return sum(label in named for label in item.labels) / len(item.labels)


def _names(answer: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(normalise(name))}(?!\w)", normalise(answer)) is not None
