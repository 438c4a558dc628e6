"""What a place must be able to do so that emo can keep tables there: one protocol, a file for each kind."""

import errno
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from emo.errors import EmoError, PlaceError, StorageError, one_line
from emo.store.conditions import Conditions

# Marks files that are being written; a listing never shows them.
PART_SUFFIX = ".part"
# Of files that only serialise writers: who waits for one has it open, so it is never removed.
LOCK_SUFFIX = f".lock{PART_SUFFIX}"


class Entry(NamedTuple):
    """One file of a listing: `path` is relative to the root, `size` in bytes, `modified` in UTC.

    tag: tells versions of one size apart where S3 lists it.
    """

    path: str
    size: int
    modified: datetime
    tag: str = ""


class OtherVersionError(EmoError):
    """A conditional write was refused: the file is another one by now."""


class Backend(Protocol):
    """A folder of one kind of place. All paths are relative to its root and use `/`.

    A method raises FileNotFoundError where a file is not there, and whatever the layer below raises;
    `explain` turns that into one line. Every write is visible whole or not at all.
    """

    @property
    def url(self) -> str:
        """The root as a person names it."""

    def full(self, path: str) -> str:
        """The path or URL that a person can use."""

    def check(self) -> None:
        """Raise unless the root can be listed, and made where that is needed."""

    def is_there(self, prefix: str) -> bool:
        """Whether a folder is there; where there are no folders: whether any key begins with it."""

    def entries(self, prefix: str, recursive: bool) -> Iterable[Entry]:
        """All files below a folder, or right in it, in any order; none where the folder is not there."""

    def names(self, prefix: str) -> Iterable[str]:
        """The paths of all files below a folder, in any order."""

    def entry(self, path: str) -> Entry:
        """One file as it is now."""

    def read(self, path: str) -> bytes:
        """The bytes of one file."""

    def open(self, path: str) -> BinaryIO:
        """A file for random reads."""

    def write(self, path: str, data: bytes) -> None:
        """Write one file, over an older one if there is one."""

    def delete(self, path: str) -> None:
        """Remove one file; nothing happens where it is not there."""

    @property
    def known_conditions(self) -> Conditions | None:
        """What is known already of `conditions`, to be handed on to other processes."""

    @property
    def conditions(self) -> Conditions:
        """Whether a write can depend on what is there."""

    def read_versioned(self, path: str) -> tuple[bytes, str]:
        """The bytes of one file and the name of that version."""

    def replace_if(self, path: str, version: str | None, data: bytes) -> str:
        """Write only if the file is still that version (None: is not there); the version that was written.

        Raises OtherVersionError where it is another one; asked only where `conditions` are honoured.
        """

    def delete_if(self, path: str, version: str) -> bool:
        """Remove one file if it is still that version; whether it was."""

    def sweep(self, prefix: str, older_than_s: float, recursive: bool) -> int:
        """Remove what writers that were killed left; how many files that were."""

    def local(self, path: str) -> AbstractContextManager[Path | None]:
        """The file as a local one with a plain name, or None where it must be fetched."""

    def ranges(self, path: str) -> tuple[int, Callable[[int, int], bytes]] | None:
        """The size of a file, and how to get its bytes from a start to an end (not included), all of one
        version; None where it is a local one. What it gives raises OtherVersionError.
        """

    def fetch(self, path: str, target: Path) -> None:
        """Copy one file to a local one without holding it in memory."""

    def explain(self, place: str, error: Exception) -> EmoError:
        """What an error of the layer below means."""


def explain_os(place: str, error: Exception) -> EmoError:
    """What an error of the system means; anything else is told in its own words."""
    if isinstance(error, PermissionError):
        return StorageError(f"{place}: access is refused")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return PlaceError(f"{place}: no space left on the device")
    if isinstance(error, OSError):
        # Arrow's own ones have no number, and may have several lines.
        return StorageError(f"{place}: {error.strerror or one_line(error)}")
    return StorageError(f"{place}: {one_line(error)}")
