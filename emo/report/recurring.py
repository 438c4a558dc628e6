"""Texts that an expert writes of many clips: it looked at none of them, or was asked in a wrong way."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo.store import tables

TEXT_COLUMNS = ("expert", "text", "status")
# A text is told of where more clips than this have it, and more than this share of those of its expert.
MORE_THAN_CLIPS = 20
MORE_THAN_SHARE = 0.005
# So many texts of an expert are held at once: any text with a larger share than 1 / this is among them
# (Misra and Gries, Finding repeated elements, 1982).
_HELD = 2_000
_SHOWN = 200


@dataclass(frozen=True)
class Recurring:
    """text: shortened; times: how often the expert wrote it, at least, of so many texts in all."""

    expert: str
    text: str
    times: int
    texts: int


class Texts:
    """The texts of each expert that may recur, with how often they came."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}
        self._totals: Counter[str] = Counter()

    def add(self, rows: pa.Table) -> None:
        """Take rows of descriptions, with TEXT_COLUMNS."""
        there = pc.and_(pc.equal(rows.column("status"), tables.OK), pc.is_valid(rows.column("text")))
        good = rows.filter(there)
        for expert in pc.unique(good.column("expert")).to_pylist():
            texts = good.filter(pc.equal(good.column("expert"), expert)).column("text")
            counted = pc.value_counts(texts)
            times = counted.field("counts").to_numpy()
            if len(times) > _HELD:
                # As `_forget` does. Most texts come once, and leave here before they are Python's.
                times = times - np.partition(times, -_HELD - 1)[-_HELD - 1]
            stays = np.flatnonzero(times > 0)
            held = self._counts.setdefault(expert, Counter())
            for text, more in zip(
                counted.field("values").take(pa.array(stays)).to_pylist(), times[stays].tolist(), strict=True
            ):
                held[text] += more
            self._totals[expert] += len(texts)
            _forget(held)

    def recurring(self) -> tuple[Recurring, ...]:
        """The texts that recur, the most frequent first."""
        found = _told(self._counts, self._totals)
        return tuple(sorted(found, key=lambda one: (-one.times, one.expert, one.text)))


def _forget(held: Counter[str]) -> None:
    """Take the same from all counts until few enough are left: those of frequent texts stay."""
    if len(held) > _HELD:
        least = sorted(held.values(), reverse=True)[_HELD]
        for text in list(held):
            held[text] -= least
            if held[text] <= 0:
                del held[text]


def _told(counts: Mapping[str, Counter[str]], totals: Mapping[str, int]) -> Iterable[Recurring]:
    for expert, held in counts.items():
        for text, times in held.items():
            if times > MORE_THAN_CLIPS and times > MORE_THAN_SHARE * totals[expert]:
                shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
                yield Recurring(expert, shown, times, totals[expert])
