"""The one reader of tables that come from outside: CSV, JSON, JSON Lines, Parquet and Excel, read strictly.

Everything that others wrote comes through here: manifests, gold and predictions, captions, votes, wheels.
What could be read in two ways is refused with the file and the row, because a wrong guess would change labels
without a word. What a spreadsheet leaves behind and that means nothing (a comma at the end of every row, rows
of commas) is read over. Memory is bounded: a file of a few kilobytes can claim to hold gigabytes.
"""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path

from emo.errors import InputError
from emo.paths import is_s3, split
from emo.sources.json_records import read_json, read_json_lines
from emo.sources.parquet import PARQUET, parquet_files, parquet_records
from emo.sources.record import MOST_BYTES, Fault, Record, Records, refuse_repeats, too_large
from emo.store.s3 import S3Settings
from emo.store.storage import Storage

# What may stand before `.gz` too.
TEXT_SUFFIXES = (".csv", ".jsonl", ".json")
SUFFIXES = (*TEXT_SUFFIXES, PARQUET)
_GZIP = ".gz"

_MOST_CELL = 2**31 - 1
# Columns by which the field names clips; the first that a table has says what a row of it looks like.
_NAMES = ("uri", "clip_id", "video_id", "name", "names")


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
    readers = {".csv": _csv, ".jsonl": read_json_lines, ".json": read_json}
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
        raise too_large(place)
    return text


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
    refuse_repeats([name.strip() for name in columns if name.strip()], place)
    return columns


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
