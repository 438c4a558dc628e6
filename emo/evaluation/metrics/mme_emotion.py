"""MME-Emotion: recognition and reasoning, with a judge in three stages or without one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emo.errors import InputError
from emo.evaluation.bootstrap import per_clip_mean
from emo.evaluation.class_gold import IDS, id_of, of_gold, read_class_gold, records_at
from emo.evaluation.judging import Judge, judge_of
from emo.evaluation.labels import TEXTS, Kind, read
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
    missing,
)
from emo.evaluation.mme import NOUNS, Item, judged, rec_rea_cot, recognised, task_of
from emo.evaluation.systems import descriptions_in
from emo.evaluation.text import table
from emo.pages import charts
from emo.sources.record import is_missing

_RESPONSES = Kind(
    ("model_response", *TEXTS.columns), TEXTS.is_right, TEXTS.expected, TEXTS.parse, True, ids=IDS
)
_OWN = (
    "the questions are emo's own: those of the benchmark are not published; the judge sees no frames, which "
    "the published one does, so numbers cannot be compared with the published ones"
)
_LEAK_FREE = "recognition by rules: no judge, no clue, and nothing that repeats the gold label"
_REPEATED = "the clues that the benchmark hands out repeat the gold label"

CLUES = Option("clues", "a file of audio clues for the judge", "FILE", str)
UNPARSABLE = Option(
    "unparsable",
    "answers of the judge that cannot be read score 0 (the default) or are left out, as published",
    None,
    str,
    ("zero", "skip"),
)


@dataclass(frozen=True)
class MmeResult:
    """recognition, reasoning, whole (cot): 0 to 1 over all scored clips; reasoning and cot are None without a
    judge; tasks, categories: the same by task and by gold label, each (recognition, reasoning, cot, clips);
    dropped: clips whose answer of the judge could not be read: left out (as published) or scored 0."""

    metric: str
    judge: str | None
    recognition: float
    reasoning: float | None
    cot: float | None
    tasks: dict[str, tuple[float, float, float, int]]
    categories: dict[str, tuple[float, float, float, int]]
    clips: int
    dropped: int
    missing_predictions: int
    notes: tuple[str, ...] = ()


class MmeEmotionMetric(Metric[MmeResult]):
    """Scores of the steps of an answer; without a judge recognition alone."""

    summary = (
        "MME-Emotion's three stages with --judge; without one recognition by rules, which leaks no label. "
        "Gold: its question files, TASK=PATH or in a folder named after the task; predicted: video_id and "
        "model_response, or descriptions."
    )
    takes = frozenset({"expert", "sample"})
    options = (JUDGE, MAX_FAILED, CLUES, UNPARSABLE)
    benchmark = "MME-Emotion"
    several = True

    def check(self, request: Request) -> None:
        if request.given(JUDGE) is None and (request.given(CLUES), request.given(UNPARSABLE)) != (None, None):
            raise InputError("--clues and --unparsable are of the judge; --judge is not given")
        if len(request.predicted) > 1 or len(request.compare) > 1:
            raise InputError("--metric mme-emotion takes one --predicted and one --compare")

    def score(self, request: Request) -> Evaluation:
        items = read_items(request.gold)
        sides = [
            (path, _responses(path, request if place == 0 else None, items))
            for place, path in enumerate((*request.predicted, *request.compare))
        ]
        told = request.given(CLUES)
        clues = of_gold(_clues(told), items) if told is not None else {}
        with judge_of(request.given(JUDGE)) as judge:
            scored = [_scored(path, items, answers, clues, judge, request) for path, answers in sides]
        return finish(self, request, scored[0], scored[1] if len(scored) > 1 else None)

    def lines(self, result: MmeResult) -> list[str]:
        judge = f", judge: {result.judge}" if result.judge else ""
        lines = [f"{result.metric}: {result.clips} clips{judge}"]
        groups = {"all": (result.recognition, result.reasoning, result.cot, result.clips), **result.tasks}
        shown: list[list[object]] = [[name, *numbers] for name, numbers in groups.items()]
        shown += [[f"  {name}", *numbers] for name, numbers in result.categories.items()]
        columns = ["", "recognition", "reasoning", "CoT", "clips"]
        if result.judge is None:
            shown, columns = [[*row[:2], row[4]] for row in shown], [*columns[:2], "clips"]
        lines.append(table(columns, shown))
        if result.dropped:
            lines.append(f"clips whose scores could not be read: {result.dropped}")
        return [*lines, *missing(result.missing_predictions), *result.notes]

    def headline(self, result: MmeResult) -> tuple[str, int]:
        told = f"recognition {100 * result.recognition:.2f}"
        if result.reasoning is not None and result.cot is not None:
            told += f", reasoning {100 * result.reasoning:.2f}, CoT {100 * result.cot:.2f}"
            told += f" (judge: {result.judge})"
        return told, result.clips

    def plots(self, result: MmeResult) -> dict[str, str]:
        rows = [(name, numbers[0], f"of {numbers[3]}") for name, numbers in result.categories.items()]
        return {"recognition": charts.bars(rows, "Recognition by gold label")}


def read_items(given: Sequence[str]) -> dict[str, Item]:
    """The questions in TASK=PATH, or in files one of whose folders is named after the task."""
    items: dict[str, Item] = {}
    for entry in given:
        name, pair, path = entry.partition("=")
        if not pair or Path(entry).exists():
            path, named = entry, [task_of(part) for part in reversed(Path(entry).with_suffix("").parts)]
            task = next(filter(None, named), None)
        else:
            task = task_of(name)
        if task is None:
            raise InputError(f"--gold {entry}: say the task, TASK=PATH, one of {', '.join(NOUNS)}")
        gold = read_class_gold(path)
        for video_id, labels in gold.labels.items():
            if video_id in items:
                raise InputError(f"--gold {entry}: {video_id} is there twice")
            items[video_id] = Item(task, labels, gold.sets[video_id])
    return items


def _responses(path: str, request: Request | None, items: Mapping[str, Item]) -> dict[str, str]:
    found = read(descriptions_in(path), _RESPONSES)
    if request is not None:
        found = found.only(request.expert, request.sample)
    answers = of_gold(found.one(), items)
    if items.keys().isdisjoint(answers):
        raise InputError(f"{path}: has no answer to a question; gold has {next(iter(items))!r}")
    return answers


def _clues(path: str) -> dict[str, str]:
    clues = {}
    for record in records_at(path, (*IDS, "audio_clue")):
        name = next((name for name in IDS if name in record.values), None)
        if name is None or "audio_clue" not in record.values:
            raise InputError(f"{record.where}: needs video_id and audio_clue")
        if not is_missing(record.values["audio_clue"]):
            clues[id_of(record.values[name], record.where)] = str(record.values["audio_clue"])
    return clues


def _scored(
    path: str,
    items: Mapping[str, Item],
    answers: Mapping[str, str],
    clues: Mapping[str, str],
    judge: Judge | None,
    request: Request,
) -> Scored:
    """Questions without an answer score 0; those that the judge's answer says nothing of are dropped or 0."""
    absent = [key for key in items if not answers.get(key, "").strip()]
    skip = request.given(UNPARSABLE) == "skip"
    numbers: dict[str, tuple[float, float, float]] = dict.fromkeys(absent, (0.0, 0.0, 0.0))
    dropped = 0
    if judge is None:
        answered = [key for key in items if key not in numbers]
        numbers |= {key: (recognised(items[key], answers[key]), 0.0, 0.0) for key in answered}
    else:
        scores = judged(items, answers, clues, judge.ask, skip)
        dropped = sum(found is None for found in scores.values())
        check_answers(judge.name, dropped, len(scores), request.given(MAX_FAILED))
        for key, found in scores.items():
            if found is not None:
                numbers[key] = rec_rea_cot(found)
            elif not skip:
                numbers[key] = (0.0, 0.0, 0.0)
    ids = [key for key in items if key in numbers]
    values = np.array([numbers[key] for key in ids]).T
    means = values.mean(axis=1).tolist()
    options = [
        "frames=none",
        f"clues={'given' if clues else 'none'}",
        f"unparsable={'skip' if skip else 'zero'}",
    ]
    notes = (_LEAK_FREE,) if judge is None else (_OWN, *((_REPEATED,) if clues else ()))
    result = MmeResult(
        metric="mme-emotion-recognition" if judge is None else f"mme-emotion[{','.join(options)}]",
        judge=None if judge is None else judge.name,
        recognition=means[0],
        reasoning=None if judge is None else means[1],
        cot=None if judge is None else means[2],
        tasks=_grouped({key: items[key].task for key in ids}, numbers),
        categories=_grouped({key: ",".join(items[key].labels) for key in ids}, numbers),
        clips=len(ids),
        dropped=dropped,
        missing_predictions=len(absent),
        notes=notes,
    )
    named = ("recognition",) if judge is None else ("recognition", "reasoning", "cot")
    per_clip = {name: [per_clip_mean(ids, values[[place]])] for place, name in enumerate(named)}
    return Scored(path, result, per_clip)


def _grouped(
    group_of: Mapping[str, str], numbers: Mapping[str, tuple[float, float, float]]
) -> dict[str, tuple[float, float, float, int]]:
    found = {}
    for name in dict.fromkeys(group_of.values()):
        of_group = [numbers[key] for key, group in group_of.items() if group == name]
        recognition, reasoning, cot = np.mean(of_group, axis=0).tolist()
        found[name] = recognition, reasoning, cot, len(of_group)
    return found
