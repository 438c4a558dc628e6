"""Clips as a manifest names them."""

import os
import posixpath
import sys
from collections.abc import Sequence

import pyarrow as pa

from emo import uses
from emo.carried import cells_of
from emo.errors import InputError
from emo.paths import S3_PREFIX, is_s3, join, split
from emo.sources.lookup import Row, columns_of, finish, list_parents
from emo.sources.parquet import PARQUET
from emo.sources.record import MISSING, Record, short, text_of
from emo.sources.records import load, suffix_of, tables_at
from emo.sources.times import END, START, piece_id, read_times
from emo.sources.turns import DIALOGUE, read_turn, refuse_doubled
from emo.store.s3 import S3Settings
from emo.store.storage import Storage

_TEXTS = ("uri", "video_id", "subtitle", "language")
MANIFEST_COLUMNS = (*_TEXTS, START, END, "use", *DIALOGUE)


def from_manifest(source: str, s3: S3Settings, carry: Sequence[str] = ()) -> pa.Table:
    """carry: other columns whose cells stay with the clips (`emo.carried`)."""
    storage, names = tables_at(source, s3)
    base = Storage(split(source.rstrip("/"))[0], s3, exact=True).url
    rows: list[Row] = []
    unused: dict[str, None] = {}
    missing = 0
    lacking = dict.fromkeys(carry)
    for name in names:
        found = load(storage, name, (*MANIFEST_COLUMNS, *carry))
        if suffix_of(name) in (".csv", PARQUET) and "uri" not in found.columns:
            there = ", ".join(found.columns) or "nothing"
            raise InputError(f"{found.place} has no column uri; it has: {there}")
        unused |= dict.fromkeys(
            column for column in found.columns if column not in (*MANIFEST_COLUMNS, *carry)
        )
        lacking = {column: None for column in lacking if column not in found.columns}
        for record in found.sound():
            rows.append(_manifest_row(record, base, carry))
            missing += sum(
                isinstance(value, str) and value.strip() in MISSING
                for column in MANIFEST_COLUMNS
                for value in [record.values.get(column)]
            )
    if lacking:
        raise InputError(f"{source} has no column {', '.join(lacking)}, which ingest.carry names")
    if missing:
        print(
            f"{source}: {missing} cells say nan, NULL, None or the like, and count as empty", file=sys.stderr
        )
    if unused:
        print(
            f"{source}: columns that are not used: {', '.join(map(repr, unused))}; those of a manifest are "
            f"{', '.join(MANIFEST_COLUMNS)}; ingest.carry names others that stay with the clips",
            file=sys.stderr,
        )
    refuse_doubled(((row.dialogue_id, row.turn, row.where) for row in rows), source)
    return finish(columns_of(rows), list_parents(rows, s3), [])


def _manifest_row(record: Record, base: str, carry: Sequence[str]) -> Row:
    cells = {column: text_of(record.values.get(column), record.where, column) for column in _TEXTS}
    if not cells["uri"]:
        raise InputError(f"{record.where} has no uri; a manifest needs the column uri")
    uri, default_id = _resolve(cells["uri"], base)
    start_s, end_s = read_times(record.values, record.where)
    if start_s is not None:
        default_id = piece_id(default_id, start_s, end_s)
    video_id = cells["video_id"] or default_id
    use = text_of(record.values.get("use"), record.where, "use")
    use = use.strip().lower() if use else None
    if use is not None and use not in uses.ALL:
        raise InputError(f"{record.where}: use is {short(use)}; expected {', '.join(uses.ALL)}, or nothing")
    carried = cells_of(record.values, carry, record.where)
    dialogue, turn, speaker = read_turn(record.values, record.where)
    texts = cells["subtitle"], cells["language"]
    return Row(uri, video_id, record.where, *texts, start_s, end_s, use, carried, dialogue, turn, speaker)


def _resolve(uri: str, base: str) -> tuple[str, str]:
    """The full uri, and the id it gives: its path below the manifest's folder, or its whole path."""
    if "://" in uri and not is_s3(uri):
        raise InputError(f"uri {uri!r} is neither a path nor an s3:// address")
    if is_s3(uri):
        full = uri
    elif uri.startswith("/"):
        full = os.path.normpath(uri)
    elif is_s3(base):
        full = S3_PREFIX + _without_dots(f"{base.removeprefix(S3_PREFIX)}/{uri}")
    else:
        full = os.path.normpath(join(base, uri))
    above = base if is_s3(base) else base.rstrip("/")
    if full.startswith(f"{above}/"):
        below = full.removeprefix(f"{above}/")
    else:
        below = full.removeprefix(S3_PREFIX).removeprefix("/")
    return full, posixpath.splitext(below)[0]


def _without_dots(key: str) -> str:
    """Bucket and key with `.` and `..` worked out, as in a path; empty names of a key stay."""
    parts: list[str] = []
    for part in key.split("/"):
        if part == "..":
            del parts[-1:]
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
