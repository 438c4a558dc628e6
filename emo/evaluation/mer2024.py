"""The set metric of MER2024-OV (arXiv 2404.17113, the open-vocabulary track).

The words of gold and prediction of a clip are put into groups of the same meaning, by people or by a language
model; then accuracy is the share of the predicted groups that gold has, recall the share of the gold groups
that were predicted. The score is the mean of both, each averaged over the clips. A language model that groups
is part of the metric, so its name is part of the result.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from emo.errors import InputError
from emo.evaluation.overlap import Labels, check_ids, normalise
from emo.experts.prompts.plain import as_text

Grouping = Sequence[Sequence[str]]
Grouper = Callable[[list[str]], list[list[str]]]
"""distinct words of one clip, sorted -> groups of the same meaning"""

Ask = Callable[[list[str]], list[str]]
"""prompts -> the answers of a text model, aligned"""

GIVEN = "given groups"


@dataclass(frozen=True)
class GroupedResult:
    """accuracy, recall, avg: averages over clips and runs; judge: who grouped; spread: the standard
    deviation of avg between the runs of the judge, None with one run; ungrouped: words that no group had and
    that stand for themselves; dropped: clips without gold; missing_predictions: gold clips that were not
    predicted, which score 0."""

    metric: str
    judge: str
    accuracy: float
    recall: float
    avg: float
    clips: int
    runs: int
    spread: float | None
    ungrouped: int
    dropped: int
    missing_predictions: int


def mer2024(
    gold: Labels,
    predicted: Labels,
    groups: Mapping[str, Grouping] | None = None,
    grouper: Grouper | None = None,
    judge: str = GIVEN,
    runs: int = 1,
) -> GroupedResult:
    """Score with given `groups` (video_id -> groups), or with those that `grouper` makes.

    judge: the name of the grouper with its version; runs: how often it is asked, for one that samples (the
    challenge averaged five). Raises InputError where neither or both are given, where the sides share no
    clip, or where `groups` lacks a clip.
    """
    if (groups is None) == (grouper is None):
        raise InputError("mer2024: needs either groups or a model that makes them")
    if grouper is not None and judge == GIVEN:
        raise InputError("mer2024: the model that groups must be named: it is part of the result")
    if runs < 1 or (groups is not None and runs != 1):
        raise InputError(f"mer2024: {runs} runs; expected 1 with given groups, else 1 or more")
    check_ids(gold, predicted)
    scored = [video_id for video_id in gold if _words(gold[video_id])]
    if not scored:
        raise InputError("mer2024: no clip has a gold label")
    averages, ungrouped = [], 0
    made: Mapping[str, Grouping]
    for _ in range(runs):
        if groups is None:
            assert grouper is not None
            made = {
                video_id: grouper(sorted(_words(gold[video_id]) | _words(predicted.get(video_id, ()))))
                for video_id in scored
            }
        else:
            made = groups
        pairs, left_over = grouped_shares(gold, predicted, made)
        averages.append(np.mean(list(pairs.values()), axis=0))
        ungrouped += left_over
    accuracy, recall = (float(value) for value in np.mean(averages, axis=0))
    return GroupedResult(
        metric="mer2024-ov",
        judge=judge,
        accuracy=accuracy,
        recall=recall,
        avg=(accuracy + recall) / 2,
        clips=len(scored),
        runs=runs,
        spread=float(np.std(np.mean(averages, axis=1), ddof=1)) if runs > 1 else None,
        ungrouped=ungrouped,
        dropped=len(gold) - len(scored),
        missing_predictions=sum(video_id not in predicted for video_id in scored),
    )


def grouped_shares(
    gold: Labels, predicted: Labels, groups: Mapping[str, Grouping]
) -> tuple[dict[str, tuple[float, float]], int]:
    """video_id -> (accuracy, recall), for the clips with a gold label; and the words that no group has.

    Raises InputError where `groups` lacks a clip.
    """
    shares, ungrouped = {}, 0
    for video_id in gold:
        wanted, found = _words(gold[video_id]), _words(predicted.get(video_id, ()))
        if not wanted:
            continue
        if video_id not in groups:
            raise InputError(f"mer2024: no groups for clip {video_id!r}")
        first = _first_of_group(groups[video_id])
        ungrouped += sum(word not in first for word in wanted | found)
        want, have = ({first.get(word, word) for word in side} for side in (wanted, found))
        hits = len(want & have)
        shares[video_id] = (hits / len(have) if have else 0.0, hits / len(want))
    return shares, ungrouped


def _words(labels: Sequence[str]) -> set[str]:
    return {normalise(label) for label in labels} - {""}


def _first_of_group(grouping: Grouping) -> dict[str, str]:
    """Word -> the first word of its group; of several groups with the word the last counts."""
    return {normalise(word): normalise(group[0]) for group in grouping for word in group if len(group) > 0}


def read_groups(path: str | Path) -> dict[str, Grouping]:
    """video_id -> groups, from a JSON object; raises InputError that says what is wrong with the file."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except RecursionError:
        raise InputError(f"{path}: is not JSON: it is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{path}: is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected an object of video_id to a list of groups")
    for video_id, groups in content.items():
        if not _is_grouping(groups):
            raise InputError(f"{path}: {video_id}: expected a list of lists of words")
    return content


def group_by_model(gold: Labels, predicted: Labels, ask: Ask) -> tuple[dict[str, Grouping], list[str]]:
    """The groups that a text model makes, for `mer2024(groups=..., judge=its name)`.

    Returns video_id -> groups, and the clips whose answer could not be read: their words stand for
    themselves, and the caller must say how many there are.
    """
    check_ids(gold, predicted)
    template = (resources.files(__package__) / "group_words.txt").read_text(encoding="utf-8")
    words = {
        video_id: sorted(_words(labels) | _words(predicted.get(video_id, ())))
        for video_id, labels in gold.items()
    }
    asked = [video_id for video_id, of_clip in words.items() if len(of_clip) > 1]
    answers = ask([template.replace("{words}", as_text(", ".join(words[video_id]))) for video_id in asked])
    if len(answers) != len(asked):
        raise InputError(f"mer2024: {len(answers)} answers to {len(asked)} questions")
    groups: dict[str, Grouping] = {
        video_id: [[word] for word in of_clip] for video_id, of_clip in words.items()
    }
    unread = []
    for video_id, answer in zip(asked, answers, strict=True):
        read = _read_groups(answer, set(words[video_id]))
        if read is None:
            unread.append(video_id)
        else:
            groups[video_id] = read
    return groups, unread


def _read_groups(answer: str, words: set[str]) -> list[list[str]] | None:
    """The groups in an answer, of the asked words only, each word in the first group that has it."""
    start, end = answer.find("["), answer.rfind("]")
    try:
        content = json.loads(answer[start : end + 1])
    except (ValueError, RecursionError):
        return None
    if not _is_grouping(content):
        return None
    left = set(words)
    groups = []
    for group in content:
        own = [word for word in dict.fromkeys(normalise(word) for word in group) if word in left]
        left.difference_update(own)
        if own:
            groups.append(own)
    return groups + [[word] for word in sorted(left)] if groups else None


def _is_grouping(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(group, list) and all(isinstance(word, str) for word in group) for group in value
    )
