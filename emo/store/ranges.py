"""An object of S3 that is fetched in ranges, each once, into a local file: as much of it as is read."""

import math
from collections.abc import Callable
from pathlib import Path

BLOCK = 1 << 18
# What is not larger is fetched in one request.
WHOLE = 4 * BLOCK
# Who reads on and on is given so much at once at most: the time between two requests is then little.
_MOST_BLOCKS = 64


class Ranges:
    """A local file with the length of an object, filled where it is asked for.

    get: gives the bytes from a start to an end (not included), all of one version. Never more is fetched
    than the object has, and at most about twice of what is asked for, in blocks.
    """

    def __init__(self, target: Path, size: int, get: Callable[[int, int], bytes]) -> None:
        self._target = target
        self._size = size
        self._get = get
        self._there = bytearray(math.ceil(size / BLOCK))
        self._ahead = 1
        self._ended = 0
        # The file system gives room only to what is written.
        with target.open("wb") as file:
            file.truncate(size)

    def fetch(self, start: int, end: int) -> tuple[int, int]:
        """Make these bytes be there; what is there around them."""
        first, last = start // BLOCK, math.ceil(end / BLOCK)
        block = first
        while (block := self._there.find(0, block, last)) >= 0:
            self._ahead = min(2 * self._ahead, _MOST_BLOCKS) if block == self._ended else 1
            until = max(last, min(block + self._ahead, len(self._there)))
            stop = self._there.find(1, block, until)
            self._take(block, until if stop < 0 else stop)
        before, after = self._there.rfind(0, 0, first), self._there.find(0, last)
        return (before + 1) * BLOCK, self._size if after < 0 else after * BLOCK

    def _take(self, first: int, last: int) -> None:
        # A single read may be of all that is left: no more than this is held in memory.
        for block in range(first, last, _MOST_BLOCKS):
            until = min(block + _MOST_BLOCKS, last)
            data = self._get(block * BLOCK, min(until * BLOCK, self._size))
            with self._target.open("r+b") as file:
                file.seek(block * BLOCK)
                file.write(data)
            self._there[block:until] = b"\x01" * (until - block)
        self._ended = last
