"""Columns of a manifest that stay with its clips (`ingest.carry`), so that scores can be told apart by them.

What was said stays until a later manifest says otherwise; an empty cell says nothing. No clip is decoded anew
for it, so an OUT of an earlier version gets them from the next run over its manifest.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo.errors import InputError
from emo.sources.record import check_text, is_missing, short
from emo.sources.times import PIECE
from emo.store import committed, planning
from emo.store.storage import Storage
from emo.store.tables import CARRIED, CLIPS

# What a clip says of itself, whether a manifest gave it or not.
_OF_CLIPS = ("language",)


def cells_of(values: Mapping[str, Any], columns: Collection[str], where: str) -> str | None:
    """The cells of a row that are carried, as one JSON object; None where all are empty.

    Raises InputError for a cell that is neither text nor a number.
    """
    cells = {}
    for column in columns:
        value = values.get(column)
        if is_missing(value):
            continue
        if not isinstance(value, str | int | float):
            raise InputError(f"{where}: {column} is {short(value)}; ingest.carry takes texts and numbers")
        text = str(value).strip()
        check_text(text, where, column)
        cells[column] = text
    return json.dumps(cells, ensure_ascii=False) if cells else None


def note(storage: Storage, run_id: str, manifest: pa.Table) -> int:
    """Write down what a manifest says anew; how many cells those are. For the holder of the lease."""
    said = manifest.filter(pc.is_valid(manifest.column("carried"))).select(["video_id", "carried"])
    if not said.num_rows:
        return 0
    before = {(row["video_id"], row["column"]): row["value"] for row in known(storage).to_pylist()}
    rows = [
        {"video_id": row["video_id"], "column": column, "value": value, "run_id": run_id}
        for row in said.to_pylist()
        for column, value in json.loads(row["carried"]).items()
        if before.get((row["video_id"], column)) != value
    ]
    if rows:
        table = pa.Table.from_pylist(rows, schema=CARRIED.schema)
        committed.commit(storage, CARRIED.name, CARRIED, f"{run_id}-carried", table)
    return len(rows)


def known(storage: Storage) -> pa.Table:
    """What was said last: `video_id`, `column`, `run_id` and `value`."""
    return committed.read_newest(storage, CARRIED.name, CARRIED, ["value"])


def groups_of(storage: Storage, column: str) -> dict[str, str]:
    """video_id -> what its manifest says in a column; a piece of a recording that was split is as that.

    Raises InputError, with the columns that are there, where no clip has one.
    """
    clips = committed.read_newest(storage, committed.folder(CLIPS), CLIPS, ["language"])
    if column in _OF_CLIPS:
        values = clips.column(column)
        there: set[str] = set()
    else:
        said = known(storage)
        there = set(said.column("column").to_pylist())
        said = said.filter(pc.equal(said.column("column"), column))
        whole = pa.table({"video_id": pc.replace_substring_regex(clips.column("video_id"), PIECE, "")})
        own, of_whole = (
            said.column("value").take(planning.place(rows, said, ("video_id",))) for rows in (clips, whole)
        )
        values = pc.coalesce(own, of_whole)
    pairs = zip(clips.column("video_id").to_pylist(), values.to_pylist(), strict=True)
    found = {video_id: value for video_id, value in pairs if value is not None}
    if not found:
        known_columns = ", ".join(sorted({*there, *_OF_CLIPS}))
        raise InputError(
            f"{storage.url} has no clip with the column {column!r}; it has {known_columns}. ingest.carry "
            "names the columns of a manifest that stay with its clips"
        )
    return found
