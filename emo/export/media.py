"""The files of exported clips: copied whole, or cut where a clip is a part of its file."""

import posixpath
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from emo.captions.export import folder_of
from emo.errors import RowError
from emo.review.media import make
from emo.review.part import Part
from emo.store.backend import Entry
from emo.store.s3 import S3Settings
from emo.store.storage import Storage, storage_of

# What a part of a file is written as.
_PART = ".mp4"


def paths(rows: Sequence[Mapping[str, Any]], folder: str) -> dict[str, str]:
    """video_id -> where its file goes below the target."""
    return {
        row["video_id"]: f"{folder}/{folder_of(row['video_id'])}"
        + (posixpath.splitext(row["uri"] or "")[1] if row["start_s"] is None else _PART)
        for row in rows
    }


def of_clips(target: Storage, folder: str, ids: Collection[str]) -> list[str]:
    """The files below a folder that are of these clips, whatever they end with."""
    stems = {f"{folder}/{folder_of(video_id)}" for video_id in ids}
    return [path for path in target.names(folder) if posixpath.splitext(path)[0] in stems]


def copy(
    rows: Sequence[Mapping[str, Any]],
    paths: Mapping[str, str],
    target: Storage,
    s3: S3Settings,
    tell: Callable[[str], None],
) -> list[str]:
    """Copy the clips' files, but those that are there; the ids of clips whose file, or part of it, is gone.

    Raises StorageError where a place does not answer.
    """
    there = {entry.path: entry for entry in target.entries()}
    gone = []
    for row in rows:
        source, name = storage_of(row["uri"] or "", s3)
        path = paths[row["video_id"]]
        try:
            found = source.entry(name)
            if row["start_s"] is not None:
                _cut(source, name, found, row, target, path, there.get(path))
            elif path not in there or there[path].size != found.size:
                target.write(path, source.read(name))
        except FileNotFoundError:
            gone.append(row["video_id"])
        except RowError as error:
            tell(f"{row['video_id']}: {error.code}: {error.message}")
            gone.append(row["video_id"])
    if gone:
        tell(f"{len(gone)} clips are left out, their files are gone, such as {gone[0]}")
    return gone


def _cut(
    source: Storage,
    name: str,
    found: Entry,
    row: Mapping[str, Any],
    target: Storage,
    path: str,
    before: Entry | None,
) -> None:
    """Write the part of a file that a clip is, unless one is there that is newer than the file."""
    if before is not None and before.modified >= found.modified:
        return
    with source.download(name) as local, tempfile.TemporaryDirectory(prefix="emo-export-") as folder:
        made = Path(folder) / f"part{_PART}"
        make(local, str(made), None, Part(row["start_s"], row["end_s"]))
        target.write(path, made.read_bytes())
