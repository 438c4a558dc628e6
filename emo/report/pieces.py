"""Reading tables piece by piece, and keeping the first rows of each group in bounded memory."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo import arrays
from emo.errors import InputError
from emo.store import tables

ROWS_AT_ONCE = 131_072
BY_HASH = ["hash", "video_id"]
HASHED = {"video_id": pa.string(), "hash": pa.uint64()}


def pieces(given: Iterable[pa.Table], table: tables.Table, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The wanted columns in the types of the schema, in pieces of a size that is worth a vectorised step."""
    schema = pa.schema([table.schema.field(name) for name in columns])
    held: list[pa.Table] = []
    n_held = 0
    for piece in given:
        missing = [name for name in columns if name not in piece.schema.names]
        if missing:
            raise InputError(f"the report needs column {missing[0]!r} of the {table.name} table")
        for start in range(0, len(piece), ROWS_AT_ONCE):
            held.append(_cast(piece.slice(start, ROWS_AT_ONCE).select(list(columns)), schema, table.name))
            n_held += len(held[-1])
            if n_held >= ROWS_AT_ONCE:
                yield pa.concat_tables(held).combine_chunks()
                held, n_held = [], 0
    if held:
        yield pa.concat_tables(held).combine_chunks()


def _cast(piece: pa.Table, schema: pa.Schema, name: str) -> pa.Table:
    try:
        return piece.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"the {name} table does not have the columns of its schema: {reason}") from error


def ok_rows(rows: pa.Table) -> pa.Table:
    return rows.filter(pc.equal(rows.column("status"), tables.OK)).combine_chunks()


def hashed(rows: pa.Table) -> pa.Table:
    """The rows with a column `hash` that is spread evenly over 64 bits and depends on video_id alone."""
    raw = rows.column("video_id").cast(pa.binary()).to_numpy()
    mixed = np.fromiter(map(crc32, raw), np.uint64, len(raw))
    # The finaliser of splitmix64 (Steele, Lea, Flood 2014): a CRC alone puts similar ids at regular places.
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return rows.append_column("hash", pa.array(mixed ^ (mixed >> np.uint64(31))))


class First:
    """Of all rows added, the first `count` of each group; rows with equal group and order are one row.

    Columns of group and order have no nulls.
    """

    def __init__(
        self, columns: dict[str, pa.DataType], group: list[str], order: list[str], count: int
    ) -> None:
        self._schema = pa.schema(columns)
        self._group, self._order, self._count = group, order, count
        self._parts = [self._schema.empty_table()]
        self._held = 0
        self._sorted = 0
        # Per group that is full the first column of the order in its last row.
        self._full: pa.Table | None = None

    def add(self, rows: pa.Table) -> None:
        rows = self._may_stay(rows.select(self._schema.names).cast(self._schema))
        self._parts.append(rows)
        self._held += len(rows)
        if self._held > 2 * self._sorted + ROWS_AT_ONCE:
            self.table()

    def table(self) -> pa.Table:
        """The rows kept so far, sorted by group and order."""
        rows = self._keep(pa.concat_tables(self._parts).combine_chunks())
        self._parts, self._held, self._sorted = [rows], len(rows), len(rows)
        if len(rows) and len(self._group) <= 1:
            ends = np.append(np.flatnonzero(_changes(rows, self._group))[1:], len(rows)) - 1
            full = ends[np.diff(ends, prepend=-1) == self._count]
            self._full = rows.select([*self._group, self._order[0]]).take(pa.array(full))
        return rows

    def _may_stay(self, rows: pa.Table) -> pa.Table:
        """Without rows that come after all those of a full group: sorting them takes far longer."""
        if self._full is None or not len(self._full):
            return rows
        last = self._full.column(self._order[0])
        if self._group:
            (group,) = self._group
            last = last.take(pc.index_in(rows.column(group), value_set=self._full.column(group)))
        else:
            last = last[0]
        early = pc.less_equal(rows.column(self._order[0]), last)
        return rows.filter(pc.fill_null(early, True))

    def ids(self) -> tuple[str, ...]:
        return tuple(self.table().column("video_id").to_pylist())

    def ids_by_group(self) -> dict[str, tuple[str, ...]]:
        """The ids of each group, where a group is one text column."""
        (group,) = self._group
        ids: dict[str, list[str]] = {}
        for row in self.table().select([group, "video_id"]).to_pylist():
            ids.setdefault(row[group], []).append(row["video_id"])
        return {name: tuple(found) for name, found in ids.items()}

    def _keep(self, rows: pa.Table) -> pa.Table:
        if not len(rows):
            return rows
        rows = rows.sort_by([(name, "ascending") for name in (*self._group, *self._order)]).combine_chunks()
        starts_group = _changes(rows, self._group)
        distinct = starts_group | _changes(rows, self._order)
        rows, starts = rows.filter(pa.array(distinct)), np.flatnonzero(starts_group[distinct])
        place = np.arange(len(rows)) - np.repeat(starts, np.diff([*starts, len(rows)]))
        return rows.filter(pa.array(place < self._count)).combine_chunks()


def _changes(rows: pa.Table, columns: Sequence[str]) -> np.ndarray:
    """Where a row differs from the one before it in one of the columns; the first row does."""
    changes = np.zeros(len(rows), bool)
    changes[0] = True
    for name in columns:
        column = rows.column(name)
        changes[1:] |= pc.not_equal(column.slice(1), column.slice(0, len(rows) - 1)).to_numpy()
    return changes


def label_rows(lists: pa.ListArray) -> tuple[np.ndarray, pa.Array]:
    """Each label with the row that it stands in: rows (int64) and labels (string), null labels left out."""
    rows, labels = pc.list_parent_indices(lists), pc.list_flatten(lists)
    there = labels.is_valid()
    return rows.filter(there).to_numpy(zero_copy_only=False).astype(np.int64), labels.filter(there)


def distinct(row: np.ndarray, code: np.ndarray, n_codes: int) -> tuple[np.ndarray, np.ndarray]:
    """Each pair of row and code once, sorted."""
    keys = arrays.distinct(row * max(n_codes, 1) + code)
    return keys // max(n_codes, 1), keys % max(n_codes, 1)


def ranked(counts: Counter[Any]) -> list[tuple[Any, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
