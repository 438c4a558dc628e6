"""Files whose clock jumps: joined streams, recordings with pauses, clocks that were set anew.

The times in such a file are made one: what lies between two jumps is a piece, and each piece follows the one
before it. A jump back is one in any case. A jump forward is one where pictures and sound are both missing in
it: a picture that stands still while sound goes on is a still picture, and so is one in a file without sound,
unless the container is a stream for broadcast (MPEG-TS, MPEG-PS), whose clock anybody may set.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Shorter holes are stalls of a recorder: they keep their time.
_HOLE_S = 1.0
# So much of the time without pictures must be without sound, too.
_SHARE = 0.8
# What counts in a broadcast stream where no sound can tell.
_HOLE_ALONE_S = 10.0
# Decoding times ascend within a file; by more than this they go back only at a jump.
BACK_S = 0.5
# So many jumps are told one by one.
_TOLD = 3


class Parts:
    """Counts how often the clock of a track has jumped back, packet by packet in the order of the file."""

    def __init__(self) -> None:
        self._last: float | None = None
        self.part = 0

    def add(self, seconds: float) -> int:
        """The part that a packet with this decoding time belongs to."""
        if self._last is not None and seconds < self._last - BACK_S:
            self.part += 1
        self._last = seconds
        return self.part


@dataclass(frozen=True)
class Piece:
    """A part of a file between two jumps, in seconds of its own clock; offset: what makes the clocks one."""

    part: int
    start: float
    end: float
    offset: float


@dataclass(frozen=True)
class Timeline:
    """The pieces of a file, in order; a file without jumps has one and keeps its times."""

    pieces: tuple[Piece, ...]

    @property
    def jumps(self) -> int:
        """How often the clock jumps."""
        return len(self.pieces) - 1

    @property
    def parts(self) -> int:
        """How many stretches there are between jumps back."""
        return self.pieces[-1].part + 1

    def offset(self, part: int, seconds: float) -> float:
        """What is to be added to a time of the file, in seconds."""
        if not self.jumps:
            return 0.0
        # What comes just before a piece begins belongs to it rather than to the one before.
        place = bisect_right(
            self.pieces, (part, seconds), key=lambda piece: (piece.part, piece.start - _HOLE_S / 2)
        )
        return self.pieces[max(0, place - 1)].offset

    def note(self) -> str:
        """The jumps for a person."""
        told = []
        for before, after in zip(self.pieces, self.pieces[1:], strict=False):
            at = before.end + before.offset - (self.pieces[0].start + self.pieces[0].offset)
            told.append(f"by {after.start - before.end:+.1f} s after {at:.1f} s")
        more = f" and {len(told) - _TOLD} times more" if len(told) > _TOLD else ""
        return f"the clock of the file jumps {', '.join(told[:_TOLD])}{more}; the pieces follow each other"


@dataclass(frozen=True)
class Shown:
    """When the packets of a track begin, in seconds and in the order of the file, and their parts."""

    seconds: Sequence[float]
    parts: Sequence[int]


def timeline(pictures: Shown, sound: Shown | None, broadcast: bool) -> Timeline:
    """The pieces of a file; broadcast: it is a stream whose clock may jump without a fault."""
    seen = _by_part(pictures)
    heard = _by_part(sound) if sound is not None else []
    pieces: list[Piece] = []
    for part, times in enumerate(seen):
        if not times.size:
            continue
        notes = heard[part] if part < len(heard) else np.empty(0)
        starts = [min([*times[:1], *notes[:1]])]
        ends = []
        for begin, end in _holes(times, notes, broadcast):
            ends.append(begin)
            starts.append(end)
        ends.append(max([times[-1] + _step(times), *(notes[-1:] + _step(notes))]))
        for start, end in zip(starts, ends, strict=True):
            offset = 0.0 if not pieces else pieces[-1].end + pieces[-1].offset - start
            pieces.append(Piece(part, float(start), float(end), float(offset)))
    return Timeline(tuple(pieces))


def _by_part(shown: Shown) -> list[np.ndarray]:
    """The times of each part, ascending."""
    seconds, parts = np.asarray(shown.seconds, float), np.asarray(shown.parts, int)
    if not seconds.size:
        return []
    if not parts.any():
        return [np.sort(seconds)]
    return [np.sort(seconds[parts == part]) for part in range(int(parts.max()) + 1)]


def _step(times: np.ndarray) -> float:
    """How long a packet lasts: nothing that a container says of it, since the last one before a jump would
    last as long as the jump."""
    return float(np.median(np.diff(times))) if times.size > 1 else 0.0


def _holes(pictures: np.ndarray, sound: np.ndarray, broadcast: bool) -> list[tuple[float, float]]:
    """From when to when both pictures and sound are missing."""
    silences = _gaps(sound)
    found = []
    for begin, end in _gaps(pictures):
        both = [
            (max(begin, start), min(end, stop)) for start, stop in silences if start < end and stop > begin
        ]
        longest = max(both, key=lambda hole: hole[1] - hole[0], default=(begin, begin))
        if longest[1] - longest[0] >= max(_HOLE_S, _SHARE * (end - begin)):
            found.append(longest)
        elif broadcast and end - begin >= _HOLE_ALONE_S and not _any_between(sound, begin, end):
            found.append((begin, end))
    return found


def _gaps(times: np.ndarray) -> list[tuple[float, float]]:
    if times.size < 2:
        return []
    step = _step(times)
    apart = np.flatnonzero(np.diff(times) - step > _HOLE_S)
    return [(float(times[place] + step), float(times[place + 1])) for place in apart]


def _any_between(times: np.ndarray, begin: float, end: float) -> bool:
    return bool(np.searchsorted(times, end) > np.searchsorted(times, begin))
