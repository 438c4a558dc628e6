"""Which clips a list means: by id, or by the file that they are, or are a part of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from emo.errors import InputError
from emo.sources.record import check_text, is_missing, short
from emo.sources.records import is_table, load
from emo.sources.times import recording_of
from emo.store import committed
from emo.store.s3 import S3Settings
from emo.store.storage import Storage, storage_of
from emo.store.tables import CLIPS, EVERY, SEGMENTS, SUPERSEDED, Table

SPEAKER = "speaker:"
_COLUMNS = ("video_id", "name", "uri")


@dataclass(frozen=True)
class Meant:
    """clips: video_id -> where its file is, None where `clips` has no row; unknown: names without a clip."""

    clips: dict[str, str | None]
    unknown: list[str]


def read_list(place: str, s3: S3Settings) -> list[str]:
    """The names in a list, each once: one per line of a text, or a column video_id, name or uri of a table.

    Raises InputError where it cannot be read or names nothing.
    """
    storage, name = storage_of(place, s3)
    if is_table(name):
        found = load(storage, name, _COLUMNS)
        columns = [column for column in _COLUMNS if column in found.columns]
        if not columns:
            there = ", ".join(found.columns) or "nothing"
            raise InputError(f"{place} has no column {', '.join(_COLUMNS)}; it has: {there}")
        cells = [(record.where, record.values.get(columns[0])) for record in found.sound()]
    else:
        try:
            lines = storage.read(name).decode("utf-8-sig").splitlines()
        except (FileNotFoundError, UnicodeDecodeError) as error:
            raise InputError(f"--list {place} cannot be read: {error}") from None
        cells = [(f"{place} line {number}", line) for number, line in enumerate(lines, start=1)]
    names: dict[str, None] = {}
    for where, cell in cells:
        if is_missing(cell):
            continue
        if not isinstance(cell, str):
            raise InputError(f"{where}: {short(cell)} is no text; expected the id of a clip, or its file")
        check_text(cell, where, "the name")
        names[cell.strip()] = None
    if not names:
        raise InputError(f"--list {place} names no clip")
    return list(names)


def clips_meant(storage: Storage, names: Iterable[str]) -> Meant:
    """The clips of OUT that these names mean: ids, addresses of files, ids of files cut into parts, and
    `speaker:NAME` for all pieces before whose words that name stands.

    Ids are looked for in every table: a removal that was cut short has left some of them.
    """
    rows = _newest(storage, CLIPS, ["uri"])
    uris = dict(zip(rows.column("video_id").to_pylist(), rows.column("uri").to_pylist(), strict=True))
    ids = {*uris}
    for table in EVERY:
        columns = [] if "video_id" in table.key else ["video_id"]
        there = committed.read_all(storage, table.name, table, columns)
        ids.update(there.column("video_id").unique().to_pylist())
    by_name: dict[str, set[str]] = {}
    pieces = _newest(storage, SEGMENTS, ["uri", "speaker"])
    for piece in pieces.to_pylist():
        uris.setdefault(piece["video_id"], piece["uri"])
        said = [f"{SPEAKER}{piece['speaker']}"] if piece["speaker"] else []
        for name in (piece["recording"], *said):
            by_name.setdefault(name, set()).add(piece["video_id"])
    for video_id in ids:
        for name in {video_id, recording_of(video_id), uris.get(video_id) or video_id}:
            by_name.setdefault(name, set()).add(video_id)
    names = list(names)
    meant = sorted({video_id for name in names for video_id in by_name.get(name, ())})
    return Meant(
        {video_id: uris.get(video_id) for video_id in meant},
        [name for name in names if name not in by_name],
    )


def _newest(storage: Storage, table: Table, columns: Sequence[str]) -> pa.Table:
    """The newest row of each key that says something: also of a piece that is superseded rows are there."""
    rows = committed.read_all(storage, table.name, table, [*columns, "status"])
    return committed.newest(rows.filter(pc.not_equal(rows.column("status"), SUPERSEDED)), table.key)
