"""Rows that are too many for the memory of a process: on this machine's disk, in their order or sorted."""

import tempfile
import weakref
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

# Rows that are sorted in memory at once, and rows that are read back at once.
_SORTED_ROWS, _READ_ROWS = 65_536, 4096


class Spool:
    """Tables of one schema in a file without a lasting name, which is gone with this object."""

    def __init__(self, schema: pa.Schema) -> None:
        self.rows = 0
        self._file = tempfile.NamedTemporaryFile(prefix="emo-rows-")  # noqa: SIM115 (closed below)
        # /tmp may be memory: the texts of captions shrink to a fraction.
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        self._sink = pa.OSFile(self._file.name, "wb")
        self._writer = pa.ipc.new_stream(self._sink, schema, options=options)
        self._closed = weakref.finalize(self, self._file.close)

    def add(self, rows: pa.Table) -> None:
        """Write these rows behind the others; not after the first reading."""
        self._writer.write_table(rows, max_chunksize=_READ_ROWS)
        self.rows += rows.num_rows

    def __iter__(self) -> Iterator[pa.Table]:
        """The rows in the order in which they came, as tables of at most 4096."""
        if not self._sink.closed:
            self._writer.close()
            self._sink.close()
        with pa.OSFile(self._file.name, "rb") as source, pa.ipc.open_stream(source) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])


def sorted_by(tables: Iterable[pa.Table], key: str) -> Iterator[pa.Table]:
    """The rows of all these tables by a column of texts without null, as tables of any size.

    In memory is one part of 65536 rows, and later 4096 rows of each part (an external merge sort, Knuth,
    The Art of Computer Programming, volume 3, section 5.4.1).
    """
    runs = [iter(run) for run in _sorted_runs(tables, key)]
    heads = [(next(run), run) for run in runs]
    while heads:
        # No row that is still on the disk comes before the first of these.
        bound = min(head.column(key)[-1].as_py() for head, _ in heads)
        ready, left = [], []
        for head, run in heads:
            count = pc.sum(pc.less_equal(head.column(key), bound)).as_py()
            if count:
                ready.append(head.slice(0, count))
            rest = head.slice(count) if count < head.num_rows else next(run, None)
            if rest is not None:
                left.append((rest, run))
        # Of one part, which has its order: rows that came almost sorted are not moved again.
        yield ready[0] if len(ready) == 1 else pa.concat_tables(ready).sort_by(key)
        heads = left


def _sorted_runs(tables: Iterable[pa.Table], key: str) -> list[Spool]:
    runs = []
    for rows in in_parts_of(_SORTED_ROWS, tables):
        run = Spool(rows.schema)
        run.add(rows if is_sorted(rows.column(key).combine_chunks()) else rows.sort_by(key))
        runs.append(run)
    return runs


def is_sorted(values: pa.Array) -> bool:
    """Whether values without null stand in their order."""
    rising = pc.less_equal(values.slice(0, max(len(values) - 1, 0)), values.slice(1))
    return bool(pc.all(rising).as_py())


def in_parts_of(size: int, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows as tables of `size` rows, the last of fewer."""
    waiting: list[pa.Table] = []
    count = 0
    for rows in tables:
        waiting.append(rows)
        count += rows.num_rows
        if count >= size:
            whole = pa.concat_tables(waiting)
            while whole.num_rows >= size:
                yield whole.slice(0, size).combine_chunks()
                whole = whole.slice(size)
            waiting, count = [whole], whole.num_rows
    if count:
        yield pa.concat_tables(waiting).combine_chunks()
