"""Hard cuts in the picture, to the frame.

A cut is a frame that differs from the one before it by much more than the frames around it do, as in the
adaptive detector of PySceneDetect. What is back as it was after a flash is no cut, and neither is a caption
or a clock: it changes a small part of the picture.
"""

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

# Frames on either side that a change is compared with, and how far a flash may reach.
AROUND = 8
# Of 255: less is no cut, whatever is around it.
_LEAST = 6.0
_TIMES = 3.0
# In a cut so much of the picture changes, by so many levels: captions and clocks fill less.
_CHANGED, _LEVELS = 0.25, 8
# What comes back after a flash is as it was but for this share of the change.
_RETURNS = 0.5


def small(frame: np.ndarray) -> np.ndarray:
    """A plane (height × width, uint8) as at most 36 rows of at most 64 means, int16."""
    height, width = frame.shape
    rows = frame[:: max(1, height // 36)][:36]
    step = max(1, width // 64)
    columns = min(64, width // step)
    return rows[:, : columns * step].reshape(len(rows), columns, step).mean(axis=2).astype(np.int16)


def cuts(frames: Iterable[tuple[float, np.ndarray]]) -> Iterator[float]:
    """When each shot but the first begins. frames: when each is shown, and its picture by `small`."""
    held: deque[tuple[float, np.ndarray, float]] = deque(maxlen=2 * AROUND + 1)
    previous: np.ndarray | None = None
    for seconds, picture in frames:
        change = 0.0 if previous is None or previous.shape != picture.shape else difference(previous, picture)
        if previous is not None and previous.shape != picture.shape:
            change = 255.0
        previous = picture
        held.append((seconds, picture, change))
        if len(held) == held.maxlen and _is_cut(list(held), AROUND):
            yield held[AROUND][0]
        elif len(held) <= 2 * AROUND and len(held) > AROUND and _is_cut(list(held), len(held) - AROUND - 1):
            yield held[len(held) - AROUND - 1][0]
    # The last frames have fewer behind them.
    rest = list(held)
    for place in range(max(1, len(rest) - AROUND), len(rest)):
        if _is_cut(rest, place):
            yield rest[place][0]


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """The mean difference of two small pictures, 0 to 255."""
    return float(np.abs(one - other).mean())


def _is_cut(held: list[tuple[float, np.ndarray, float]], place: int) -> bool:
    change = held[place][2]
    if change < _LEAST or place == 0:
        return False
    around = [one[2] for number, one in enumerate(held) if number not in (0, place)]
    if around and change < _TIMES * float(np.mean(around)) + 2.0:
        return False
    before, after = held[place - 1][1], held[place][1]
    if before.shape == after.shape and np.mean(np.abs(after - before) > _LEVELS) < _CHANGED:
        return False
    returns = [difference(before, one[1]) for one in held[place + 1 :] if one[1].shape == before.shape]
    came = [difference(after, one[1]) for one in held[: place - 1] if one[1].shape == after.shape]
    return min([*returns, *came], default=change) > _RETURNS * change
