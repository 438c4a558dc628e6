"""What is known of the committed files of a table: the newest rows of all of them, in one file of OUT/index.

A run with nothing to do would open thousands of small files to find that out. The index spares it those that
are as they were when it was written, by path, size and time of change (on S3 also by their tag). A file that
is new is read. Where one that the index knows is gone, is another one by now or counts no more, the index is
left aside and every file is read. It can be removed at any time, and what removes rows removes it first.
"""

import io
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from emo.store.backend import Entry
from emo.store.storage import Storage

FOLDER = "index"
# So many files are worth one more.
LEAST_FILES = 16
_FILES = b"emo.files"
# Another form of this file gets another number.
_FORM = b"emo.index"
_THIS_FORM = b"1"


@dataclass(frozen=True)
class Known:
    """The newest row of each key in some committed files, sorted by key; files: their paths."""

    files: Collection[str]
    rows: pa.Table


def load(
    storage: Storage, where: str, schema: pa.Schema, there: Mapping[str, Entry], repeating: Sequence[str] = ()
) -> Known | None:
    """What the index of a table's folder knows; None: nothing that still holds.

    schema: of the rows that are wanted; there: the committed files that count, by their paths; repeating:
    columns that come as dictionaries, which takes a third of the time where rows have the same few texts.
    """
    try:
        source = pa.BufferReader(storage.read(_path(where)))
    except FileNotFoundError:
        return None
    try:
        file = pq.ParquetFile(source, page_checksum_verification=True, read_dictionary=list(repeating))
        said = file.schema_arrow.metadata or {}
        if said.get(_FORM) != _THIS_FORM or without_dictionaries(file.schema_arrow) != schema:
            return None
        files: dict[str, list[object]] = json.loads(said[_FILES])
        if any(path not in there or _version(there[path]) != version for path, version in files.items()):
            return None
        return Known(files.keys(), file.read().replace_schema_metadata())
    except (pa.ArrowException, OSError, ValueError, KeyError):
        # Broken, which costs the time of reading everything.
        return None


def save(storage: Storage, where: str, rows: pa.Table, entries: Iterable[Entry]) -> None:
    """Write the index of a table's folder.

    rows: the newest row of each key; entries: the files that they were read from, as listed before that.
    """
    files = json.dumps({entry.path: _version(entry) for entry in entries})
    sink = io.BytesIO()
    marked = rows.replace_schema_metadata({_FORM: _THIS_FORM, _FILES: files.encode()})
    pq.write_table(marked, sink, compression="zstd", write_page_checksum=True)
    storage.write(_path(where), sink.getvalue())


def without_dictionaries(schema: pa.Schema) -> pa.Schema:
    """The schema of the same rows with the values themselves, and without metadata."""
    return pa.schema(
        [
            field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
            for field in schema
        ]
    )


def remove(storage: Storage, table: str | None = None) -> None:
    """Remove the indexes of a table's folders, or all; for who removes rows, before they are removed."""
    for path in storage.names(FOLDER):
        of = path.removeprefix(f"{FOLDER}/").removesuffix(".parquet").partition("/")[0]
        if table is None or of == table:
            storage.delete(path)


def _path(where: str) -> str:
    return f"{FOLDER}/{where}.parquet"


def _version(entry: Entry) -> list[object]:
    return [entry.size, entry.modified.isoformat(), entry.tag]
