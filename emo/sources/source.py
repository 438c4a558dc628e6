"""Where clips come from: a folder, a glob, an S3 prefix, a manifest, and the layouts of CH-SIMS and MER.

Each becomes the same thing: a manifest table with one row per clip.
"""

import fnmatch
import glob
import hashlib
import os
import posixpath
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo import uses
from emo.errors import InputError
from emo.paths import S3_PREFIX, is_s3, join, on_disk, readable, split
from emo.sources.cut_names import cut_names
from emo.sources.folders import Found, is_of_system, left_out, read_through
from emo.sources.parquet import PARQUET
from emo.sources.record import MISSING, Record, check_text, is_missing, short
from emo.sources.records import SUFFIXES, is_table, load, read_records, suffix_of, tables_at
from emo.sources.sidecars import Sidecars
from emo.sources.times import END, START, piece_id, read_times
from emo.store.backend import Entry
from emo.store.local import is_folder
from emo.store.s3 import S3Settings
from emo.store.storage import Storage
from emo.store.tables import CLIPS

MANIFEST = pa.schema(
    [
        *(CLIPS.schema.field(name) for name in ("video_id", "uri", "size", "modified", "language")),
        *(CLIPS.schema.field(name) for name in ("transcript_version", START, END)),
        pa.field("subtitle", pa.string()),
        pa.field("sidecar", pa.string()),  # uri of a subtitle file beside the video
        pa.field("use", pa.string()),  # label | train | none; null: the source does not say
    ]
)

# Names of the containers that the decoder reads; what else stands in a folder is counted and said.
VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3g2", "3gp", "3gp2", "3gpp", "asf", "avi", "divx", "dv", "f4v", "flv", "gif", "ismv", "ivf"),
        *(
            "m2p",
            "m2t",
            "m2ts",
            "m4v",
            "mj2",
            "mk3d",
            "mkv",
            "mov",
            "mp4",
            "mpe",
            "mpeg",
            "mpg",
            "mts",
            "mxf",
        ),
        *("nut", "ogm", "ogv", "qt", "rm", "rmvb", "trp", "ts", "vob", "webm", "wmv"),
    )
)
MANIFEST_SUFFIXES = SUFFIXES
_TEXTS = ("uri", "video_id", "subtitle", "language")
MANIFEST_COLUMNS = (*_TEXTS, START, END, "use")
_EXPECTED = f"a folder, a glob, an s3:// prefix, a video or a manifest ({', '.join(MANIFEST_SUFFIXES)})"

# Of the second version of the data set the table has another name; its part without labels has no `label`.
CHSIMS_LABELS, CHSIMS_META = "label.csv", "meta.csv"
CHSIMS_CLIPS = "Raw/"
CHSIMS_COLUMNS = {"video_id", "clip_id", "text"}
MER_SUBTITLES = "subtitle_chieng.csv"


@dataclass(frozen=True)
class _Row:
    """One clip before its file has been looked up; `where` names the row for a person."""

    uri: str
    video_id: str
    where: str
    subtitle: str | None = None
    language: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    use: str | None = None


def read_source(source: str, s3: S3Settings | None = None) -> pa.Table:
    """The manifest of a source, sorted by video_id, in the schema MANIFEST.

    A row whose `use` is none is there so that it can be noted; its file is not looked up. A file that a
    manifest names and that is not there keeps its row, with null `size` and `modified`:
    ingest writes it as failed; so does a link in a folder that leads nowhere. Columns of a manifest that are
    not used are named on standard error. Raises InputError where the source does not exist or is a file of
    another kind, a manifest is not one, or two rows share an id, and StorageError where a folder cannot be
    read.
    """
    s3 = s3 or S3Settings()
    if not source.strip():
        raise InputError(f"the source is empty; expected {_EXPECTED}")
    if is_table(source) and not _holds_no_table(source):
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
        return _finish([_Row(str(path), path.stem, source)], _listing(split(str(path))[0], s3), [])
    if any(character in source for character in "*?["):
        return _from_glob(source)
    raise InputError(f"source {source!r} does not exist; expected {_EXPECTED}")


def _holds_no_table(source: str) -> bool:
    """Whether it is a local folder of something else, whatever its name."""
    folder = not is_s3(source) and Path(source).is_dir()
    return folder and not (suffix_of(source) == PARQUET and tables_at(source)[1])


def _from_s3(source: str, s3: S3Settings) -> pa.Table:
    """A single video, or all below a prefix. One slash at its end says no more than that it is a prefix."""
    # A bucket without a key has no name to go by.
    folder, name = split(source) if "/" in source.removeprefix(S3_PREFIX) else (source, "")
    if posixpath.splitext(name)[1].lower() in VIDEO_SUFFIXES:
        listing = _listing(folder, s3)
        if source in listing:
            return _finish([_Row(source, posixpath.splitext(name)[0], source)], listing, [])
    storage = Storage(source.removesuffix("/"), s3, exact=True)
    if storage.is_there():
        return _from_folder(storage)
    if name and Storage(folder, s3, exact=True).has(name):
        raise InputError(f"source {source!r} is no video and no manifest by its name; expected {_EXPECTED}")
    raise InputError(f"source {source!r} does not exist; expected {_EXPECTED}")


def look_up(rows: pa.Table, s3: S3Settings | None = None) -> pa.Table:
    """The manifest of rows that hold video_id, uri, subtitle, language and times, by the files as they are
    now.
    """
    found = [
        _Row(*(row[name] for name in ("uri", "video_id", "uri", "subtitle", "language", START, END)))
        for row in rows.to_pylist()
    ]
    return _finish(found, _list_parents(found, s3 or S3Settings()), [])


def _from_folder(storage: Storage) -> pa.Table:
    found = Found(storage.entries()) if storage.on_s3 else read_through(storage.url)
    entries: dict[str, Entry] = {}
    for entry in found.entries:
        if is_of_system(entry.path):
            continue
        # Odd bytes are written out, and another name may hold just that text.
        if entry.path in entries:
            raise InputError(
                f"two files would have the same path in the tables: {storage.full(entry.path)}; rename one"
            )
        entries[entry.path] = entry
    places = {path: storage.full(path) for path in entries}
    listing = {places[path]: entry for path, entry in entries.items()}
    # What is no file but looks like a video by its name gets its row, and fails: it is not passed over.
    named = sorted({*entries, *(path for path in found.unusable if not is_of_system(path))})
    videos: list[str] = []
    others: list[str] = []
    for path in named:
        (videos if is_video(path) else others).append(path)
    hidden = len(found.entries) + len(found.unusable) - len(named)
    table = _chsims_table(storage, entries)
    if table is not None:
        rows = _chsims_rows(storage, table, [path for path in videos if path.startswith(CHSIMS_CLIPS)])
        rest = [path for path in others if path != table]
        return _finish(rows, listing, rest, storage.url, hidden)
    subtitles = _mer_subtitles(storage) if MER_SUBTITLES in entries else {}
    rows = []
    for path in videos:
        # MER names clips by their file name, wherever below the folder the file stands.
        video_id = posixpath.splitext(posixpath.basename(path) if subtitles else path)[0]
        place = places.get(path) or storage.full(path)
        rows.append(_Row(place, video_id, path, *subtitles.get(video_id, (None, None))))
    rest = [path for path in others if not (subtitles and path == MER_SUBTITLES)]
    return _finish(rows, listing, rest, storage.url, hidden)


def is_video(path: str) -> bool:
    """Whether a file is a video by its name."""
    # As `splitext` has it, in a third of the time: a source has a million of them.
    stem, dot, suffix = path.rpartition(".")
    return f"{dot}{suffix.lower()}" in VIDEO_SUFFIXES and stem.rpartition("/")[2].strip(".") != ""


def _chsims_table(storage: Storage, entries: Collection[str]) -> str | None:
    """The table of CH-SIMS in a folder that has its clips; a `meta.csv` without ids of clips is none."""
    if not any(path.startswith(CHSIMS_CLIPS) for path in entries):
        return None
    if CHSIMS_LABELS in entries:
        return CHSIMS_LABELS
    if CHSIMS_META not in entries:
        return None
    columns = read_records(storage.read(CHSIMS_META), storage.full(CHSIMS_META)).columns
    return CHSIMS_META if {"video_id", "clip_id"} <= set(columns) else None


def _chsims_rows(storage: Storage, table: str, videos: list[str]) -> list[_Row]:
    """CH-SIMS: the table names the clips, `Raw/<video_id>/<clip_id>.mp4` holds them.

    A clip_id without the zeros that a spreadsheet took is found by its number; a clip that the table does not
    name is a clip all the same. Both are said.
    """
    place = storage.full(table)
    found = read_records(storage.read(table), place)
    if missing := CHSIMS_COLUMNS - set(found.columns):
        raise InputError(f"{place} has no column {', '.join(sorted(missing))}; CH-SIMS' {table} has them")
    files = {posixpath.splitext(path.removeprefix(CHSIMS_CLIPS))[0]: path for path in videos}
    named = [_chsims_name(record) for record in found.sound()]
    cut = cut_names(named, files)
    if cut:
        print(
            f"{place}: {len(cut)} clips lost the zeros in front of their numbers, as in a spreadsheet; they "
            f"were found in {CHSIMS_CLIPS} by the number, such as {cut[min(cut)]} for {min(cut)}",
            file=sys.stderr,
        )
    rows = []
    for name, record in zip(named, found.rows, strict=True):
        clip = cut.get(name, name)
        path = files.pop(clip, f"{CHSIMS_CLIPS}{clip}.mp4")
        text = _text(record.values["text"], record.where, "text")
        rows.append(_Row(storage.full(path), clip, record.where, text, "zh"))
    if files:
        print(
            f"{place} does not name {len(files)} clips that are in {CHSIMS_CLIPS}, such as {min(files)}; "
            "they are labelled too, without a text of the table",
            file=sys.stderr,
        )
    return rows + [_Row(storage.full(path), clip, path, None, "zh") for clip, path in files.items()]


def _chsims_name(record: Record) -> str:
    parts = [_text(record.values[name], record.where, name) for name in ("video_id", "clip_id")]
    if None in parts:
        raise InputError(f"{record.where} has no video_id or no clip_id; they name the clip")
    return "/".join(part.strip() for part in parts if part)


def _mer_subtitles(storage: Storage) -> dict[str, tuple[str | None, str | None]]:
    """MER: `subtitle_chieng.csv` with name, chinese, english; the clips speak Chinese."""
    place = storage.full(MER_SUBTITLES)
    found = read_records(storage.read(MER_SUBTITLES), place)
    if found.rows and not {"name", "chinese", "english"} <= set(found.columns):
        raise InputError(
            f"{place} needs the columns name, chinese, english; it has {', '.join(found.columns)}"
        )
    subtitles: dict[str, tuple[str | None, str | None]] = {}
    for record in found.sound():
        name, chinese, english = (
            _text(record.values[column], record.where, column) for column in ("name", "chinese", "english")
        )
        if name is None:
            raise InputError(f"{record.where} has no name; it names the clip")
        words = (chinese, "zh") if chinese else (english, "en")
        if subtitles.setdefault(name, words) != words:
            raise InputError(f"{record.where}: {name!r} has another text further up")
    return subtitles


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
    files = [path for path in paths if not is_folder(path)]
    kept = [path for path in files if not _is_hidden(path.relative_to(root).parts, below)]
    videos = [path for path in kept if is_video(path.name)]
    listing: dict[str, Entry] = {}
    for folder in {path.parent for path in videos}:
        listing |= _listing(str(folder), S3Settings())
    rows = [_Row(str(path), path.relative_to(root).with_suffix("").as_posix(), str(path)) for path in videos]
    rest = [path.relative_to(root).as_posix() for path in kept]
    return _finish(rows, listing, rest, str(root), len(files) - len(kept))


def _is_hidden(names: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Whether a file is of a system and the glob does not ask for it by a leading dot."""
    asked = any(part.startswith(".") for part in pattern)
    return is_of_system("/".join(names)) and not (asked and not is_of_system("/".join(names), hidden=False))


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
    storage, names = tables_at(source, s3)
    base = Storage(split(source.rstrip("/"))[0], s3, exact=True).url
    rows: list[_Row] = []
    unused: dict[str, None] = {}
    missing = 0
    for name in names:
        found = load(storage, name, MANIFEST_COLUMNS)
        if suffix_of(name) in (".csv", PARQUET) and "uri" not in found.columns:
            there = ", ".join(found.columns) or "nothing"
            raise InputError(f"{found.place} has no column uri; it has: {there}")
        unused |= dict.fromkeys(column for column in found.columns if column not in MANIFEST_COLUMNS)
        for record in found.sound():
            rows.append(_manifest_row(record, base))
            missing += sum(
                isinstance(value, str) and value.strip() in MISSING
                for column in MANIFEST_COLUMNS
                for value in [record.values.get(column)]
            )
    if missing:
        print(
            f"{source}: {missing} cells say nan, NULL, None or the like, and count as empty", file=sys.stderr
        )
    if unused:
        print(
            f"{source}: columns that are not used: {', '.join(map(repr, unused))}; those of a manifest are "
            f"{', '.join(MANIFEST_COLUMNS)}",
            file=sys.stderr,
        )
    return _finish(rows, _list_parents(rows, s3), [])


def _manifest_row(record: Record, base: str) -> _Row:
    cells = {column: _text(record.values.get(column), record.where, column) for column in _TEXTS}
    if not cells["uri"]:
        raise InputError(f"{record.where} has no uri; a manifest needs the column uri")
    uri, default_id = _resolve(cells["uri"], base)
    start_s, end_s = read_times(record.values, record.where)
    if start_s is not None:
        default_id = piece_id(default_id, start_s, end_s)
    video_id = cells["video_id"] or default_id
    use = _text(record.values.get("use"), record.where, "use")
    use = use.strip().lower() if use else None
    if use is not None and use not in uses.ALL:
        raise InputError(f"{record.where}: use is {short(use)}; expected {', '.join(uses.ALL)}, or nothing")
    return _Row(uri, video_id, record.where, cells["subtitle"], cells["language"], start_s, end_s, use)


def _text(value: Any, where: str, column: str) -> str | None:
    if is_missing(value):
        return None
    if not isinstance(value, str):
        raise InputError(f"{where}: {column} is {short(value)}, expected text")
    check_text(value, where, column)
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
    for folder in sorted({split(row.uri)[0] for row in rows if row.use != uses.NONE}):
        listing |= _listing(folder, s3)
    return listing


def _finish(
    rows: list[_Row], listing: dict[str, Entry], named: Iterable[str], place: str = "", hidden: int = 0
) -> pa.Table:
    """Look up every file and its sidecar, refuse ids that are not unique, sort; say what was left out.

    named: the files below `place` that were looked at, relative to it; hidden: how many more there are that
    belong to a system.
    """
    first: dict[str, str] = {}
    for row in rows:
        if row.video_id in first:
            raise InputError(
                f"two clips would share the id {row.video_id!r}: {first[row.video_id]} and {row.where}; "
                "give them ids in a manifest"
            )
        first[row.video_id] = row.where
    shut = [row.use == uses.NONE for row in rows]
    found = [None if none else listing.get(row.uri) for row, none in zip(rows, shut, strict=True)]
    beside = Sidecars(listing, is_video)
    sidecars = [
        None if none or row.subtitle is not None else beside.of(row.uri, row.language)
        for row, none in zip(rows, shut, strict=True)
    ]
    rows = [
        replace(row, language=row.language or sidecar.language) if sidecar else row
        for row, sidecar in zip(rows, sidecars, strict=True)
    ]
    spoken = [listing.get(sidecar.uri) if sidecar else None for sidecar in sidecars]
    versions = [_transcript_version(row, file) for row, file in zip(rows, spoken, strict=True)]
    used = {sidecar.uri for sidecar in sidecars if sidecar}
    for line in left_out(place, named, hidden, used, is_video):
        print(line, file=sys.stderr)
    if beside.several:
        print(
            f"{len(set(beside.several))} clips have subtitle files in several languages, such as "
            f"{beside.several[0]}; the first by name is taken where a manifest gives no language",
            file=sys.stderr,
        )
    table = pa.table(
        {
            "video_id": [row.video_id for row in rows],
            "uri": [row.uri for row in rows],
            "size": [entry.size if entry else None for entry in found],
            "modified": [entry.modified if entry else None for entry in found],
            "language": [row.language for row in rows],
            "transcript_version": versions,
            START: [row.start_s for row in rows],
            END: [row.end_s for row in rows],
            "subtitle": [row.subtitle for row in rows],
            "sidecar": [sidecar.uri if sidecar else None for sidecar in sidecars],
            "use": [row.use for row in rows],
        },
        schema=MANIFEST,
    )
    return table.take(pc.sort_indices(table, sort_keys=[("video_id", "ascending")]))


def _transcript_version(row: _Row, sidecar: Entry | None) -> str | None:
    """Tells apart the words that a source gives: a manifest's by the text, a sidecar's by size and time."""
    file = f"{sidecar.path[-4:]} {sidecar.size} {sidecar.modified.timestamp()}" if sidecar else None
    if row.subtitle is None and row.language is None:
        return file
    given = "\0".join((row.subtitle or "", row.language or "", file or ""))
    return hashlib.blake2b(given.encode(), digest_size=8).hexdigest()
