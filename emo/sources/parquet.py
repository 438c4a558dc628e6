"""Parquet files that come from outside, within bounds of memory: one of a kilobyte can claim gigabytes."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emo.errors import InputError
from emo.sources.record import MOST_BYTES, Record, Records, refuse_repeats, too_large
from emo.store.storage import Storage

PARQUET = ".parquet"
_BATCH_ROWS = 4096


@contextmanager
def _one_line(place: str) -> Iterator[None]:
    """Whatever a Parquet file does to its reader is one line: such files can be made to do anything."""
    try:
        yield
    except (FileNotFoundError, InputError):
        raise
    except (pa.ArrowException, MemoryError, OverflowError, ValueError, OSError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{place}: cannot be read as Parquet: it is not a Parquet file: {reason}") from error


def open_table(handle: BinaryIO, place: str, wanted: Collection[str]) -> tuple[tuple[str, ...], pa.Table]:
    """All columns of a Parquet file, and those rows and columns of it that are wanted.

    Raises InputError where it is no Parquet file, has a column twice, or holds more than MOST_BYTES.
    """
    with _one_line(place), pq.ParquetFile(handle) as plain:
        schema, metadata = plain.schema_arrow, plain.metadata
        refuse_repeats(schema.names, place)
        names = [name for name in schema.names if name in wanted]
        leaves = [metadata.schema.column(i) for i in range(metadata.num_columns)]
        chosen = [i for i, leaf in enumerate(leaves) if leaf.path.split(".")[0] in names]
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        stored = sum(group.column(i).total_uncompressed_size for group in groups for i in chosen)
        if stored > MOST_BYTES or metadata.num_rows > MOST_BYTES / 8:
            raise too_large(place)
        # A text that is stored once and repeated a million times stays stored once until its size is known.
        texts = [leaves[i].path for i in chosen if leaves[i].physical_type == "BYTE_ARRAY"]
        handle.seek(0)
        with pq.ParquetFile(handle, read_dictionary=texts) as file:
            parts, held = [], 0
            # One group of rows after the other: each has a dictionary of its own, and Arrow cannot put the
            # lists of two into one batch.
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=names):
                    held += sum(_unpacked_size(column) for column in batch.columns)
                    if held > MOST_BYTES:
                        raise too_large(place)
                    parts.append(_plain(batch, schema, names))
    empty = pa.schema([schema.field(name) for name in names]).empty_table()
    return tuple(schema.names), pa.concat_tables([empty.replace_schema_metadata(None), *parts])


def _unpacked_size(column: pa.Array) -> int:
    """The bytes of a column once its texts are written out."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        lengths = pc.binary_length(column.dictionary).take(column.indices)
        return int(pc.sum(pc.cast(lengths, pa.int64())).as_py() or 0)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return column.offsets.nbytes + _unpacked_size(column.flatten())
    if pa.types.is_struct(kind):
        return sum(_unpacked_size(part) for part in column.flatten())
    return int(column.nbytes)


def _plain(batch: pa.RecordBatch, schema: pa.Schema, names: Sequence[str]) -> pa.Table:
    columns = []
    for name in names:
        column, kind = batch.column(batch.schema.get_field_index(name)), schema.field(name).type
        columns.append(column if column.type == kind else column.cast(kind))
    table = pa.Table.from_arrays(columns, schema=pa.schema([schema.field(name) for name in names]))
    # Arrow takes any bytes for a text.
    table.validate(full=True)
    return table


def read_parquet(storage: Storage, name: str, wanted: Collection[str]) -> tuple[tuple[str, ...], pa.Table]:
    """As open_table, of a file of a storage; a folder `column=value` above it gives what the file lacks.

    Raises FileNotFoundError where it is not there, and StorageError where the place does not answer.
    """
    place = storage.full(name)
    with storage.errors(name), storage.open(name) as handle:
        columns, table = open_table(handle, place, wanted)
    for part in name.split("/")[:-1]:
        column, given, value = part.partition("=")
        if given and column not in columns:
            columns = (*columns, column)
            if column in wanted:
                text = None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value)
                table = table.append_column(column, pa.repeat(pa.scalar(text, pa.string()), table.num_rows))
    return columns, table


def parquet_files(storage: Storage) -> list[str]:
    """The Parquet files of a folder; those with `_` or `.` in front are notes of what wrote it."""
    return [
        entry.path
        for entry in storage.entries()
        if entry.path.lower().endswith(PARQUET)
        and not any(part.startswith(("_", ".")) for part in entry.path.split("/"))
    ]


def parquet_records(storage: Storage, name: str, wanted: Collection[str], unit: str = "row") -> Records:
    """The rows of one Parquet file with the wanted columns."""
    columns, table = read_parquet(storage, name, wanted)
    place = storage.full(name)
    with _one_line(place):
        values = table.to_pylist()
    rows = [Record(f"{place} {unit} {number}", row) for number, row in enumerate(values, start=1)]
    return Records(place, columns, rows)
