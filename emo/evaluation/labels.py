"""Reading gold and predictions: emo's own tables, and the files that the field uses."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emo import tables
from emo.errors import InputError
from emo.evaluation.arrays import read_arrays

_IDS = ("video_id", "name")
_LABELS = ("labels", "openset")
_SUFFIXES = (".parquet", ".csv", ".jsonl", ".npz")


def read_labels(
    path: str | Path, expert: str | None = None, sample: int | None = None
) -> dict[str, tuple[str, ...]]:
    """video_id -> labels, from one file, or from all Parquet files below a folder.

    Parquet and JSONL: `video_id` or `name`, and `labels` or `openset` as a list; CSV: the same columns, the
    list as text ("[happy, sad]", as in MER-Caption+); NPZ: `filenames` and `fileitems`, as the benchmark
    stores predictions. Of rows with one id the newest `run_id` counts; failed rows are no prediction.
    expert, sample: which of the votes of a votes table. Raises InputError that names the file and what is
    wrong, among it several rows for one id that nothing tells apart.
    """
    source = Path(path)
    rows: Iterator[dict[str, Any]]
    if source.is_dir():
        files = sorted(source.rglob("*.parquet"))
        if not files:
            raise InputError(f"{source}: has no Parquet file")
        rows = (row for file in files for row in _parquet_rows(file))
    elif not source.is_file():
        raise InputError(f"{source}: is not there")
    elif source.suffix not in _SUFFIXES:
        raise InputError(f"{source}: unknown kind of file; expected {', '.join(_SUFFIXES)}")
    else:
        reader = {".parquet": _parquet_rows, ".csv": _csv_rows, ".jsonl": _jsonl_rows, ".npz": _npz_rows}
        rows = reader[source.suffix](source)
    found: dict[str, tuple[str, tuple[str, ...] | None]] = {}
    seen: dict[str, tuple[Any, Any]] = {}
    for row in rows:
        voter = (row.get("expert"), row.get("sample"))
        if (expert is not None and voter[0] != expert) or (sample is not None and voter[1] != sample):
            continue
        video_id, run = row["id"], row.get("run_id") or ""
        if video_id in found:
            if seen[video_id] != voter:
                raise InputError(
                    f"{source}: {video_id} has votes of {_voter(seen[video_id])} and of {_voter(voter)}; "
                    "say which with expert and sample"
                )
            if found[video_id][0] == run:
                raise InputError(f"{source}: {video_id} is there twice")
            if found[video_id][0] > run:
                continue
        found[video_id], seen[video_id] = (run, row["labels"]), voter
    if not found:
        wanted = f" of {_voter((expert, sample))}" if expert is not None else ""
        raise InputError(f"{source}: has no labels{wanted}")
    return {video_id: labels for video_id, (_, labels) in found.items() if labels is not None}


def _voter(voter: tuple[Any, Any]) -> str:
    return f"{voter[0]}#{voter[1]}"


def parse_list(text: str) -> tuple[str, ...]:
    """The words of a list written as text: brackets and quotation marks or none, split at commas."""
    text = text.strip().removeprefix("[").removesuffix("]")
    return tuple(item.strip() for item in re.split("['\",]", text) if item.strip())


def _columns(names: Any, where: str) -> tuple[str, str]:
    chosen = []
    for wanted in (_IDS, _LABELS):
        here = [name for name in wanted if name in names]
        if not here:
            raise InputError(f"{where}: no column {' or '.join(wanted)}; it has {', '.join(names) or 'none'}")
        chosen.append(here[0])
    return chosen[0], chosen[1]


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        schema = pq.read_schema(path)
        id_column, label_column = _columns(schema.names, str(path))
        kind = schema.field(label_column).type
        if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_string(kind)):
            raise InputError(f"{path}: column {label_column!r} is {kind}; expected a list of strings")
        more = [name for name in ("expert", "sample", "run_id", "status") if name in schema.names]
        table = pq.read_table(path, columns=[id_column, label_column, *more])
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: cannot be read as Parquet: {error}") from error
    if table[id_column].null_count:
        raise InputError(f"{path}: column {id_column!r} has {table[id_column].null_count} null(s)")
    if "status" in more:
        answered = pc.equal(table["status"], tables.OK)
        labels = pc.if_else(answered, table[label_column], pa.scalar(None, kind))
        table = table.set_column(table.schema.get_field_index(label_column), label_column, labels)
    for row in table.to_pylist():
        labels_ = row.pop(label_column)
        yield {**row, "id": row[id_column], "labels": _as_labels(labels_)}


def _as_labels(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    return parse_list(value) if isinstance(value, str) else tuple(str(label) for label in value)


def _csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            id_column, label_column = _columns(reader.fieldnames or (), str(path))
            for number, row in enumerate(reader, start=2):
                if row[id_column] is None or row[label_column] is None:
                    raise InputError(f"{path}: line {number} has too few columns")
                yield {"id": row[id_column], "labels": parse_list(row[label_column])}
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 CSV: {error}") from error


def _jsonl_rows(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}: line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}: line {number} is not a JSON object")
        id_column, label_column = _columns(row, f"{path}: line {number}")
        yield {**row, "id": str(row[id_column]), "labels": _as_labels(row[label_column])}


def _npz_rows(path: Path) -> Iterator[dict[str, Any]]:
    arrays = read_arrays(path)
    missing = {"filenames", "fileitems"} - arrays.keys()
    if missing:
        raise InputError(f"{path}: has no array {', '.join(sorted(missing))}; it has {', '.join(arrays)}")
    names, items = arrays["filenames"].tolist(), arrays["fileitems"].tolist()
    if len(names) != len(items):
        raise InputError(f"{path}: {len(names)} filenames, but {len(items)} fileitems")
    for name, item in zip(names, items, strict=True):
        yield {"id": str(name), "labels": _as_labels(item)}
