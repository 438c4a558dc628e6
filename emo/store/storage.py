"""Local folders and S3 buckets behind one class; every write is atomic, every error is one line."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from emo.errors import EmoError, InputError, PlaceError, StorageError
from emo.paths import is_s3, split
from emo.store.backend import PART_SUFFIX, Backend, Entry, OtherVersionError
from emo.store.bucket import S3Prefix
from emo.store.conditions import Conditions
from emo.store.local import LocalFolder
from emo.store.ranges import WHOLE, Ranges
from emo.store.s3 import S3Settings


class Storage:
    """A folder, local or on S3: list, read, write atomically.

    All paths are relative to the root and use `/`. Raises StorageError with one line that names the place
    where it does not answer, and FileNotFoundError where a file is not there.

    exact: slashes at the end of an S3 address belong to its keys, as in `split`; a person who types one more
    means the same place. conditions: what is known of the server of S3.
    """

    def __init__(
        self,
        url: str,
        s3: S3Settings | None = None,
        *,
        exact: bool = False,
        conditions: Conditions | None = None,
    ) -> None:
        self.s3 = s3 or S3Settings()
        self.on_s3 = is_s3(url)
        self.backend: Backend = (
            S3Prefix(url, self.s3, exact=exact, conditions=conditions) if self.on_s3 else LocalFolder(url)
        )
        self.url = self.backend.url

    def __reduce__(self) -> tuple[Any, tuple[str, S3Settings, Conditions | None]]:
        # A worker writes as the process that holds the lease does.
        return _exactly, (self.url, self.s3, self.backend.known_conditions)

    def full(self, path: str) -> str:
        """The path or URL that a person can use."""
        return self.backend.full(path)

    @contextmanager
    def _asked(self, path: str) -> Iterator[Backend]:
        if ".." in path.split("/"):
            raise InputError(f"{path!r} leaves {self.url}")
        with self.errors(path):
            yield self.backend

    def check(self) -> None:
        """Raise StorageError unless the root can be listed (S3) or made and written (local)."""
        with self._asked("") as backend:
            backend.check()

    def is_there(self, prefix: str = "") -> bool:
        """Whether a folder is there; on S3: whether any key begins with it."""
        with self._asked(prefix) as backend:
            return backend.is_there(prefix)

    def entries(self, prefix: str = "", *, recursive: bool = True) -> list[Entry]:
        """All files below a folder (or right in it), sorted by path; empty where the folder is not there."""
        with self._asked(prefix) as backend:
            found = [e for e in backend.entries(prefix, recursive) if not e.path.endswith(PART_SUFFIX)]
        return sorted(found, key=lambda entry: entry.path)

    def names(self, prefix: str = "") -> list[str]:
        """The paths of all files below a folder, sorted; quicker than `entries` on a local disk."""
        with self._asked(prefix) as backend:
            return sorted(path for path in backend.names(prefix) if not path.endswith(PART_SUFFIX))

    def entry(self, path: str) -> Entry:
        """One file as it is now; raises FileNotFoundError. On S3 the time is of whole seconds."""
        with self._asked(path) as backend:
            return backend.entry(path)

    def has(self, path: str) -> bool:
        """Whether a file is there."""
        try:
            self.entry(path)
        except FileNotFoundError:
            return False
        return True

    def read(self, path: str) -> bytes:
        """The bytes of one file; raises FileNotFoundError."""
        with self._asked(path) as backend:
            return backend.read(path)

    def open(self, path: str) -> BinaryIO:
        """A file for random reads (Parquet: footer and single columns, as ranges on S3)."""
        with self._asked(path) as backend:
            return backend.open(path)

    def write(self, path: str, data: bytes) -> None:
        """Write one file atomically, over an older one if there is one."""
        with self._asked(path) as backend:
            backend.write(path, data)

    def delete(self, path: str) -> None:
        """Remove one file; nothing happens where it is not there."""
        with self._asked(path) as backend:
            backend.delete(path)

    def delete_if(self, path: str, version: str) -> bool:
        """Remove one local file if it is still that version; whether it was. S3 has no such request."""
        with self._asked(path) as backend:
            return backend.delete_if(path, version)

    def sweep(self, prefix: str, older_than_s: float, *, recursive: bool = True) -> int:
        """Remove what writers that were killed left in a local folder; how many files that were."""
        with self._asked(prefix) as backend:
            return backend.sweep(prefix, older_than_s, recursive)

    def read_versioned(self, path: str) -> tuple[bytes, str] | None:
        """The bytes of one file and the name of that version for `replace_if`; None where it is not there."""
        try:
            with self._asked(path) as backend:
                return backend.read_versioned(path)
        except FileNotFoundError:
            return None

    def replace_if(self, path: str, version: str | None, data: bytes) -> str | None:
        """Write only if the file is still that version (None: is not there).

        Returns the name of the version written, or None where the file is another one by now.
        Raises StorageError where `conditions` says that the server does not compare.
        """
        if not self.conditions.honoured:
            raise StorageError(f"{self.full(path)}: this server does not compare before it writes")
        try:
            with self._asked(path) as backend:
                return backend.replace_if(path, version, data)
        except (OtherVersionError, FileNotFoundError):
            # A write whose answer was lost is sent again, and the second one meets the first.
            found = self.read_versioned(path)
            return found[1] if found is not None and found[0] == data else None

    @property
    def conditions(self) -> Conditions:
        """Whether a write can depend on what is there; S3 servers differ and are asked once for each root."""
        with self._asked("") as backend:
            return backend.conditions

    @contextmanager
    def download(self, path: str) -> Iterator[str]:
        """A local path that holds the file: itself, or a temporary copy of an object of S3."""
        with ExitStack() as stack:
            with self._asked(path) as backend:
                place = stack.enter_context(backend.local(path))
            if place is None:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="emo-"))
                place = Path(folder) / ("clip" + Path(path).suffix)
                self.fetch(path, place)
            yield str(place)

    @contextmanager
    def parts(self, path: str) -> Iterator[tuple[str, Ranges | None]]:
        """As `download`, and what fills the local file where it is read; None: it is all there.

        What fills it raises what reading does, and OtherVersionError where the object is another one by now.
        """
        with ExitStack() as stack:
            with self._asked(path) as backend:
                found = backend.ranges(path)
            if found is None or found[0] <= WHOLE:
                yield stack.enter_context(self.download(path)), None
                return
            size, get = found

            def asked(start: int, end: int) -> bytes:
                with self._asked(path):
                    return get(start, end)

            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="emo-"))
            place = Path(folder) / ("clip" + Path(path).suffix)
            yield str(place), Ranges(place, size, asked)

    def fetch(self, path: str, target: Path) -> None:
        """Copy one file to a local one, without holding it in memory."""
        with self._asked(path) as backend:
            backend.fetch(path, target)

    @contextmanager
    def errors(self, path: str) -> Iterator[None]:
        """Turn what the engines below raise into one line that a person understands.

        Also for whoever reads from what `open` gave. FileNotFoundError stays what it is.
        """
        try:
            yield
        except (FileNotFoundError, EmoError) as error:
            if self.on_s3 and "bucket does not exist" in str(error):
                raise PlaceError(f"{self.url}: the bucket does not exist") from error
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.ESTALE:
                # What a network file system says of a file that another machine removed.
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.full(path)) from error
            raise self.backend.explain(self.full(path), error) from error


def _exactly(url: str, s3: S3Settings, conditions: Conditions | None) -> Storage:
    return Storage(url, s3, exact=True, conditions=conditions)


def storage_of(path: str, s3: S3Settings | None = None) -> tuple[Storage, str]:
    """The folder that a file stands in, and its name there; raises InputError where it can be no file."""
    folder, name = split(path)
    return Storage(folder, s3, exact=True), name
