"""Which expert describes better: pairs of descriptions, judged in both orders, and a Bradley-Terry ranking.

A judge that is shown the same pair twice, once in each order, and prefers what stands first has told nothing:
where the two answers differ, the pair is a tie. Bradley-Terry: R. A. Bradley and M. E. Terry, Rank analysis
of incomplete block designs, 1952; the iteration is that of Hunter, MM algorithms for generalized
Bradley-Terry models, 2004. EmoPrefer (arXiv 2507.04278) ranks describing models so, with people's
preferences.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import combinations

import numpy as np

from emo.errors import EmoError, InputError
from emo.evaluation.bootstrap import PerClip
from emo.experts.prompts.plain import as_text

FIRST, SECOND, SAME = "first", "second", "same"
_ANSWER = re.compile(r"\b(first|second|same)\b")
_CHANGE, _MOST_ROUNDS = 1e-8, 10_000


@dataclass(frozen=True)
class Pairs:
    """Judged pairs. names: experts; video_ids: n; wins: float64 (e, e, n), how much of the clip the row won
    against the column: 1, 0.5 for a tie, 0; seen: float64 (e, e, n), 1 where both descriptions were judged;
    swayed: pairs whose two orders got different answers; unread: pairs of which an answer could not be read,
    which are not counted."""

    names: tuple[str, ...]
    video_ids: tuple[str, ...]
    wins: np.ndarray
    seen: np.ndarray
    swayed: int
    unread: int


def question(first: str, second: str) -> str:
    """What the judge is asked about two descriptions, in this order."""
    template = (resources.files(__package__) / "better_description.txt").read_text(encoding="utf-8")
    return template.replace("{first}", as_text(first)).replace("{second}", as_text(second))


def read_choice(answer: str) -> str | None:
    """first, second or same, where the answer names one of them alone; None for any other answer."""
    found = set(_ANSWER.findall(answer.lower()))
    return found.pop() if len(found) == 1 else None


def judged_pairs(
    descriptions: Mapping[str, Mapping[str, str]], ask: Callable[[list[str]], list[str]]
) -> Pairs:
    """Let `ask` compare every two experts on every clip that both describe; descriptions: expert -> clip ->
    text. Raises InputError where there are less than two experts, or no clip of two."""
    names = tuple(descriptions)
    if len(names) < 2:
        raise InputError(
            f"ranking: needs two describing experts or more; there is {', '.join(names) or 'none'}"
        )
    video_ids = tuple(dict.fromkeys(video_id for texts in descriptions.values() for video_id in texts))
    rows = [
        (one, other, place)
        for one, other in combinations(range(len(names)), 2)
        for place, video_id in enumerate(video_ids)
        if descriptions[names[one]].get(video_id) and descriptions[names[other]].get(video_id)
    ]
    if not rows:
        raise InputError("ranking: no clip has descriptions of two experts")
    questions = []
    for one, other, place in rows:
        texts = [descriptions[names[expert]][video_ids[place]] for expert in (one, other)]
        questions += [question(*texts), question(*reversed(texts))]
    answers = ask(questions)
    wins = np.zeros((len(names), len(names), len(video_ids)))
    seen = np.zeros_like(wins)
    swayed = unread = 0
    for (one, other, place), (forth, back) in zip(
        rows, zip(answers[::2], answers[1::2], strict=True), strict=True
    ):
        share = verdict(read_choice(forth), read_choice(back))
        if share is None:
            unread += 1
            continue
        swayed += {read_choice(forth), read_choice(back)} in ({FIRST}, {SECOND})
        wins[one, other, place], wins[other, one, place] = share, 1 - share
        seen[one, other, place] = seen[other, one, place] = 1
    return Pairs(names, video_ids, wins, seen, swayed, unread)


def verdict(forth: str | None, back: str | None) -> float | None:
    """What the one that stood first in `forth` won: 1, 0, or 0.5 where the orders do not agree."""
    if forth is None or back is None:
        return None
    if (forth, back) == (FIRST, SECOND):
        return 1.0
    return 0.0 if (forth, back) == (SECOND, FIRST) else 0.5


def bradley_terry(wins: np.ndarray) -> np.ndarray:
    """Strengths that sum to one: float64 (..., e), from wins (..., e, e) of the row against the column.

    p_i <- W_i / sum_j n_ij / (p_i + p_j), until no strength changes by 1e-8. One who won nothing has 0.
    """
    experts = wins.shape[-1]
    games = wins + np.swapaxes(wins, -1, -2)
    won = wins.sum(axis=-1)
    strength = np.full(won.shape, 1 / experts)
    for _ in range(_MOST_ROUNDS):
        total = strength[..., :, None] + strength[..., None, :]
        share = np.divide(games, total, out=np.zeros_like(games), where=total > 0).sum(axis=-1)
        new = np.divide(won, share, out=np.zeros_like(won), where=share > 0)
        new = new / new.sum(axis=-1, keepdims=True)
        change = np.abs(new - strength).max()
        strength = new
        if change < _CHANGE:
            break
    return strength


def check_connected(pairs: Pairs) -> None:
    """Raise EmoError where some experts were compared with none of the others: they have no common scale."""
    games = pairs.seen.sum(axis=-1) > 0
    reached, ahead = {0}, [0]
    while ahead:
        for other in np.flatnonzero(games[ahead.pop()]).tolist():
            if other not in reached:
                reached.add(other)
                ahead.append(other)
    apart = [name for place, name in enumerate(pairs.names) if place not in reached]
    if apart:
        raise EmoError(
            f"ranking: no pair compares {', '.join(apart)} with {pairs.names[0]}, so there is no ranking"
        )


def strengths_per_clip(pairs: Pairs) -> dict[str, list[PerClip]]:
    """The strength of each expert as a score over clips, for intervals."""
    experts = len(pairs.names)
    values = pairs.wins.reshape(experts * experts, -1)
    # Every expert is scored on the same draws, whose strengths are those of all experts.
    known: dict[bytes, np.ndarray] = {}

    def part(place: int) -> PerClip:
        def score(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
            wins = (weights @ values.T).reshape(*weights.shape[:-1], experts, experts)
            drawn = hashlib.blake2b(wins.tobytes()).digest()
            if drawn not in known:
                known[drawn] = bradley_terry(wins)
            return known[drawn][..., place]

        return PerClip(pairs.video_ids, values, score)

    return {name: [part(place)] for place, name in enumerate(pairs.names)}


def table_of_wins(pairs: Pairs) -> Sequence[Sequence[float | None]]:
    """The share of clips that the row won against the column, ties as half; None where none was judged."""
    won, games = pairs.wins.sum(axis=-1), pairs.seen.sum(axis=-1)
    return [
        [
            float(won[row, column] / games[row, column]) if games[row, column] else None
            for column in range(len(won))
        ]
        for row in range(len(won))
    ]
