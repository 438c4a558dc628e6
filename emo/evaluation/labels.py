"""Reading gold and predictions: emo's own tables, and the files that the field uses."""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from emo import tables
from emo.errors import InputError
from emo.evaluation.arrays import read_arrays
from emo.storage import Storage, is_s3, storage_of

_IDS = ("video_id", "name", "names")
_SUFFIXES = (".parquet", ".csv", ".jsonl", ".npz")

Voter = tuple[str | None, int | None]
"""(expert, sample), None where the file has no such column"""


@dataclass(frozen=True)
class Kind:
    """What is read: from which columns, the first of them that is there, and how a value is checked.

    may_lack: whether null is a row without a value (a judgment of votes from elsewhere has no description),
    or an error (null labels are neither an answer nor an empty one).
    """

    columns: tuple[str, ...]
    is_right: Callable[[pa.DataType], bool]
    expected: str
    parse: Callable[[Any, str], Any]
    may_lack: bool = False

    def value(self, given: Any, status: str | None, where: str) -> Any:
        """What a row says, None for one that failed or lacks it; raises InputError."""
        if (status or tables.OK) != tables.OK or (given is None and self.may_lack):
            return None
        return self.parse(given, where)


@dataclass(frozen=True)
class Read:
    """The rows of a file or a folder, of every clip and voter the newest run.

    voters: voter -> video_id -> value; column: where the values came from; superseded: rows of older runs
    that were left out; failed: rows that failed or lack a value, which are in no voter.
    """

    where: str
    voters: dict[Voter, dict[str, Any]]
    column: str
    superseded: int
    failed: int

    def only(self, expert: str | None = None, sample: int | None = None) -> "Read":
        """The voters of this expert and sample; raises InputError, with those that are there, for none."""
        chosen = {
            voter: values
            for voter, values in self.voters.items()
            if (expert is None or voter[0] == expert) and (sample is None or voter[1] == sample)
        }
        if not chosen:
            names = sorted(map(voter_name, self.voters))
            known = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
            wanted = " ".join(
                [f"expert {expert!r}"] * (expert is not None) + [f"sample {sample}"] * (sample is not None)
            )
            there = "names no voters" if set(self.voters) == {(None, None)} else f"has {known}"
            raise InputError(f"{self.where}: has nothing of {wanted}; it {there}")
        return Read(self.where, chosen, self.column, self.superseded, self.failed)

    def one(self) -> dict[str, Any]:
        """video_id -> value of the only voter; raises InputError where there are several."""
        if len(self.voters) > 1:
            first, second, *_ = sorted(map(voter_name, self.voters))
            raise InputError(
                f"{self.where}: has {len(self.voters)} voters, among them {first} and {second}; "
                "say which with expert and sample"
            )
        return next(iter(self.voters.values()))


def voter_name(voter: Voter) -> str:
    """A voter as the evidence of a judgment names it."""
    expert, sample = voter
    return (expert or "-") + (f"#{sample}" if sample is not None else "")


def read_labels(
    path: str | Path, expert: str | None = None, sample: int | None = None
) -> dict[str, tuple[str, ...]]:
    """video_id -> labels, from one file, or from all Parquet files below a folder.

    Parquet and JSONL: `video_id` or `name`, and `labels` or `openset` as a list; CSV: the same columns, the
    list as text ("[happy, sad]", as in MER-Caption+); NPZ: `filenames` and `fileitems`, as the benchmark
    stores predictions. Of rows with one id the newest `run_id` counts; failed rows are no prediction.
    expert, sample: which of the votes of a votes table. Raises InputError that names the file and what is
    wrong, among it several voters for which nothing says which is meant.
    """
    return read(path, LABELS).only(expert, sample).one()


def read(path: str | Path, kind: Kind) -> Read:
    """Everything that a file, or a folder of Parquet files, says of each clip and voter.

    path: local or `s3://` (Parquet only). Raises InputError that names the file and what is wrong.
    """
    found: dict[Voter, dict[str, tuple[str, Any]]] = {}
    superseded = 0
    column = ""
    for name, source_column, rows in _files(str(path), kind):
        column = source_column
        for row in rows:
            voter = (row.get("expert"), row.get("sample"))
            values = found.setdefault(voter, {})
            video_id, run = row["id"], row.get("run_id") or ""
            if video_id in values:
                if values[video_id][0] == run:
                    raise InputError(f"{name}: {video_id} is there twice")
                superseded += 1
                if values[video_id][0] > run:
                    continue
            values[video_id] = (run, row["value"])
    if not found:
        raise InputError(f"{path}: has no {kind.columns[0]}")
    voters = {
        voter: {video_id: value for video_id, (_, value) in values.items() if value is not None}
        for voter, values in found.items()
    }
    failed = sum(len(values) for values in found.values()) - sum(len(values) for values in voters.values())
    return Read(str(path), voters, column, superseded, failed)


def parse_list(text: str) -> tuple[str, ...]:
    """The words of a list written as text: brackets and quotation marks or none, split at commas."""
    text = text.strip().removeprefix("[").removesuffix("]")
    return tuple(item.strip() for item in re.split("['\",]", text) if item.strip())


def _as_labels(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return parse_list(value)
    if not isinstance(value, list) or not all(isinstance(label, str) for label in value):
        raise InputError(f"{where}: labels are {value!r}; expected a list of strings")
    return tuple(value)


def _as_text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where}: the text is {value!r}; expected a string")
    return value.strip()


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_labels(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return _is_text(kind) or (is_list and (_is_text(kind.value_type) or pa.types.is_null(kind.value_type)))


LABELS = Kind(("labels", "openset"), _is_labels, "a list of strings", _as_labels)
TEXTS = Kind(("description", "text", "reason", "reasons", "english"), _is_text, "a string", _as_text, True)
"""Descriptions: of emo's tables, and of the files of EMER, OV-MERD and MER-Caption+."""

_Rows = Iterator[dict[str, Any]]


def _files(path: str, kind: Kind) -> Iterator[tuple[str, str, _Rows]]:
    """Name, value column and rows of each file; the rows have id and value (None: failed)."""
    suffix = Path(path).suffix
    if is_s3(path) or Path(path).is_dir() or (suffix == ".parquet" and Path(path).is_file()):
        if suffix == ".parquet" and not Path(path).is_dir():
            storage, name = storage_of(path)
            names = [name]
        else:
            storage = Storage(path)
            names = [entry.path for entry in storage.entries() if entry.path.endswith(".parquet")]
        if not names:
            raise InputError(f"{path}: has no Parquet file")
        for name in names:
            yield storage.full(name), *_parquet(storage, name, kind)
        return
    if not Path(path).is_file():
        raise InputError(f"{path}: is not there")
    readers = {".csv": _csv, ".jsonl": _jsonl, ".npz": _npz}
    if suffix not in readers:
        raise InputError(f"{path}: unknown kind of file; expected {', '.join(_SUFFIXES)}")
    try:
        yield path, *readers[suffix](Path(path), kind)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read as UTF-8: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _columns(names: Any, kind: Kind, where: str) -> tuple[str, str]:
    chosen = []
    for wanted in (_IDS, kind.columns):
        here = [name for name in wanted if name in names]
        if not here:
            raise InputError(f"{where}: no column {' or '.join(wanted)}; it has {', '.join(names) or 'none'}")
        chosen.append(here[0])
    return chosen[0], chosen[1]


def _parquet(storage: Storage, name: str, kind: Kind) -> tuple[str, _Rows]:
    where = storage.full(name)
    with storage.errors(name):
        try:
            # Opened by hand: a reader that sees the path takes `expert=NAME` for another column `expert`.
            with storage.open(name) as handle, pq.ParquetFile(handle) as file:
                schema = file.schema_arrow
                id_column, column = _columns(schema.names, kind, where)
                found = schema.field(column).type
                if not kind.is_right(found):
                    raise InputError(f"{where}: column {column!r} is {found}; expected {kind.expected}")
                more = [known for known in ("expert", "sample", "run_id", "status") if known in schema.names]
                table = file.read(columns=[id_column, column, *more])
        except FileNotFoundError:
            raise InputError(f"{where}: is not there") from None
        except pa.ArrowException as error:
            raise InputError(f"{where}: cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    if table[id_column].null_count:
        raise InputError(f"{where}: column {id_column!r} has {table[id_column].null_count} null(s)")
    return column, _table_rows(table, id_column, column, kind, where)


def _table_rows(table: pa.Table, id_column: str, column: str, kind: Kind, where: str) -> _Rows:
    for row in table.to_pylist():
        video_id = str(row[id_column])
        value = kind.value(row[column], row.get("status"), f"{where}: {video_id}")
        yield {**row, "id": video_id, "value": value}


def _csv(path: Path, kind: Kind) -> tuple[str, _Rows]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        try:
            id_column, column = _columns(reader.fieldnames or (), kind, str(path))
            rows = list(enumerate(reader, start=2))
        except csv.Error as error:
            raise InputError(f"{path}: cannot be read as CSV: {error}") from error
    for number, row in rows:
        if row[id_column] is None or row[column] is None:
            raise InputError(f"{path}: line {number} has too few columns")
    return column, (
        {
            **_voter_of(row, f"{path}: line {number}"),
            "id": row[id_column],
            "value": kind.value(row[column], row.get("status"), f"{path}: line {number}"),
        }
        for number, row in rows
    )


def _voter_of(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """expert, sample and run_id, where the row has them."""
    more = {name: row[name] for name in ("expert", "run_id") if row.get(name) not in (None, "")}
    if row.get("sample") not in (None, ""):
        try:
            more["sample"] = int(row["sample"])
        except (TypeError, ValueError):
            raise InputError(f"{where}: sample is {row['sample']!r}; expected a whole number") from None
    return more


def _jsonl(path: Path, kind: Kind) -> tuple[str, _Rows]:
    rows = []
    column = ""
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        where = f"{path}: line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{where} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"{where} is not a JSON object")
        id_column, column = _columns(row, kind, where)
        value = kind.value(row[column], row.get("status"), where)
        rows.append({**_voter_of(row, where), "id": str(row[id_column]), "value": value})
    return column, iter(rows)


def _npz(path: Path, kind: Kind) -> tuple[str, _Rows]:
    arrays = read_arrays(path)
    missing = {"filenames", "fileitems"} - arrays.keys()
    if missing:
        raise InputError(f"{path}: has no array {', '.join(sorted(missing))}; it has {', '.join(arrays)}")
    names, items = arrays["filenames"].tolist(), arrays["fileitems"].tolist()
    if len(names) != len(items):
        raise InputError(f"{path}: {len(names)} filenames, but {len(items)} fileitems")
    return "fileitems", (
        {"id": str(name), "value": kind.parse(item, f"{path}: {name}")}
        for name, item in zip(names, items, strict=True)
    )
