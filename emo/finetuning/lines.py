"""Lines of chats as samples: lines that differ in their answer alone are looked at once.

Captions of one clip have the same question and the same media. One line of them, with an answer that is
known, goes the way of any line. For the others its sample is taken, with their own answer in it.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo.captions.messages import Turn
from emo.finetuning.chats import BETWEEN, KNOWN, answers, by_beginning
from emo.finetuning.listed import SCHEMA, Listed, tables_of

# Lines that are in memory at one time beside the file itself.
_LINES = 8192
# Fewer lines with one beginning are listed one by one.
_WORTH = 8
# An answer as JSON writes it, and what stands behind it.
_ANSWER = r'(?s)^(?P<told>(?:[^"\\\x00-\x1f]|\\.)*)(?P<behind>"\}\].*)$'
# The end of the column `turns` of a chat with the known answer.
_KNOWN_END = f'{KNOWN}", null]]'


def tables_of_lines(
    lines: Iterable[tuple[int, bytes]],
    place: str,
    name: str,
    listed: Callable[[int, int, bytes], Listed],
    alike: Callable[[bytes], Listed | None],
) -> Iterator[pa.Table]:
    """The samples of a file of lines as rows of a listing, in their order.

    lines: each with its number; place: how a person finds the file; name: what the ids of its samples begin
    with; listed: gives the sample of any line, by its place among the samples, from 1, and the line's number;
    alike: that of a line that stands for many, None where they cannot be listed together.
    """
    left = iter(lines)
    before = 0
    while some := list(islice(left, _LINES)):
        yield _table(some, place, name, before, listed, alike)
        before += len(some)


def _table(
    some: list[tuple[int, bytes]],
    place: str,
    name: str,
    before: int,
    listed: Callable[[int, int, bytes], Listed],
    alike: Callable[[bytes], Listed | None],
) -> pa.Table:
    tables, places = [], []
    alone = np.ones(len(some), bool)
    try:
        texts = pa.array([line for _, line in some], pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        # Some line is not UTF-8, which is said of it.
        texts = pa.nulls(len(some), pa.string())
    possible = pc.is_valid(texts).to_numpy(zero_copy_only=False).copy()
    for beginning, of_beginning in by_beginning(texts, possible, _beginning):
        if len(of_beginning) < _WORTH:
            continue
        kept, rows = _with_answers(texts.take(pa.array(of_beginning)), beginning, alike)
        if len(kept):
            tables.append(rows)
            places.append(of_beginning[kept])
            alone[of_beginning[kept]] = False
    numbers = np.concatenate([np.zeros(0, np.int64), *places]).astype(np.int64)
    if len(numbers):
        of_line = pa.array(np.array([number for number, _ in some], np.int64)[numbers])
        ids = pc.utf8_lpad(pa.array(numbers + before + 1).cast(pa.string()), 6, "0")
        own = {
            "sample_id": pc.binary_join_element_wise(name, ids, "-"),
            "where": pc.binary_join_element_wise(place, of_line.cast(pa.string()), " line "),
        }
        rows = pa.concat_tables(tables)
        tables = [pa.table({one: own.get(one, rows.column(one)) for one in SCHEMA.names}, schema=SCHEMA)]
    others = np.flatnonzero(alone)
    tables += tables_of(listed(before + at + 1, *some[at]) for at in others.tolist())
    order = np.argsort(np.concatenate([numbers, others]), kind="stable")
    return pa.concat_tables(tables).take(pa.array(order))


def _beginning(text: str) -> str | None:
    """A line up to its answer."""
    asked, between, _ = text.partition(BETWEEN)
    return asked + between if between else None


def _with_answers(
    texts: pa.Array, beginning: str, alike: Callable[[bytes], Listed | None]
) -> tuple[np.ndarray, pa.Table]:
    """Which of these lines, that begin alike, can be listed together, and their rows but for their ids."""
    longest = pc.max(pc.binary_length(texts)).as_py()
    rest = pc.binary_slice(texts.cast(pa.binary()), len(beginning.encode()), longest).cast(pa.string())
    parts = pc.extract_regex(rest, _ANSWER)
    told = answers(pc.struct_field(parts, "told"))
    behind = pc.struct_field(parts, "behind").dictionary_encode()
    lines = (f"{beginning}{KNOWN}{one}".encode() for one in behind.dictionary.to_pylist())
    known = [alike(line) for line in lines]
    good = [one if one is not None and _stands_for_many(one) else None for one in known]
    fits = np.array([one is not None for one in good], bool)
    at = behind.indices.fill_null(-1).to_numpy()
    # A line of another form has the last place.
    here = np.append(fits, False)[at] & pc.is_valid(told).to_numpy(zero_copy_only=False)
    kept = np.flatnonzero(here)
    of_good = tables_of(one for one in good if one is not None)
    rows = pa.concat_tables([SCHEMA.empty_table(), *of_good]).take(pa.array((np.cumsum(fits) - 1)[at[kept]]))
    begun = pc.binary_slice(rows.column("turns").cast(pa.binary()), 0, -len(_KNOWN_END)).cast(pa.string())
    turns = pc.binary_join_element_wise(begun, told.take(pa.array(kept)), '", null]]', "")
    return kept, rows.set_column(rows.schema.get_field_index("turns"), "turns", turns)


def _stands_for_many(one: Listed) -> bool:
    """Whether a line with the known answer was taken as it is.

    One that was refused says why of its own line, and one without media is a group of its own.
    """
    entry = one.entry
    media = one.images or one.videos or one.audios
    return entry.error is None and bool(media) and entry.turns[-1] == Turn("assistant", KNOWN)
