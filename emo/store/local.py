"""A folder on a disk: a file is written beside its target, flushed and renamed. It is whole or not there."""

import errno
import fcntl
import functools
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, NoReturn

from emo.errors import EmoError, InputError, StorageError
from emo.paths import has_odd_bytes, join, on_disk, readable
from emo.store.backend import LOCK_SUFFIX, PART_SUFFIX, Entry, OtherVersionError, explain_os
from emo.store.conditions import Conditions

# The lock is held for one small file; who has it for longer stands still.
LOCKED_S = 60.0


class LocalFolder:
    """A Backend on a local disk, or on one that the network brings. A lock file serialises its writers."""

    # The lock does what a server does elsewhere.
    conditions = Conditions(endpoint="", new=True, tag="quoted")
    known_conditions = conditions

    def __init__(self, path: str) -> None:
        self._root = on_disk(str(Path(on_disk(path)).absolute()))
        self.url = readable(self._root)

    def full(self, path: str) -> str:
        return join(self.url, path) if path else self.url

    def _on_disk(self, path: str) -> Path:
        return Path(on_disk(join(self._root, path)) if path else self._root)

    def check(self) -> None:
        """Make the root, which must be one that can be written."""
        if has_odd_bytes(self.url) and not os.path.lexists(self._root):
            raise InputError(f"{self.url}: this name is not in UTF-8; give a new folder one that is")
        Path(self._root).mkdir(parents=True, exist_ok=True)
        if not os.access(self._root, os.W_OK):
            raise PermissionError(errno.EACCES, "not writable", self._root)

    def is_there(self, prefix: str) -> bool:
        return self._on_disk(prefix).is_dir()

    def entries(self, prefix: str, recursive: bool) -> Iterator[Entry]:
        cut = len(self._root.rstrip("/")) + 1
        for item in self._walk(prefix, recursive):
            # A file may be gone since its folder was read; then it is not there.
            with suppress(FileNotFoundError):
                yield local_entry(item, cut)

    def names(self, prefix: str) -> Iterator[str]:
        """Quicker than `entries`: no file is looked at."""
        cut = len(self._root.rstrip("/")) + 1
        return (readable(item.path[cut:]) for item in self._walk(prefix))

    def _walk(self, prefix: str, recursive: bool = True) -> Iterator[os.DirEntry[str]]:
        pending = [str(self._on_disk(prefix))]
        while pending:
            items = list_folder(pending.pop())
            # First what nearly all are.
            files = [item for item in items if item.is_file(follow_symlinks=False)]
            yield from files
            if len(files) == len(items):
                continue
            for item in items:
                # A folder behind a link is not followed: it may lead out of the root or in a circle.
                if item.is_dir(follow_symlinks=False):
                    if recursive:
                        pending.append(item.path)
                elif item.is_symlink() and is_regular(item):
                    yield item

    def entry(self, path: str) -> Entry:
        stat = self._on_disk(path).stat()
        return Entry(path, stat.st_size, _moment(stat, self.full(path)))

    def read(self, path: str) -> bytes:
        return self._on_disk(path).read_bytes()

    def open(self, path: str) -> BinaryIO:
        return self._on_disk(path).open("rb")

    def write(self, path: str, data: bytes) -> None:
        _write(self._on_disk(path), data)

    def delete(self, path: str) -> None:
        self._on_disk(path).unlink(missing_ok=True)

    def read_versioned(self, path: str) -> tuple[bytes, str]:
        data = self.read(path)
        return data, _version(data)

    def replace_if(self, path: str, version: str | None, data: bytes) -> str:
        with _locked(self._on_disk(path)):
            if self._version_now(path) != version:
                raise OtherVersionError(self.full(path))
            self.write(path, data)
            return _version(data)

    def delete_if(self, path: str, version: str) -> bool:
        with _locked(self._on_disk(path)):
            if self._version_now(path) != version:
                return False
            self.delete(path)
            return True

    def _version_now(self, path: str) -> str | None:
        try:
            return self.read_versioned(path)[1]
        except FileNotFoundError:
            return None

    def sweep(self, prefix: str, older_than_s: float, recursive: bool) -> int:
        """A writer holds a lock on its file for as long as it lives, so a file without one has none.

        It must also be older than that many seconds by the clock of its own disk: for disks that tell other
        machines nothing of a lock, and for the moment between a file and its lock.
        """
        with tempfile.TemporaryFile(dir=self._root) as fresh:
            oldest = os.fstat(fresh.fileno()).st_mtime - older_than_s
        dead = [item.path for item in self._walk(prefix, recursive) if _is_part(item)]
        return sum(_remove_dead(Path(path), oldest) for path in dead)

    @contextmanager
    def local(self, path: str) -> Iterator[Path | None]:
        """Itself; one that is not UTF-8 gets a link with a plain name: not every library can take its own."""
        place = self._on_disk(path)
        if not has_odd_bytes(readable(str(place))):
            yield place
            return
        with tempfile.TemporaryDirectory(prefix="emo-") as folder:
            link = Path(folder) / ("clip" + Path(path).suffix)
            link.symlink_to(place.resolve(strict=True))
            yield link

    def ranges(self, path: str) -> None:
        return None

    def fetch(self, path: str, target: Path) -> None:
        with self.open(path) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy)

    def explain(self, place: str, error: Exception) -> EmoError:
        return explain_os(place, error)


def _version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def list_folder(folder: str) -> list[os.DirEntry[str]]:
    """What is right in a local folder, nothing where it is not there; StorageError if it cannot be read."""
    return list(chain.from_iterable(list_in_parts(folder)))


def list_in_parts(folder: str, size: int = 10_000) -> Iterator[list[os.DirEntry[str]]]:
    """The same as lists of so many, while the folder is read."""
    try:
        with os.scandir(folder) as items:
            while part := list(islice(items, size)):
                yield part
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"{folder}: this folder cannot be read: {error.strerror}") from error


def is_regular(item: os.DirEntry[str]) -> bool:
    """Whether it is a file, or a link to one."""
    try:
        return item.is_file()
    except OSError:
        # A link that leads to itself, or into a folder that is closed.
        return False


def is_folder(path: str | Path) -> bool:
    """Whether it is a folder, or a link to one that can be looked into."""
    try:
        return Path(path).is_dir()
    except OSError:
        return False


def local_entry(item: os.DirEntry[str], cut: int) -> Entry:
    """One local file, its path without the first `cut` characters; raises FileNotFoundError."""
    stat = item.stat()
    return Entry(readable(item.path[cut:]), stat.st_size, _moment(stat, item.path))


def _moment(stat: os.stat_result, place: str) -> datetime:
    try:
        return datetime.fromtimestamp(stat.st_mtime, UTC)
    except (ValueError, OverflowError, OSError):
        refuse_moment(readable(place))


def refuse_moment(place: str) -> NoReturn:
    """Raise InputError for a file whose time of change no table can hold."""
    raise InputError(
        f"{place}: was last changed in a year that is none (9999 at most); touch the file"
    ) from None


def _write(target: Path, data: bytes) -> None:
    made = _make_folder(target.parent)
    handle, part = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=PART_SUFFIX)
    try:
        with os.fdopen(handle, "wb") as file:
            # A sign of life for `sweep`, until the file has its name; without locks its age must do.
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            # mkstemp makes files for their owner alone; a result is as readable as any other new file.
            Path(part).chmod(0o666 & ~_umask())
            Path(part).replace(target)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    # The new name too must outlive a loss of power: compaction removes files because this one is there.
    for folder in (target.parent, *made):
        _flush_folder(folder)


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder; those that got a new folder in them."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return [one.parent for one in missing]


def _flush_folder(folder: Path) -> None:
    # Some file systems refuse this for folders; they keep their names in another way.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _is_part(item: os.DirEntry[str]) -> bool:
    ours = item.name.startswith(".") and item.name.endswith(PART_SUFFIX)
    return ours and not item.name.endswith(LOCK_SUFFIX) and not item.is_symlink()


def _remove_dead(part: Path, oldest: float) -> bool:
    """Remove a file unless its writer may live; whether it was removed."""
    try:
        with part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_mtime >= oldest:
                return False
            part.unlink()
            return True
    except OSError:
        # Locked, gone by now, not ours to open, or on a disk without locks: it may be in use.
        return False


@functools.cache
def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Hold the lock of a file; raises StorageError where another process holds it for LOCKED_S."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f".{target.name}{LOCK_SUFFIX}").open("a") as file:
        deadline = time.monotonic() + LOCKED_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StorageError(
                        f"{readable(str(target))}: another process has held its lock for {LOCKED_S:.0f} s; "
                        "it may be stopped (SIGSTOP); end it, since nobody else may write the file meanwhile"
                    ) from None
                time.sleep(0.02)
        yield
