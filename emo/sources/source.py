"""Where clips come from: a folder, a glob, an S3 prefix, a manifest, and the layouts of CH-SIMS and MER.

Each becomes the same thing: a manifest table with one row per clip.
"""

import fnmatch
import glob
import posixpath
import sys
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from emo.errors import InputError
from emo.paths import S3_PREFIX, is_s3, on_disk, readable, split
from emo.sources.cut_names import cut_names
from emo.sources.folders import Found, is_of_system, of_system, read_through
from emo.sources.listing import Listing, together
from emo.sources.lookup import (
    VIDEO_SUFFIXES,
    Columns,
    Row,
    are_videos,
    columns_of,
    finish,
    is_video,
    listing_of,
)
from emo.sources.manifest import from_manifest
from emo.sources.parquet import PARQUET
from emo.sources.record import Record, text_of
from emo.sources.records import SUFFIXES, is_table, read_records, suffix_of, tables_at
from emo.store import planning
from emo.store.local import is_folder
from emo.store.s3 import S3Settings
from emo.store.storage import Storage

MANIFEST_SUFFIXES = SUFFIXES
_EXPECTED = f"a folder, a glob, an s3:// prefix, a video or a manifest ({', '.join(MANIFEST_SUFFIXES)})"

# Of the second version of the data set the table has another name; its part without labels has no `label`.
CHSIMS_LABELS, CHSIMS_META = "label.csv", "meta.csv"
CHSIMS_CLIPS = "Raw/"
CHSIMS_COLUMNS = {"video_id", "clip_id", "text"}
MER_SUBTITLES = "subtitle_chieng.csv"


def read_source(source: str, s3: S3Settings | None = None, carry: Sequence[str] = ()) -> pa.Table:
    """The manifest of a source, sorted by video_id, in the schema MANIFEST.

    carry: columns of a manifest, besides those that emo knows, whose cells stay with the clips.

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
        return from_manifest(source, s3, carry)
    if carry:
        raise InputError(f"ingest.carry names columns of a manifest, and source {source!r} is none")
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
        row = Row(str(path), path.stem, source)
        return finish(columns_of([row]), listing_of(split(str(path))[0], s3), [])
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
        listing = listing_of(folder, s3)
        if source in listing:
            return finish(columns_of([Row(source, posixpath.splitext(name)[0], source)]), listing, [])
    storage = Storage(source.removesuffix("/"), s3, exact=True)
    if storage.is_there():
        return _from_folder(storage)
    if name and Storage(folder, s3, exact=True).has(name):
        raise InputError(f"source {source!r} is no video and no manifest by its name; expected {_EXPECTED}")
    raise InputError(f"source {source!r} does not exist; expected {_EXPECTED}")


def _from_folder(storage: Storage) -> pa.Table:
    found = Found(Listing.of(storage.entries())) if storage.on_s3 else read_through(storage.url)
    files = found.files.without(of_system(found.files.paths)).ordered()
    _refuse_repeats(files.paths, storage)
    root = storage.full("x")[:-1]
    # What is no file but looks like a video by its name gets its row, and fails: it is not passed over.
    unusable = [path for path in found.unusable if not is_of_system(path)]
    named = pa.array(sorted({*files, *unusable}), pa.string()) if unusable else files.paths
    of_video = are_videos(named)
    videos, others = named.filter(of_video), named.filter(pc.invert(of_video)).to_pylist()
    hidden = len(found.files) + len(found.unusable) - len(named)
    known = pa.array([CHSIMS_LABELS, CHSIMS_META, MER_SUBTITLES])
    tables = set(files.paths.filter(pc.is_in(files.paths, value_set=known)).to_pylist())
    table = _chsims_table(storage, tables, files)
    if table is not None:
        clips = videos.filter(pc.starts_with(videos, CHSIMS_CLIPS)).to_pylist()
        rows = _chsims_rows(storage, table, clips)
        rest = [path for path in others if path != table]
        return finish(columns_of(rows), files.below(root), rest, storage.url, hidden)
    subtitles = _mer_subtitles(storage) if MER_SUBTITLES in tables else {}
    # MER names clips by their file name, wherever below the folder the file stands.
    names = pc.replace_substring_regex(videos, r"(?s)^.*/", "") if subtitles else videos
    columns: Columns = {
        "uri": pc.binary_join_element_wise(root, videos, ""),
        "video_id": pc.replace_substring_regex(names, r"\.[^.]*$", ""),
        "where": videos,
    }
    if subtitles:
        texts = [subtitles.get(video_id, (None, None)) for video_id in columns["video_id"].to_pylist()]
        columns |= {name: [text[at] for text in texts] for at, name in enumerate(("subtitle", "language"))}
    rest = [path for path in others if not (subtitles and path == MER_SUBTITLES)]
    return finish(columns, files.below(root), rest, storage.url, hidden)


def _refuse_repeats(paths: pa.Array, storage: Storage) -> None:
    """Raise InputError where one of these paths, which are sorted, is there twice.

    Odd bytes are written out, and another name may hold just that text.
    """
    if not planning.rises(paths):
        twice = next(one for one, other in pairwise(paths.to_pylist()) if one == other)
        raise InputError(
            f"two files would have the same path in the tables: {storage.full(twice)}; rename one"
        )


def _chsims_table(storage: Storage, tables: Collection[str], files: Iterable[str]) -> str | None:
    """The table of CH-SIMS in a folder that has its clips; a `meta.csv` without ids of clips is none.

    tables: of those that are known which ones are there.
    """
    if not tables or not any(path.startswith(CHSIMS_CLIPS) for path in files):
        return None
    if CHSIMS_LABELS in tables:
        return CHSIMS_LABELS
    if CHSIMS_META not in tables:
        return None
    columns = read_records(storage.read(CHSIMS_META), storage.full(CHSIMS_META)).columns
    return CHSIMS_META if {"video_id", "clip_id"} <= set(columns) else None


def _chsims_rows(storage: Storage, table: str, videos: list[str]) -> list[Row]:
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
        text = text_of(record.values["text"], record.where, "text")
        rows.append(Row(storage.full(path), clip, record.where, text, "zh"))
    if files:
        print(
            f"{place} does not name {len(files)} clips that are in {CHSIMS_CLIPS}, such as {min(files)}; "
            "they are labelled too, without a text of the table",
            file=sys.stderr,
        )
    return rows + [Row(storage.full(path), clip, path, None, "zh") for clip, path in files.items()]


def _chsims_name(record: Record) -> str:
    parts = [text_of(record.values[name], record.where, name) for name in ("video_id", "clip_id")]
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
            text_of(record.values[column], record.where, column) for column in ("name", "chinese", "english")
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
        names = sorted((*found.files, *found.unusable))
        paths = [root / name for name in names if _matches(tuple(name.split("/")), below)]
    else:
        # Not Path.glob: it takes no absolute pattern.
        found_here = glob.iglob(on_disk(pattern))  # noqa: PTH207
        paths = [Path(readable(name)).absolute() for name in found_here]
    files = [path for path in paths if not is_folder(path)]
    kept = [path for path in files if not _is_hidden(path.relative_to(root).parts, below)]
    videos = [path for path in kept if is_video(path.name)]
    listing = together(listing_of(str(folder), S3Settings()) for folder in {path.parent for path in videos})
    rows = [Row(str(path), path.relative_to(root).with_suffix("").as_posix(), str(path)) for path in videos]
    rest = [path.relative_to(root).as_posix() for path in kept]
    return finish(columns_of(rows), listing, rest, str(root), len(files) - len(kept))


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
