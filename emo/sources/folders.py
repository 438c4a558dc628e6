"""What stands in a source folder, links included: nothing that may be a video is passed over in silence."""

import os
import posixpath
import sys
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from pathlib import Path

import numpy as np

from emo.paths import join, on_disk, readable
from emo.sources.listing import Listing
from emo.store.local import is_folder, is_regular, list_folder, refuse_moment

# Folders of operating systems, disks and network storage: trash, previews, parts of other files. Hidden ones
# (`.Trashes`, `.git`, `._clip.mp4` of macOS) are known by their dot.
_OF_SYSTEM = frozenset(
    (
        *("__macosx", "@eadir", "#recycle", "@recycle", "@recently-snapshot", "#snapshot", "$recycle.bin"),
        *("system volume information", "recycler", "lost+found", "lost.dir"),
    )
)
_KINDS_SHOWN = 6
# The first second that a date has, and the last.
_FIRST_S = round(datetime(1, 1, 1, tzinfo=UTC).timestamp())
_LAST_S = round(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())


@dataclass
class Found:
    """files: in no order, two of odd names may have one path; unusable: what is neither file nor folder, such
    as a link that leads nowhere.

    All paths are relative to the folder that was read.
    """

    files: Listing
    unusable: Sequence[str] = ()


def read_through(root: str) -> Found:
    """Everything below a folder. Raises StorageError that names a folder which cannot be read.

    Links to folders are followed after all folders proper, in the order of their names, and each folder is
    read once: a link to one that is read anyway adds nothing, and no link leads in a circle. One to a folder
    above the root is not followed, and that is said: it would lead into everything beside the root.
    """
    paths: list[str] = []
    sizes: list[int] = []
    times: list[float] = []
    unusable: list[str] = []
    root = on_disk(root)
    cut = len(root.rstrip("/")) + 1
    seen: set[tuple[int, int]] = set()
    above = {_identity(parent) for parent in Path(os.path.realpath(root)).parents}
    folders, links = deque([root]), deque[str]()
    while folders or links:
        linked = not folders
        folder = links.popleft() if linked else folders.popleft()
        try:
            identity = _identity(folder)
        except FileNotFoundError:
            continue
        if linked and identity in above:
            print(f"{folder}: links to a folder above the source and is not followed", file=sys.stderr)
            continue
        if identity in seen:
            continue
        seen.add(identity)
        others: list[os.DirEntry[str]] = []
        for item in list_folder(folder):
            # First what nearly all are: a source has a million of them.
            if item.is_file(follow_symlinks=False) or is_regular(item):
                try:
                    stat = item.stat()
                except FileNotFoundError:
                    # Gone since its folder was read: it is not there.
                    continue
                paths.append(readable(item.path[cut:]))
                sizes.append(stat.st_size)
                times.append(stat.st_mtime)
            else:
                others.append(item)
        for item in sorted(others, key=attrgetter("name")):
            if item.is_dir(follow_symlinks=False):
                folders.append(item.path)
            elif is_folder(item.path):
                links.append(item.path)
            else:
                unusable.append(readable(item.path[cut:]))
    moments, none = moments_of(times)
    if len(none):
        refuse_moment(join(readable(root), paths[none[0]]))
    return Found(Listing.measured(paths, sizes, moments), unusable)


def moments_of(times: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Seconds since 1970 as whole microseconds (int64), to the one that `datetime.fromtimestamp` takes, and
    the places of those that are in no year of a date.
    """
    parts, whole = np.modf(np.asarray(times, dtype=np.float64))
    there = (whole >= _FIRST_S) & (whole <= _LAST_S)
    moments = np.where(there, whole, 0).astype(np.int64) * 10**6 + np.rint(parts * 1e6).astype(np.int64)
    there &= (moments >= _FIRST_S * 10**6) & (moments < (_LAST_S + 1) * 10**6)
    return moments, np.flatnonzero(~there)


def _identity(folder: str | Path) -> tuple[int, int]:
    stat = Path(folder).stat()
    return stat.st_dev, stat.st_ino


def is_of_system(path: str, *, hidden: bool = True) -> bool:
    """Whether a file belongs to an operating system or a disk by its path below the source.

    hidden: whether every hidden file and folder counts, or only those that are known.
    """
    folder, slash, name = path.rpartition("/")
    return _is_name_of_system(name, hidden) or (bool(slash) and _is_in_one_of_system(folder, hidden))


def _is_name_of_system(name: str, hidden: bool) -> bool:
    return name.lower() in _OF_SYSTEM or name.startswith("." if hidden else "._")


# Most files of a source stand in few folders.
@lru_cache(maxsize=1024)
def _is_in_one_of_system(folder: str, hidden: bool) -> bool:
    return any(_is_name_of_system(part, hidden) for part in folder.split("/"))


def left_out(
    place: str, names: Iterable[str], hidden: int, used: Collection[str], is_video: Callable[[str], bool]
) -> Iterator[str]:
    """One line that says what of a folder is no clip, nothing where all is.

    names: the files, relative to `place`; hidden: how many belong to a system; used: the subtitle files (full
    paths) that a clip has.
    """
    kinds = Counter(
        posixpath.splitext(name)[1].lower() or "no suffix"
        for name in names
        if not is_video(name) and f"{place}/{name}" not in used
    )
    said = [f"{count} {kind}" for kind, count in sorted(kinds.items(), key=lambda one: (-one[1], one[0]))]
    if len(said) > _KINDS_SHOWN:
        rest = sum(kinds.values()) - sum(int(one.split()[0]) for one in said[:_KINDS_SHOWN])
        said = [*said[:_KINDS_SHOWN], f"{rest} of {len(said) - _KINDS_SHOWN} other kinds"]
    parts = []
    if kinds:
        parts.append(f"{sum(kinds.values())} files that are no video by their name ({', '.join(said)})")
    if hidden:
        parts.append(f"{hidden} files that are hidden or of a system (._*, __MACOSX, @eaDir, .Trashes, ...)")
    if parts:
        yield f"{place}: left out: {' and '.join(parts)}"
