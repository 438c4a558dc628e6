"""The one reader of tables that come from outside: CSV, JSON, JSON Lines, Parquet and Excel, read strictly.

Everything that others wrote comes through here: manifests, gold and predictions, captions, votes, wheels.
What could be read in two ways is refused with the file and the row, because a wrong guess would change labels
without a word. What a spreadsheet leaves behind and that means nothing (a comma at the end of every row, rows
of commas) is read over. Memory is bounded: a file of a few kilobytes can claim to hold gigabytes.
"""

import csv
import gzip
import io
import json
import math
import re
import reprlib
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emo.errors import InputError
from emo.paths import is_s3, split
from emo.store.s3 import S3Settings
from emo.store.storage import Storage

# What may stand before `.gz` too.
TEXT_SUFFIXES = (".csv", ".jsonl", ".json")
PARQUET = ".parquet"
SUFFIXES = (*TEXT_SUFFIXES, PARQUET)
EXCEL = ".xlsx"
_GZIP = ".gz"

# How pandas, Spark, databases and spreadsheets write a cell without a value as text.
MISSING = frozenset({"nan", "NaN", "NAN", "NULL", "null", "None", "<NA>", "NaT", "#N/A"})

# Of one file once it is unpacked, on disk or in memory: about ten million rows of a manifest.
MOST_BYTES = 2 * 1024**3
_BATCH_ROWS = 4096
_MOST_COLUMNS = 256
_MOST_CELL = 2**31 - 1
# Columns by which the field names clips; the first that a table has says what a row of it looks like.
_NAMES = ("uri", "clip_id", "video_id", "name", "names")


@dataclass(frozen=True)
class Fault:
    """What is wrong with one row; cells: how many it has, where that is what is wrong."""

    text: str
    cells: int | None = None


@dataclass(frozen=True)
class Record:
    """One row of a table: where it stands, for a person, and its values by column, or its fault."""

    where: str
    values: dict[str, Any] = field(default_factory=dict)
    fault: Fault | None = None


@dataclass(frozen=True)
class Records:
    """One file of a table: all its columns, those too that are not wanted, and its rows in their order."""

    place: str
    columns: tuple[str, ...]
    rows: list[Record]

    def sound(self) -> list[Record]:
        """The rows; raises InputError for the first that has a fault."""
        for record in self.rows:
            if record.fault is not None:
                raise InputError(f"{record.where} {record.fault.text}")
        return self.rows


def suffix_of(name: str) -> str:
    """The kind of a file by its name, in lower case: `.csv`, also of `a.CSV` and `a.csv.gz`."""
    path = Path(name.rstrip("/").lower())
    return Path(path.stem).suffix if path.suffix == _GZIP else path.suffix


def is_table(name: str, suffixes: Collection[str] = SUFFIXES) -> bool:
    """Whether a file is a table of one of these kinds by its name."""
    packed = name.lower().endswith(_GZIP)
    return suffix_of(name) in (suffixes if not packed else [one for one in suffixes if one in TEXT_SUFFIXES])


def tables_at(place: str, s3: S3Settings | None = None) -> tuple[Storage, list[str]]:
    """Where a table stands, and its files: one, or the Parquet files of a folder (also `x.parquet/`)."""
    folder, name = split(place.rstrip("/"))
    one = (Storage(folder, s3, exact=True), [name])
    if suffix_of(name) in TEXT_SUFFIXES or (not is_s3(place) and Path(place).is_file()):
        return one
    storage = Storage(place, s3)
    names = parquet_files(storage)
    return one if not names and suffix_of(name) == PARQUET else (storage, names)


def is_missing(value: Any) -> bool:
    """Whether a cell holds no value: nothing, an empty text, a number that is none, or `nan` and its like."""
    if isinstance(value, str):
        return not value.strip() or value.strip() in MISSING
    return value is None or (isinstance(value, float) and math.isnan(value))


def check_text(text: str, where: str, column: str) -> None:
    """Raises InputError for a text that no table can hold: half a character of UTF-16, or one of no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{where}: {column} is {short(text)}, which is not text in Unicode") from None
    if "\0" in text:
        raise InputError(f"{where}: {column} is {short(text)}, with a character that no text has")


def short(value: Any) -> str:
    """A value for a message: never long, however large it is."""
    return reprlib.repr(value)


def load(storage: Storage, name: str, wanted: Collection[str], unit: str = "row") -> Records:
    """The rows of one file of a storage, of any kind; of Parquet with the wanted columns only.

    Raises InputError where it is not there or cannot be read as what it is called.
    """
    place = storage.full(name)
    try:
        if suffix_of(name) == PARQUET:
            return parquet_records(storage, name, wanted, unit)
        return read_records(storage.read(name), place, unit)
    except FileNotFoundError:
        raise InputError(f"{place} does not exist") from None


def read_records(data: bytes, place: str, unit: str = "row") -> Records:
    """The rows of a CSV, JSON or JSON Lines file, which `place` names; unit: what a message calls a row.

    CSV: rows are counted by the line on which they begin, the header is 1. JSON: a list of objects, or an
    object of them by name, which then stands under `name` and `names`. Raises InputError where the file
    cannot be read as what it is called, or where it cannot be told which text stands in which row.
    """
    readers = {".csv": _csv, ".jsonl": _json_lines, ".json": _json}
    return readers[suffix_of(place)](_text(_unpacked(data, place), place), place, unit)


def _unpacked(data: bytes, place: str) -> bytes:
    if not place.lower().endswith(_GZIP):
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            text = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{place}: cannot be read as gzip: {error}") from None
    if len(text) > MOST_BYTES:
        raise _too_large(place)
    return text


def _too_large(place: str) -> InputError:
    return InputError(
        f"{place}: holds more than {MOST_BYTES / 1024**3:g} GiB of values; split it into several files"
    )


_MARKS = {
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}


def _text(data: bytes, place: str) -> str:
    # A byte order mark says which encoding it is; without one it is UTF-8, and nothing is guessed.
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8-sig")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{place}: cannot be read as UTF-8: it is not in UTF-8 at byte {error.start} ({error.reason}); "
            "save it as UTF-8"
        ) from None


def _csv(text: str, place: str, unit: str) -> Records:
    csv.field_size_limit(_MOST_CELL)
    lines = list(io.StringIO(text, newline=""))
    reader = csv.reader(lines, strict=True)
    cut: list[tuple[int, int, list[str]]] = []
    start = 1
    try:
        for cells in reader:
            cut.append((start, reader.line_num, cells))
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{place}: cannot be read as CSV: it is not a CSV file at {unit} {start}: {error}; a quotation "
            "mark that opens a cell must end it, and one inside a cell is written twice"
        ) from None
    if not cut:
        return Records(place, (), [])
    columns = _header(cut[0][2], place)
    _refuse_swallowed_rows(lines, cut, columns, place, unit)
    rows = []
    for number, _, cells in cut[1:]:
        if any(cell.strip() for cell in cells):
            rows.append(_record(cells, columns, f"{place} {unit} {number}"))
    return Records(place, tuple(columns), rows)


def _header(cells: Sequence[str], place: str) -> list[str]:
    columns = list(cells)
    while columns and not columns[-1].strip():
        columns.pop()  # of a comma at the end of every row
    _refuse_repeats([name.strip() for name in columns if name.strip()], place)
    return columns


def _refuse_repeats(names: Sequence[str], place: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{place} has the column {name!r} twice; which of them counts cannot be told")


def _record(cells: Sequence[str], columns: Sequence[str], where: str) -> Record:
    count = len(cells)
    while count > len(columns) and not cells[count - 1].strip():
        count -= 1
    if count > len(columns):
        # Which text stands in which column is not known: of an unquoted label set only the first word would.
        text = (
            f"has {count} fields, its header has {len(columns)}; a text with a comma in it must stand in "
            "double quotes"
        )
        return Record(where, fault=Fault(text, count))
    if count < len(columns):
        text = f"has too few columns: it has {count} fields, its header has {len(columns)}"
        return Record(where, fault=Fault(text, count))
    return Record(where, dict(zip(columns, cells, strict=False)))


def _refuse_swallowed_rows(
    lines: Sequence[str],
    cut: Sequence[tuple[int, int, list[str]]],
    columns: Sequence[str],
    place: str,
    unit: str,
) -> None:
    """Raise InputError where a quoted text over several lines holds what looks like rows of the table.

    One quotation mark too many takes all rows up to the next one for a text. Such a file is valid CSV. What
    tells is that a line of the text has as many cells as the table, and a name like those in the other rows.

    cut: the rows of the file, each with its first and last line.
    """
    long = [(start, end, cells) for start, end, cells in cut[1:] if end > start]
    if not long:
        return
    single = [(start, cells) for start, end, cells in cut[1:] if end == start and cells]
    at = next((columns.index(name) for name in _NAMES if name in columns), 0)
    shapes = {_shape(cells[at]) for _, cells in single if len(cells) > at}
    quoted = bool(single) and all(lines[start - 1].lstrip().startswith('"') for start, _ in single)
    for start, end, own in long:
        known = shapes | ({_shape(own[at])} if len(own) > at and "\n" not in own[at] else set())
        for number in range(start + 1, end + 1):
            line = lines[number - 1]
            cells = next(csv.reader([line.rstrip("\r\n")]), [])
            looks_like_one = len(cells) == len(columns) and _shape(cells[at].strip('"')) in known
            if looks_like_one and (line.lstrip().startswith('"') or not quoted):
                raise InputError(
                    f"{place} {unit} {start} opens a quotation mark, and {unit} {number} within it looks "
                    "like a row of its own; close the quotation mark, or give the table as Parquet"
                )


def _shape(text: str) -> str:
    """What a name looks like: runs of letters and of digits each as one, all else as it is."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", text.strip()))


class _Repeats(dict[str, Any]):
    """A JSON object that has a key twice."""

    key = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    names = [name for name, _ in pairs]
    repeats = _Repeats(found)
    repeats.key = next(name for name in names if names.count(name) > 1)
    return repeats


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _json_record(value: Any, where: str) -> Record:
    if isinstance(value, _Repeats):
        text = f"has the key {short(value.key)} twice; which of them counts cannot be told"
        return Record(where, fault=Fault(text))
    if not isinstance(value, dict):
        return Record(where, fault=Fault("is not a JSON object"))
    return Record(where, value)


def _json_lines(text: str, place: str, unit: str) -> Records:
    rows = []
    # Not splitlines: it also splits at characters that may stand inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{place} {unit} {number}"
        try:
            rows.append(_json_record(_DECODER.decode(line.strip()), where))
        except (ValueError, RecursionError) as error:
            rows.append(Record(where, fault=Fault(f"is not JSON: {_why(error)}")))
    return Records(place, _keys(rows), rows)


def _why(error: ValueError | RecursionError) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _keys(rows: Iterable[Record]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for record in rows for name in record.values))


def _json(text: str, place: str, unit: str) -> Records:
    rows = []
    try:
        for line, value, name in _entries(text):
            where = f"{place} {unit} {line}"
            if not isinstance(value, dict):
                shown = short(value) if isinstance(value, list) else json.dumps(value)[:60]
                rows.append(Record(where, fault=Fault(f"{shown}, expected an object")))
                continue
            record = _json_record(value, where)
            named = {} if name is None else {"name": name, "names": name}
            rows.append(record if record.fault else Record(where, {**named, **value}))
    except json.JSONDecodeError as error:
        raise InputError(f"{place} is not JSON: line {error.lineno}: {error.msg}") from None
    return Records(place, _keys(rows), rows)


def _entries(text: str) -> Iterator[tuple[int, Any, str | None]]:
    """The entries of a list, or of an object by name, with their lines; raises JSONDecodeError."""

    def skip(at: int, over: str = "") -> int:
        while text[at : at + 1].isspace():
            at += 1
        if over and text[at : at + 1] not in over.split():
            raise json.JSONDecodeError(f"expected {over.replace(' ', ' or ')}", text, at)
        return at

    def decode(at: int) -> tuple[Any, int]:
        try:
            return _DECODER.raw_decode(text, at)
        except json.JSONDecodeError:
            raise
        except RecursionError:
            raise json.JSONDecodeError("what begins here is nested too deeply", text, at) from None
        except ValueError as error:  # a number of thousands of digits
            raise json.JSONDecodeError(str(error), text, at) from None

    at = skip(0, "[ {")
    close = "]" if text[at] == "[" else "}"
    at = skip(at + 1)
    line, counted = 1, 0
    while text[at : at + 1] != close:
        name = None
        line, counted = line + text.count("\n", counted, at), at
        if close == "}":
            name, at = decode(at)
            at = skip(skip(at, ":") + 1)
        value, at = decode(at)
        yield line, value, name
        at = skip(at, f", {close}")
        if text[at] == ",":
            at = skip(at + 1)
    if skip(at + 1) != len(text):
        raise json.JSONDecodeError("something follows the end", text, at + 1)


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
        _refuse_repeats(schema.names, place)
        names = [name for name in schema.names if name in wanted]
        leaves = [metadata.schema.column(i) for i in range(metadata.num_columns)]
        chosen = [i for i, leaf in enumerate(leaves) if leaf.path.split(".")[0] in names]
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        stored = sum(group.column(i).total_uncompressed_size for group in groups for i in chosen)
        if stored > MOST_BYTES or metadata.num_rows > MOST_BYTES / 8:
            raise _too_large(place)
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
                        raise _too_large(place)
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


def parquet_files(storage: Storage, below: str = "") -> list[str]:
    """The Parquet files of a folder; those with `_` or `.` in front are notes of what wrote it."""
    return [
        entry.path
        for entry in storage.entries(below)
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


def read_sheet(path: Path) -> Iterator[tuple[object, ...]]:
    """The rows of the first sheet of an Excel workbook that are not empty; raises InputError for none.

    A workbook is a zip file: what it unpacks to is bounded before it is opened.
    """
    import openpyxl

    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MOST_BYTES // 32:
                raise _too_large(str(path))
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except InputError:
        raise
    except Exception as error:
        # openpyxl lets through whatever its parts raise on a broken file.
        raise InputError(f"{path} cannot be read as an Excel workbook: {error}") from error
    try:
        if not book.worksheets:
            raise InputError(f"{path} has no sheet")
        sheet = book.worksheets[0]
        # What the file says of its own size is not believed: each row would be filled up to it.
        sheet.reset_dimensions()
        for row in sheet.iter_rows(max_col=_MOST_COLUMNS, values_only=True):
            if any(cell is not None for cell in row):
                yield row
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} cannot be read as an Excel workbook: {error}") from error
    finally:
        book.close()


def without_zeros(name: str) -> str:
    """A path of names as a spreadsheet leaves it: `video/0001` and `video/1.0` are both `video/1`."""
    parts = (re.fullmatch(r"0*(\d+)(?:\.0+)?", part) for part in name.split("/"))
    return "/".join(found[1] if found else part for found, part in zip(parts, name.split("/"), strict=True))


def cut_names(given: Collection[str], expected: Collection[str]) -> dict[str, str]:
    """Of the given names that are not expected, those that a spreadsheet cut -> the expected name.

    Only where a single expected name comes into question that is not given itself.
    """
    whole: dict[str, list[str]] = {}
    for name in set(expected) - set(given):
        whole.setdefault(without_zeros(name), []).append(name)
    found = {name: whole.get(without_zeros(name), []) for name in set(given) - set(expected)}
    return {name: names[0] for name, names in found.items() if len(names) == 1}
