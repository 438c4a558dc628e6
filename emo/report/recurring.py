"""Texts that an expert writes of many clips: it looked at none of them, or was asked in a wrong way."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

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


def recurring(pieces: Iterable[pa.Table]) -> tuple[Recurring, ...]:
    """The texts that recur, the most frequent first; pieces: rows of descriptions with TEXT_COLUMNS."""
    counts: dict[str, Counter[str]] = {}
    totals: Counter[str] = Counter()
    for rows in pieces:
        good = rows.filter(pc.equal(rows.column("status"), tables.OK))
        found = good.group_by(["expert", "text"]).aggregate([([], "count_all")]).to_pylist()
        for row in found:
            counts.setdefault(row["expert"], Counter())[row["text"]] += row["count_all"]
            totals[row["expert"]] += row["count_all"]
        for held in counts.values():
            _forget(held)
    return tuple(sorted(_told(counts, totals), key=lambda found: (-found.times, found.expert, found.text)))


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
