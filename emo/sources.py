"""Where clips come from: a folder, a glob, an S3 prefix, a manifest, and the layouts of CH-SIMS and MER.

Each becomes the same thing: a manifest table with one row per clip.
"""

import csv
import fnmatch
import glob
import hashlib
import io
import json
import os
import posixpath
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emo.errors import InputError
from emo.folders import Found, read_through
from emo.media.transcript import SIDECARS
from emo.paths import S3_PREFIX, is_s3, join, on_disk, readable, split
from emo.storage import Entry, S3Settings, Storage, is_folder, storage_of
from emo.tables import CLIPS

MANIFEST = pa.schema(
    [
        *(CLIPS.schema.field(name) for name in ("video_id", "uri", "size", "modified", "language")),
        CLIPS.schema.field("transcript_version"),
        pa.field("subtitle", pa.string()),
        pa.field("sidecar", pa.string()),  # uri of a subtitle file beside the video
    ]
)

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        "mp4",
        "m4v",
        "mov",
        "mkv",
        "webm",
        "avi",
        "mpg",
        "mpeg",
        "wmv",
        "flv",
        "ts",
        "mts",
        "m2ts",
        "3gp",
    )
)
MANIFEST_SUFFIXES = (".csv", ".jsonl", ".parquet")
MANIFEST_COLUMNS = ("uri", "video_id", "subtitle", "language")
_EXPECTED = f"a folder, a glob, an s3:// prefix, a video or a manifest ({', '.join(MANIFEST_SUFFIXES)})"

CHSIMS_COLUMNS = {"video_id", "clip_id", "text", "label"}
MER_SUBTITLES = "subtitle_chieng.csv"


# The columns of a manifest, also those that are not used, and its rows.
_Records = tuple[list[str], list[dict[str, Any]]]


@dataclass(frozen=True)
class _Row:
    """One clip before its file has been looked up; `where` names the row for a person."""

    uri: str
    video_id: str
    where: str
    subtitle: str | None = None
    language: str | None = None


def read_source(source: str, s3: S3Settings | None = None) -> pa.Table:
    """The manifest of a source, sorted by video_id, in the schema MANIFEST.

    A file that a manifest names and that is not there keeps its row, with null `size` and `modified`:
    ingest writes it as failed; so does a link in a folder that leads nowhere. Columns of a manifest that are
    not used are named on standard error. Raises InputError where the source does not exist or is a file of
    another kind, a manifest is not one, or two rows share an id, and StorageError where a folder cannot be
    read.
    """
    s3 = s3 or S3Settings()
    if not source.strip():
        raise InputError(f"the source is empty; expected {_EXPECTED}")
    if source.endswith(MANIFEST_SUFFIXES):
        return _from_manifest(source, s3)
    if is_s3(source):
        if any(character in source for character in "*?"):
            raise InputError(f"{source!r}: a glob works on local files only; give a prefix or a manifest")
        return _from_s3(source, s3)
    if is_folder(on_disk(source)):
        return _from_folder(Storage(source))
    if Path(on_disk(source)).is_file():
        path = Path(source).absolute()
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            raise InputError(
                f"source {source!r} is neither a manifest ({', '.join(MANIFEST_SUFFIXES)}) nor a video by "
                f"its name ({', '.join(sorted(VIDEO_SUFFIXES))}); name a file of another kind in a manifest"
            )
        return _finish([_Row(str(path), path.stem, source)], _listing(split(str(path))[0], s3))
    if any(character in source for character in "*?["):
        return _from_glob(source)
    raise InputError(f"source {source!r} does not exist; expected {_EXPECTED}")


def _from_s3(source: str, s3: S3Settings) -> pa.Table:
    """A single video, or all below a prefix. One slash at its end says no more than that it is a prefix."""
    # A bucket without a key has no name to go by.
    folder, name = split(source) if "/" in source.removeprefix(S3_PREFIX) else (source, "")
    if posixpath.splitext(name)[1].lower() in VIDEO_SUFFIXES:
        listing = _listing(folder, s3)
        if source in listing:
            return _finish([_Row(source, posixpath.splitext(name)[0], source)], listing)
    storage = Storage(source.removesuffix("/"), s3, exact=True)
    if storage.is_there():
        return _from_folder(storage)
    if name and Storage(folder, s3, exact=True).has(name):
        raise InputError(f"source {source!r} is no video and no manifest by its name; expected {_EXPECTED}")
    raise InputError(f"source {source!r} does not exist; expected {_EXPECTED}")


def look_up(rows: pa.Table, s3: S3Settings | None = None) -> pa.Table:
    """The manifest of rows that hold video_id, uri, subtitle and language, by the files as they are now."""
    found = [
        _Row(row["uri"], row["video_id"], row["uri"], row["subtitle"], row["language"])
        for row in rows.to_pylist()
    ]
    return _finish(found, _list_parents(found, s3 or S3Settings()))


def _from_folder(storage: Storage) -> pa.Table:
    found = Found(storage.entries()) if storage.on_s3 else read_through(storage.url)
    entries: dict[str, Entry] = {}
    for entry in found.entries:
        # Odd bytes are written out, and another name may hold just that text.
        if entry.path in entries:
            raise InputError(
                f"two files would have the same path in the tables: {storage.full(entry.path)}; rename one"
            )
        entries[entry.path] = entry
    listing = {storage.full(path): entry for path, entry in entries.items()}
    if "label.csv" in entries and any(path.startswith("Raw/") for path in entries):
        return _finish(_chsims_rows(storage), listing)
    # What is no file but looks like a video by its name gets its row, and fails: it is not passed over.
    named = sorted((*entries, *found.unusable))
    videos = [path for path in named if posixpath.splitext(path)[1].lower() in VIDEO_SUFFIXES]
    subtitles = _mer_subtitles(storage) if MER_SUBTITLES in entries else {}
    rows = []
    for path in videos:
        # MER names clips by their file name, wherever below the folder the file stands.
        video_id = posixpath.splitext(posixpath.basename(path) if subtitles else path)[0]
        rows.append(_Row(storage.full(path), video_id, path, *subtitles.get(video_id, (None, None))))
    return _finish(rows, listing)


def _chsims_rows(storage: Storage) -> list[_Row]:
    """CH-SIMS: `label.csv` names the clips, `Raw/<video_id>/<clip_id>.mp4` holds them."""
    rows = []
    _, records = _csv_records(storage.read("label.csv"), storage.full("label.csv"))
    for number, record in enumerate(records, start=2):
        if not record.keys() >= CHSIMS_COLUMNS:
            missing = ", ".join(sorted(CHSIMS_COLUMNS - record.keys()))
            raise InputError(
                f"{storage.full('label.csv')} has no column {missing}; CH-SIMS' label.csv has them"
            )
        clip = f"{record['video_id']}/{record['clip_id']}"
        where = f"{storage.full('label.csv')} row {number}"
        rows.append(_Row(storage.full(f"Raw/{clip}.mp4"), clip, where, record["text"] or None, "zh"))
    return rows


def _mer_subtitles(storage: Storage) -> dict[str, tuple[str | None, str | None]]:
    """MER: `subtitle_chieng.csv` with name, chinese, english; the clips speak Chinese."""
    place = storage.full(MER_SUBTITLES)
    columns, records = _csv_records(storage.read(MER_SUBTITLES), place)
    if records and not {"name", "chinese", "english"} <= set(columns):
        raise InputError(f"{place} needs the columns name, chinese, english; it has {', '.join(columns)}")
    return {
        record["name"]: (record["chinese"], "zh") if record["chinese"] else (record["english"] or None, "en")
        for record in records
    }


def _from_glob(pattern: str) -> pa.Table:
    # The part before the first wildcard is the root that ids are relative to.
    literal = pattern[: min(pattern.find(character) for character in "*?[" if character in pattern)]
    above = literal[: literal.rfind("/") + 1]
    root = Path(above).absolute()
    below = tuple(pattern.removeprefix(above).split("/"))
    if "**" in below:
        # Not glob's own: it follows links in circles.
        found = read_through(str(root))
        names = (*(entry.path for entry in found.entries), *found.unusable)
        paths = [root / name for name in names if _matches(tuple(name.split("/")), below)]
    else:
        # Not Path.glob: it takes no absolute pattern.
        found_here = glob.iglob(on_disk(pattern))  # noqa: PTH207
        paths = [Path(readable(name)).absolute() for name in found_here]
    videos = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES and not is_folder(path)]
    listing: dict[str, Entry] = {}
    for folder in {path.parent for path in videos}:
        listing |= _listing(str(folder), S3Settings())
    rows = [_Row(str(path), path.relative_to(root).with_suffix("").as_posix(), str(path)) for path in videos]
    return _finish(rows, listing)


def _matches(names: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    """Whether a path matches a glob, both in parts: `**` is any folders, none that is hidden."""
    if not patterns or not names:
        return not patterns and not names
    first, rest = patterns[0], patterns[1:]
    hidden = names[0].startswith(".")
    if first != "**":
        seen = first.startswith(".") or not hidden
        return seen and fnmatch.fnmatchcase(names[0], first) and _matches(names[1:], rest)
    # It is no folder, or one more; as the last part also the file.
    return _matches(names, rest) or (not hidden and (_matches(names[1:], patterns) or names[1:] == rest))


def _listing(folder: str, s3: S3Settings) -> dict[str, Entry]:
    """The files right in one folder, by their full path; empty where it is not there."""
    storage = Storage(folder, s3, exact=True)
    return {storage.full(entry.path): entry for entry in storage.entries(recursive=False)}


def _from_manifest(source: str, s3: S3Settings) -> pa.Table:
    storage, name = storage_of(source, s3)
    try:
        data = storage.read(name)
    except FileNotFoundError:
        raise InputError(f"manifest {source!r} does not exist") from None
    columns, records = _READERS[Path(name).suffix](data, source)
    unused = [repr(column) for column in columns if column not in MANIFEST_COLUMNS]
    rows = []
    for number, record in enumerate(records, start=2 if name.endswith(".csv") else 1):
        where = f"{source} row {number}"
        uri = _text(record.get("uri"), where, "uri")
        if not uri:
            raise InputError(f"{where} has no uri; a manifest needs the column uri")
        uri, default_id = _resolve(uri, storage.url)
        rows.append(
            _Row(
                uri,
                _text(record.get("video_id"), where, "video_id") or default_id,
                where,
                _text(record.get("subtitle"), where, "subtitle"),
                _text(record.get("language"), where, "language"),
            )
        )
    if unused:
        print(
            f"{source}: columns that are not used: {', '.join(unused)}; those of a manifest are "
            f"{', '.join(MANIFEST_COLUMNS)}",
            file=sys.stderr,
        )
    return _finish(rows, _list_parents(rows, s3))


def _text(value: Any, where: str, column: str) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise InputError(f"{where}: {column} is {value!r}, expected text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"{where}: {column} is {value!r}, which is not text in Unicode") from None
    return value


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


def _list_parents(rows: Iterable[_Row], s3: S3Settings) -> dict[str, Entry]:
    """The files of every folder that a manifest names: one listing per folder, not one question per clip."""
    listing: dict[str, Entry] = {}
    for folder in sorted({split(row.uri)[0] for row in rows}):
        listing |= _listing(folder, s3)
    return listing


def _csv_records(data: bytes, place: str) -> tuple[list[str], list[dict[str, str]]]:
    """The columns of a CSV file with a header, and its rows."""
    try:
        # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        columns, records = list(reader.fieldnames or ()), list(reader)
    except UnicodeDecodeError as error:
        raise InputError(f"{place} is not in UTF-8: {error}") from None
    except csv.Error as error:
        raise InputError(f"{place} is not a CSV file: {error}") from None
    for number, record in enumerate(records, start=2):
        # What has no column of its own stands under None: a comma in a text would cut the text there.
        if beyond := record.get(None):
            raise InputError(
                f"{place} row {number} has {len(columns) + len(beyond)} fields, its header has "
                f"{len(columns)}; a text with a comma in it must stand in double quotes"
            )
    return columns, records


def _csv_manifest(data: bytes, place: str) -> _Records:
    columns, records = _csv_records(data, place)
    if "uri" not in columns:
        raise InputError(f"{place} has no column uri; it has: {', '.join(columns) or 'nothing'}")
    return columns, list(records)


def _jsonl_manifest(data: bytes, place: str) -> _Records:
    records = []
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{place} is not in UTF-8: {error}") from None
    # Not splitlines: it also splits at characters that may stand inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                record = json.loads(line)
            except ValueError as error:
                raise InputError(f"{place} row {number} is not JSON: {error}") from None
            if not isinstance(record, dict):
                raise InputError(f"{place} row {number} is not a JSON object")
            records.append(record)
    return list(dict.fromkeys(name for record in records for name in record)), records


def _parquet_manifest(data: bytes, place: str) -> _Records:
    try:
        file = pq.ParquetFile(io.BytesIO(data))
    except pa.ArrowInvalid as error:
        raise InputError(f"{place} is not a Parquet file: {error}") from None
    columns = file.schema_arrow.names
    if "uri" not in columns:
        raise InputError(f"{place} has no column uri; it has: {', '.join(columns)}")
    return columns, file.read(columns=[name for name in MANIFEST_COLUMNS if name in columns]).to_pylist()


_READERS: dict[str, Callable[[bytes, str], _Records]] = {
    ".csv": _csv_manifest,
    ".jsonl": _jsonl_manifest,
    ".parquet": _parquet_manifest,
}


def _finish(rows: list[_Row], listing: dict[str, Entry]) -> pa.Table:
    """Look up every file and its sidecar, refuse ids that are not unique, sort."""
    first: dict[str, str] = {}
    for row in rows:
        if row.video_id in first:
            raise InputError(
                f"two clips would share the id {row.video_id!r}: {first[row.video_id]} and {row.where}; "
                "give them ids in a manifest"
            )
        first[row.video_id] = row.where
    found = [listing.get(row.uri) for row in rows]
    sidecars = [_sidecar(row, listing) for row in rows]
    spoken = [listing.get(sidecar or "") for sidecar in sidecars]
    versions = [_transcript_version(row, file) for row, file in zip(rows, spoken, strict=True)]
    table = pa.table(
        {
            "video_id": [row.video_id for row in rows],
            "uri": [row.uri for row in rows],
            "size": [entry.size if entry else None for entry in found],
            "modified": [entry.modified if entry else None for entry in found],
            "language": [row.language for row in rows],
            "transcript_version": versions,
            "subtitle": [row.subtitle for row in rows],
            "sidecar": sidecars,
        },
        schema=MANIFEST,
    )
    return table.take(pc.sort_indices(table, sort_keys=[("video_id", "ascending")]))


def _sidecar(row: _Row, listing: dict[str, Entry]) -> str | None:
    if row.subtitle is not None:
        return None
    stem = posixpath.splitext(row.uri)[0]
    return next((stem + suffix for suffix in SIDECARS if stem + suffix in listing), None)


def _transcript_version(row: _Row, sidecar: Entry | None) -> str | None:
    """Tells apart the words that a source gives: a manifest's by the text, a sidecar's by size and time."""
    file = f"{sidecar.path[-4:]} {sidecar.size} {sidecar.modified.timestamp()}" if sidecar else None
    if row.subtitle is None and row.language is None:
        return file
    given = "\0".join((row.subtitle or "", row.language or "", file or ""))
    return hashlib.blake2b(given.encode(), digest_size=8).hexdigest()
