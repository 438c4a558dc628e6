"""What stands in a source folder, links included: nothing that may be a video is passed over in silence."""

import os
import posixpath
import re
import sys
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo.arrays import truths
from emo.paths import join, on_disk, readable
from emo.sources.listing import Listing
from emo.store.local import is_folder, is_regular, list_in_parts, refuse_moment

# Folders of operating systems, disks and network storage: trash, previews, parts of other files. Hidden ones
# (`.Trashes`, `.git`, `._clip.mp4` of macOS) are known by their dot.
_OF_SYSTEM = frozenset(
    (
        *("__macosx", "@eadir", "#recycle", "@recycle", "@recently-snapshot", "#snapshot", "$recycle.bin"),
        *("system volume information", "recycler", "lost+found", "lost.dir"),
    )
)
_KINDS_SHOWN = 6
# Files that are looked at together, and how many at one time: who asks waits for the system, or the network.
_LOOKED_AT, _LOOKING = 4096, 8
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
    unusable: list[str] = []
    root = on_disk(root)
    cut = len(root.rstrip("/")) + 1
    seen: set[tuple[int, int]] = set()
    above = {_identity(parent) for parent in Path(os.path.realpath(root)).parents}
    folders, links = deque([root]), deque[str]()
    with ThreadPoolExecutor(_LOOKING) as pool:
        files = _Files(pool, cut)
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
            for items in list_in_parts(folder, _LOOKED_AT):
                others += files.look_at(items)
            for item in sorted(others, key=attrgetter("name")):
                if item.is_dir(follow_symlinks=False):
                    folders.append(item.path)
                elif is_folder(item.path):
                    links.append(item.path)
                else:
                    unusable.append(readable(item.path[cut:]))
        return Found(files.listing(root), unusable)


class _Files:
    """Looks at the files of a source: their sizes and times come while the next are listed.

    A system call for each of a million files is half of what listing them takes, and on a disk that the
    network brings nearly all of it. cut: how many characters of a path are the root.
    """

    def __init__(self, pool: ThreadPoolExecutor, cut: int) -> None:
        self._pool, self._cut = pool, cut
        self._asked: deque[Future[_Measured]] = deque()
        self._known: list[_Measured] = []

    def look_at(self, items: Sequence[os.DirEntry[str]]) -> list[os.DirEntry[str]]:
        """Ask for the files among these; what is none."""
        # First what nearly all are. A link is looked at here, and what a disk does not tell the kind of.
        files = [item for item in items if item.is_file(follow_symlinks=False) or is_regular(item)]
        if len(files) < len(items):
            there = set(files)
            others = [item for item in items if item not in there]
        else:
            others = []
        self._asked.append(self._pool.submit(_measured, files, self._cut))
        # What is listed and not looked at yet is held in memory.
        while len(self._asked) > 2 * _LOOKING:
            self._known.append(self._asked.popleft().result())
        return others

    def listing(self, root: str) -> Listing:
        """All of them; raises InputError for a time that no date has. root: as the system names it."""
        each = [*self._known, *(one.result() for one in self._asked)]
        paths = pa.concat_arrays([pa.array([], pa.string()), *(one.paths for one in each)])
        sizes = pa.concat_arrays([pa.array([], pa.int64()), *(one.sizes for one in each)])
        moments, none = moments_of(np.concatenate([np.zeros(0), *(one.times for one in each)]))
        if len(none):
            refuse_moment(join(readable(root), paths[none[0]].as_py()))
        return Listing.measured(paths, sizes, moments)


@dataclass(frozen=True)
class _Measured:
    """Some files: their paths (string), sizes (int64) and times in seconds (float64)."""

    paths: pa.Array
    sizes: pa.Array
    times: np.ndarray


def _measured(items: Sequence[os.DirEntry[str]], cut: int) -> _Measured:
    try:
        stats = [item.stat() for item in items]
    except FileNotFoundError:
        # Gone since its folder was read: it is not there.
        found = [(item, stat) for item in items if (stat := _stat(item)) is not None]
        items, stats = [item for item, _ in found], [stat for _, stat in found]
    return _Measured(
        _texts([item.path[cut:] for item in items]),
        pa.array(np.array([stat.st_size for stat in stats], dtype=np.int64)),
        np.array([stat.st_mtime for stat in stats]),
    )


def _stat(item: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return item.stat()
    except FileNotFoundError:
        return None


def _texts(names: list[str]) -> pa.Array:
    """Names as the system gave them, as `readable` writes them: string."""
    # To see that all are ASCII takes no time.
    return pa.array(names if "".join(names).isascii() else map(readable, names), pa.string())


def moments_of(times: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


# What every such path matches, in upper case too, and hardly another.
_MAY_BE_OF_SYSTEM = rf"(?i)(?:^|/)(?:\.|(?:{'|'.join(map(re.escape, sorted(_OF_SYSTEM)))})(?:/|$))"


def of_system(paths: pa.Array) -> np.ndarray:
    """The places of the paths (string) that are of a system or hidden, as `is_of_system` tells: int64."""
    # Of a million files few are looked at one by one.
    maybe = np.flatnonzero(truths(pc.match_substring_regex(paths, _MAY_BE_OF_SYSTEM)))
    found = [is_of_system(path) for path in paths.take(pa.array(maybe)).to_pylist()]
    return maybe[np.array(found, dtype=bool)]


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
