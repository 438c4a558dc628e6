"""Reading gold and predictions: emo's own tables, and the files that the field uses."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo.cojudgment.votes import BESIDE, written
from emo.errors import InputError
from emo.evaluation.arrays import read_arrays
from emo.paths import is_s3
from emo.sources.labelsets import MOST_LABELS, as_labels
from emo.sources.labelsets import parse_list as parse_list
from emo.sources.parquet import PARQUET, read_parquet
from emo.sources.record import Record, Records, check_text, is_missing, short
from emo.sources.records import SUFFIXES, is_table, load, suffix_of, tables_at
from emo.store import tables
from emo.store.storage import Storage

_IDS = ("video_id", "name", "names")

Voter = tuple[str | None, int | None]
"""(expert, sample), None where the file has no such column"""


@dataclass(frozen=True)
class Kind:
    """What is read: from which columns, the first of them that is there, and how a value is checked.

    may_lack: whether null is a row without a value (a judgment of votes from elsewhere has no description),
    or an error (null labels are neither an answer nor an empty one); ids: columns that name the clip.
    """

    columns: tuple[str, ...]
    is_right: Callable[[pa.DataType], bool]
    expected: str
    parse: Callable[[Any, str], Any]
    may_lack: bool = False
    ids: tuple[str, ...] = _IDS

    def value(self, given: Any, status: str | None, where: str) -> Any:
        """What a row says, None for one that failed or lacks it; raises InputError."""
        if (status or tables.OK) != tables.OK or (given is None and self.may_lack):
            return None
        return self.parse(given, where)


@dataclass(frozen=True)
class Read:
    """The rows of a file or a folder, of every clip and voter the newest run.

    voters: voter -> video_id -> value; column: where the values came from; superseded: rows of older runs
    that were left out; failed: rows that failed or lack a value, which are in no voter; beside: voter ->
    video_id -> what votes say of each label (strengths, alternatives), where they say it.
    """

    where: str
    voters: dict[Voter, dict[str, Any]]
    column: str
    superseded: int
    failed: int
    beside: Mapping[Voter, Mapping[str, Mapping[str, Any]]]

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
        return replace(self, voters=chosen)

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

    Parquet, JSON and JSONL: `video_id` or `name`, and `labels` or `openset` as a list; CSV: the same columns,
    the list as text ("[happy, sad]", as in MER-Caption+); NPZ: `filenames` and `fileitems`, as the benchmark
    stores predictions. Of rows with one id the newest `run_id` counts; failed rows are no prediction.
    expert, sample: which of the votes of a votes table. Raises InputError that names the file and what is
    wrong, among it several voters for which nothing says which is meant.
    """
    return read(path, LABELS).only(expert, sample).one()


def read(path: str | Path, kind: Kind) -> Read:
    """Everything that a file, or a folder of Parquet files, says of each clip and voter.

    path: local or `s3://`. Raises InputError that names the file and what is wrong.
    """
    found: dict[Voter, dict[str, tuple[str, Any]]] = {}
    beside: dict[Voter, dict[str, Mapping[str, Any]]] = {}
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
            beside.setdefault(voter, {})[video_id] = row["beside"]
    if not found:
        raise InputError(f"{path}: has no {kind.columns[0]}")
    voters = {
        voter: {video_id: value for video_id, (_, value) in values.items() if value is not None}
        for voter, values in found.items()
    }
    failed = sum(len(values) for values in found.values()) - sum(len(values) for values in voters.values())
    return Read(str(path), voters, column, superseded, failed, beside)


def _as_text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where}: the text is {short(value)}; expected a string")
    check_text(value, where, "the text")
    return "" if is_missing(value) else value.strip()


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_labels(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return _is_text(kind) or (is_list and (_is_text(kind.value_type) or pa.types.is_null(kind.value_type)))


LABELS = Kind(("labels", "openset"), _is_labels, "a list of strings", as_labels)
TEXTS = Kind(("description", "text", "reason", "reasons", "english"), _is_text, "a string", _as_text, True)
"""Descriptions: of emo's tables, and of the files of EMER, OV-MERD and MER-Caption+."""

_Rows = Iterator[dict[str, Any]]
_VOTER = ("expert", "sample", "run_id", "status")


def _files(path: str, kind: Kind) -> Iterator[tuple[str, str, _Rows]]:
    """Name, value column and rows of each file; the rows have id, value (None: failed) and beside."""
    if not is_s3(path) and not Path(path).exists():
        raise InputError(f"{path}: is not there")
    if Path(path).suffix.lower() == ".npz" and not Path(path).is_dir():
        yield path, *_npz(Path(path), kind)
        return
    if not is_s3(path) and Path(path).is_file() and not is_table(path):
        raise InputError(f"{path}: unknown kind of file; expected {', '.join((*SUFFIXES, '.npz'))}")
    storage, names = tables_at(path)
    if not names:
        raise InputError(f"{path}: has no Parquet file")
    for name in names:
        place = storage.full(name)
        if suffix_of(name) == PARQUET:
            yield place, *_parquet(storage, name, kind)
        else:
            found = load(storage, name, (), unit="line")
            yield place, *_written(found, kind, of_objects=suffix_of(name) != ".csv")


def _columns(names: Collection[str], kind: Kind, where: str) -> tuple[str, str]:
    chosen = []
    for wanted in (kind.ids, kind.columns):
        here = [name for name in wanted if name in names]
        if not here:
            raise InputError(f"{where}: no column {' or '.join(wanted)}; it has {', '.join(names) or 'none'}")
        chosen.append(here[0])
    return chosen[0], chosen[1]


def _parquet(storage: Storage, name: str, kind: Kind) -> tuple[str, _Rows]:
    where = storage.full(name)
    try:
        names, table = read_parquet(storage, name, (*kind.ids, *kind.columns, *_VOTER, *BESIDE))
    except FileNotFoundError:
        raise InputError(f"{where}: is not there") from None
    id_column, column = _columns(names, kind, where)
    found = table.schema.field(column).type
    if not kind.is_right(found):
        raise InputError(f"{where}: column {column!r} is {found}; expected {kind.expected}")
    if table[id_column].null_count:
        raise InputError(f"{where}: column {id_column!r} has {table[id_column].null_count} null(s)")
    if pa.types.is_list(found) or pa.types.is_large_list(found):
        longest = pc.max(pc.list_value_length(table[column])).as_py() or 0
        if longest > MOST_LABELS:
            # Before they become Python's: a million labels of one clip would take minutes from here on.
            raise InputError(f"{where}: a row has {longest} labels; expected at most {MOST_LABELS} per clip")
    rows = (Record(f"{where}: {short(row[id_column])[1:-1]}", row) for row in table.to_pylist())
    return column, (_row(record, id_column, column, kind) for record in rows)


def _written(found: Records, kind: Kind, of_objects: bool) -> tuple[str, _Rows]:
    """The rows of a file of text; of_objects: JSON, in which each row may have columns of its own."""
    columns = None if of_objects else _columns(found.columns, kind, found.place)
    rows, column = [], columns[1] if columns else ""
    for record in found.sound():
        id_column, column = columns or _columns(record.values, kind, record.where)
        rows.append(_row(record, id_column, column, kind))
    return column, iter(rows)


def _row(record: Record, id_column: str, column: str, kind: Kind) -> dict[str, Any]:
    row = record.values
    if is_missing(row[id_column]):
        raise InputError(f"{record.where}: {id_column} is {row[id_column]!r}; expected the id of a clip")
    video_id = str(row[id_column])
    check_text(video_id, record.where, id_column)
    voter = _voter_of(row, record.where)
    return {
        **voter,
        "id": video_id,
        "value": kind.value(row[column], voter.get("status"), record.where),
        "beside": {
            name: written(name, row[name], record.where)
            for name in BESIDE
            if kind is LABELS and not is_missing(row.get(name))
        },
    }


def _voter_of(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """expert, sample, run_id and status, where the row has them."""
    more = {name: row[name] for name in _VOTER if not is_missing(row.get(name))}
    for name in more.keys() - {"sample"}:
        if not isinstance(more[name], str):
            raise InputError(f"{where}: {name} is {short(more[name])}; expected a text")
        check_text(more[name], where, name)
    if "sample" in more:
        try:
            more["sample"] = int(more["sample"])
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"{where}: sample is {short(row['sample'])}; expected a whole number") from None
    return more


def _npz(path: Path, kind: Kind) -> tuple[str, _Rows]:
    arrays = read_arrays(path)
    missing = {"filenames", "fileitems"} - arrays.keys()
    if missing:
        raise InputError(f"{path}: has no array {', '.join(sorted(missing))}; it has {', '.join(arrays)}")
    names, items = (arrays[name].ravel().tolist() for name in ("filenames", "fileitems"))
    if len(names) != len(items):
        raise InputError(f"{path}: {len(names)} filenames, but {len(items)} fileitems")
    rows = (
        Record(f"{path}: {short(str(name))[1:-1]}", {"name": name, "item": item})
        for name, item in zip(names, items, strict=True)
    )
    return "fileitems", (_row(record, "name", "item", kind) for record in rows)
