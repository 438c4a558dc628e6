"""Stretches of speech from how likely each window of a sound holds a voice."""

from collections.abc import Iterator

import numpy as np

from emo.split.segment import Segment

WINDOW_S = 0.032
# The values of Silero's own: speech begins above the first and ends below the second.
_BEGINS, _ENDS = 0.5, 0.35
# Shorter sounds are a click or a breath.
_SHORTEST_S = 0.1
# The detector wakes up one window late; a border lies better in the silence than in a word.
_MARGIN_S = 0.05


def stretches(voice: np.ndarray, silence_s: float, longest_s: float) -> list[Segment]:
    """Where somebody speaks: float [windows] of 32 ms, 0 to 1, to segments.

    Speech goes on over silences shorter than `silence_s`. What is longer than `longest_s` is cut at the
    quietest place of its middle.
    """
    found: list[tuple[int, int]] = []
    for begin, end in _spoken(voice):
        if found and (begin - found[-1][1]) * WINDOW_S < silence_s:
            found[-1] = (found[-1][0], end)
        else:
            found.append((begin, end))
    length_s = len(voice) * WINDOW_S
    segments: list[Segment] = []
    for begin, end in found:
        if (end - begin) * WINDOW_S < _SHORTEST_S:
            continue
        for first, last in _bounded(voice, begin, end, int((longest_s - 2 * _MARGIN_S) / WINDOW_S)):
            start = max(first * WINDOW_S - (_MARGIN_S if first == begin else 0), 0.0)
            stop = min(last * WINDOW_S + (_MARGIN_S if last == end else 0), length_s)
            segments.append(Segment(max(start, segments[-1].end_s if segments else 0.0), stop))
    return segments


def share(voice: np.ndarray, start_s: float, end_s: float) -> float:
    """In which share of a stretch somebody speaks, 0 to 1."""
    part = voice[int(start_s / WINDOW_S) : max(int(start_s / WINDOW_S) + 1, int(end_s / WINDOW_S))]
    return float(np.mean(part >= _BEGINS)) if part.size else 0.0


def _spoken(voice: np.ndarray) -> Iterator[tuple[int, int]]:
    begin: int | None = None
    for place, value in enumerate(voice.tolist()):
        if begin is None and value >= _BEGINS:
            begin = place
        elif begin is not None and value < _ENDS:
            yield begin, place
            begin = None
    if begin is not None:
        yield begin, len(voice)


def _bounded(voice: np.ndarray, begin: int, end: int, longest: int) -> Iterator[tuple[int, int]]:
    if end - begin <= longest:
        yield begin, end
        return
    quarter = (end - begin) // 4
    middle = voice[begin + quarter : end - quarter]
    cut = begin + quarter + int(np.argmin(middle))
    yield from _bounded(voice, begin, cut, longest)
    yield from _bounded(voice, cut, end, longest)
