"""Broken copies of good files: bits flipped, bytes overwritten, pieces cut out, repeated and mixed.

The long tests take as many as EMO_TEST_MUTANTS says, drawn from the seed EMO_TEST_SEED (0 by default), so
that what one of them finds can be made again.
"""

import os
import random
from collections.abc import Callable, Sequence

COUNT = int(os.environ.get("EMO_TEST_MUTANTS", "1000"))
SEED = int(os.environ.get("EMO_TEST_SEED", "0"))

# What a reader may take for a length, a count or an offset.
_EXTREMES = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff" * 8,
)


def mutant(files: Sequence[bytes], number: int, seed: int = SEED) -> tuple[int, bytes]:
    """The broken copy of that number: which of the files it is of, and its bytes; always the same ones."""
    chance = random.Random(f"{seed} {number}")
    which = chance.randrange(len(files))
    return which, changed(files[which], files, chance)


def changed(file: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """A broken copy, perhaps with pieces of the others in it."""
    data = bytearray(file)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        chance.choice(_WAYS)(data, others, chance)
    return bytes(data)


def _flip(data: bytearray, files: Sequence[bytes], chance: random.Random) -> None:
    """Some bits, all over the file or in its head, where most of what is read as a number stands."""
    end = len(data) if chance.random() < 0.5 else min(len(data), 256)
    for _ in range(chance.choice((1, 4, 16, 128)) if end else 0):
        data[chance.randrange(end)] ^= 1 << chance.randrange(8)


def _overwrite(data: bytearray, files: Sequence[bytes], chance: random.Random) -> None:
    piece = chance.choice(_EXTREMES)
    at = chance.randrange(len(data) + 1)
    data[at : at + len(piece)] = piece


def _cut_end(data: bytearray, files: Sequence[bytes], chance: random.Random) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _cut_out(data: bytearray, files: Sequence[bytes], chance: random.Random) -> None:
    start, end = _piece(data, chance)
    del data[start:end]


def _repeat(data: bytearray, files: Sequence[bytes], chance: random.Random) -> None:
    start, end = _piece(data, chance)
    data[end:end] = data[start:end] * chance.choice((1, 1, 2, 50 if end - start < 1000 else 2))


def _splice(data: bytearray, files: Sequence[bytes], chance: random.Random) -> None:
    """The end, or a piece, of another file."""
    other = chance.choice(files)
    if chance.random() < 0.5:
        data[chance.randrange(len(data) + 1) :] = other[chance.randrange(len(other) + 1) :]
    else:
        start, end = _piece(other, chance)
        at = chance.randrange(len(data) + 1)
        data[at : at + end - start] = other[start:end]


def _piece(data: bytes | bytearray, chance: random.Random) -> tuple[int, int]:
    start = chance.randrange(len(data) + 1)
    return start, min(len(data), start + int(2 ** chance.uniform(0, 14)))


_WAYS: tuple[Callable[[bytearray, Sequence[bytes], random.Random], None], ...] = (
    _flip,
    _overwrite,
    _cut_end,
    _cut_out,
    _repeat,
    _splice,
)
