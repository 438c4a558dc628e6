"""Rounds: which expert answers how often before the votes are looked at, and what closes a clip."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from emo.errors import InputError

AgreeOn = Literal["words", "families"]


@dataclass(frozen=True)
class Rounds:
    """Ask all clips in the first round, and in each further one those that are still open.

    by_then: per round, expert -> how many answers it has given to a clip when the round is over; an expert
    that is first asked later is not named before. enough: a clip whose agreement is at least this, 0 to 1,
    is closed; agree_on: what the agreement is of (`emo.cojudgment.fusion.agreement_of`). Rounds are counted
    from 1.
    """

    by_then: tuple[Mapping[str, int], ...]
    enough: float
    agree_on: AgreeOn = "families"

    @classmethod
    def of(
        cls,
        asked: Sequence[Mapping[str, int]],
        samples: Mapping[str, int],
        enough: float,
        agree_on: AgreeOn = "families",
    ) -> "Rounds":
        """The rounds as a configuration has them.

        asked: per round the experts that it asks, with how many answers they have given by then; samples:
        expert -> its answers in all. An expert that no round names gives all of them in the first one.
        Raises InputError where the rounds are none.
        """
        if len(asked) < 2:
            raise InputError("rounds: expected at least two; with one there is nothing that could be closed")
        named = {name for one in asked for name in one}
        if unknown := sorted(named - samples.keys()):
            raise InputError(
                f"rounds: no expert is named {unknown[0]!r}; the experts are {', '.join(samples)}"
            )
        so_far = {name: count for name, count in samples.items() if name not in named}
        by_then = []
        for number, one in enumerate(asked, start=1):
            for name, count in one.items():
                if count < so_far.get(name, 1):
                    raise InputError(
                        f"rounds: round {number} has {count} answers of {name}, and there are "
                        f"{so_far.get(name, 0)} before it; each round says how many there are by then"
                    )
            if all(count == so_far.get(name) for name, count in one.items()):
                raise InputError(f"rounds: round {number} asks for no further answer")
            so_far = {**so_far, **one}
            by_then.append(so_far)
        if sum(by_then[0].values()) < 2:
            raise InputError(
                "rounds: the first round has one answer, which agrees with none; expected at least two"
            )
        return cls(tuple(by_then), enough, agree_on)

    def __len__(self) -> int:
        return len(self.by_then)

    def numbers(self, expert: str, number: int) -> range:
        """The numbers of the answers that an expert gives in a round, which may be none."""
        before = self.by_then[number - 2].get(expert, 0) if number > 1 else 0
        return range(before, self.by_then[number - 1].get(expert, 0))

    def first(self, expert: str) -> int:
        """The round in which an expert is asked first."""
        return next(number for number, by_then in enumerate(self.by_then, 1) if expert in by_then)

    def answers(self, number: int) -> int:
        """How many answers a clip has after a round."""
        return sum(self.by_then[number - 1].values())

    @property
    def sha(self) -> str:
        """Eight digits that change with the rounds and with what closes a clip."""
        told: list[object] = [self.by_then, self.enough]
        if self.agree_on != "words":  # what stood in tables before there was a choice stays as it is
            told.append(self.agree_on)
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]
