"""Files of chats: JSON Lines, a JSON list (both also packed), Parquet; or a data set's folder of them."""

import gzip
import io
import posixpath
import re
import zlib
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from emo.captions.messages import Sample, lines_of, read_line, sample_of
from emo.errors import InputError, RowError, one_line
from emo.sources.records import read_records, suffix_of
from emo.store.storage import Storage

# A row with one of these columns is a chat; one without is a caption that somebody published.
_CHATS = {"messages", "conversations", "conversation", "query", "instruction"}
_SUFFIXES = (".jsonl", ".json", ".parquet")
# Files of a data set's folder that describe it, and hold none of its rows.
_ABOUT = {"dataset_info.json", "dataset_infos.json", "state.json", "dataset_dict.json", "config.json"}
# Rows of Parquet that are Python values at one time.
_READ_ROWS = 4096
_SPLITS = {"train": r"train", "validation": r"valid|validation|val|dev|eval", "test": r"test"}


def read_chats(data: bytes, place: str, folder: str) -> Iterator[Sample | RowError] | None:
    """The samples of a file, one by one, as `read_messages` gives them; None where it holds no chats.

    Raises InputError where the file cannot be read as what its name says.
    """
    kind = suffix_of(place)
    if kind == ".parquet":
        return (_sample(row, f"{place} row {number}", folder) for number, row in _rows(data, place))
    if kind == ".json":
        records = read_records(data, place, unit="line")
        if not _CHATS & set(records.columns):
            return None
        return (
            RowError("not_json", f"{record.where} {record.fault.text}")
            if record.fault is not None
            else _sample(record.values, record.where, folder)
            for record in records.rows
        )
    lines = read_lines(data, place)
    return None if lines is None else (read_line(line, number, place, folder) for number, line in lines)


def read_lines(data: bytes, place: str) -> Iterator[tuple[int, bytes]] | None:
    """The lines of a file with one chat on each, with their numbers; None where it is no such file.

    Raises InputError as `read_chats` does.
    """
    return lines_of(_unpacked(data, place), place) if suffix_of(place) == ".jsonl" else None


def _sample(row: dict[str, object], where: str, folder: str) -> Sample | RowError:
    try:
        return sample_of(row, where, folder)
    except RowError as error:
        return RowError(error.code, f"{where}: {error.message}")


def _unpacked(data: bytes, place: str) -> bytes:
    if not place.lower().endswith(".gz"):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{place}: cannot be read as gzip: {error}") from None


def _rows(data: bytes, place: str) -> Iterable[tuple[int, dict[str, object]]]:
    try:
        table = pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{place}: cannot be read as Parquet: {one_line(error)}") from None
    if not _CHATS & set(table.column_names):
        raise InputError(
            f"{place} has the columns {', '.join(table.column_names)}; expected one of: "
            f"{', '.join(sorted(_CHATS))}"
        )
    rows = (row for batch in table.to_batches(_READ_ROWS) for row in batch.to_pylist())
    return enumerate(rows, start=1)


def files_of(folder: Storage) -> dict[str, list[str]]:
    """The files of a data set's folder, as a model hub lays them out: `train`, `validation` -> paths.

    A file belongs to the split that its name or its folder begins with. Where no name says one, all are
    `train`. Raises InputError where there is none to train on.
    """
    found: dict[str, list[str]] = {}
    for path in folder.names():
        # Files of a person or of a program that stand beside the data begin with a point.
        hidden = any(part.startswith(".") for part in path.split("/"))
        if not hidden and suffix_of(path) in _SUFFIXES and posixpath.basename(path) not in _ABOUT:
            found.setdefault(_split(path), []).append(path)
    if "train" not in found and "" in found:
        found["train"] = found.pop("")
    if "train" not in found:
        raise InputError(f"{folder.url} holds no file to train on; expected {', '.join(_SUFFIXES)} in it")
    return found


def _split(path: str) -> str:
    parts = [part.lower() for part in reversed(path.split("/"))]
    return next(
        (
            split
            for part in parts
            for split, pattern in _SPLITS.items()
            if re.match(rf"({pattern})(?![a-z])", part)
        ),
        "",
    )
