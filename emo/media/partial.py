"""A local file of which not all is there yet. Who reads it in the sandbox asks the parent for the rest.

So the decoder process needs no network and no credentials, and what was fetched once is read from the disk.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from emo.store.seeking import Seeking

Span = tuple[int, int]
"""Where bytes begin and where they end, the end not included."""


@dataclass(frozen=True)
class Partial:
    """The path of such a file, which has its full length from the beginning."""

    path: str


File = str | Partial
"""A file that is all there, by its path, or one that is filled while it is read."""


@dataclass(frozen=True)
class Wanted:
    """What the decoder process says when it needs these bytes; the answer is the Span that is there then."""

    start: int
    end: int


_ask: Callable[[int, int], Span] | None = None


def asking(ask: Callable[[int, int], Span]) -> None:
    """From now on this process asks so for bytes that are missing."""
    global _ask
    _ask = ask


def path_of(file: File) -> str:
    """Where it is."""
    return file if isinstance(file, str) else file.path


def opened_bytes(file: File) -> BinaryIO:
    """The bytes of a file, for random reads."""
    return Path(file).open("rb") if isinstance(file, str) else cast(BinaryIO, _Filled(file.path))


class _Filled(Seeking):
    """A file that is filled where it is read."""

    def __init__(self, path: str) -> None:
        self.name = path
        self._handle = os.open(path, os.O_RDONLY)
        self._size = os.fstat(self._handle).st_size
        self._place = 0
        self._there: Span = (0, 0)

    def readinto(self, buffer: Any) -> int:
        start, end = self._place, min(self._place + len(buffer), self._size)
        if start >= end:
            return 0
        if not self._there[0] <= start < end <= self._there[1]:
            if _ask is None:
                raise RuntimeError(f"{self.name} is filled by nobody in this process")
            self._there = _ask(start, end)
        data = os.pread(self._handle, end - start, start)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            os.close(self._handle)
        super().close()
