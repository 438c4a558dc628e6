"""Windows of one length, whatever happens in them."""

from collections.abc import Iterator

from emo.split.segment import Segment


def windows(length_s: float, window_s: float, step_s: float) -> Iterator[Segment]:
    """Windows of a recording, one every `step_s`; the last one ends with the recording."""
    number = 0
    while (start := number * step_s) < length_s:
        yield Segment(start, min(start + window_s, length_s))
        if start + window_s >= length_s:
            return
        number += 1


def even(start_s: float, end_s: float, longest_s: float) -> Iterator[Segment]:
    """A stretch in as few equal parts as are at most `longest_s` long."""
    parts = max(1, -(-(end_s - start_s - 0.001) // longest_s))
    step = (end_s - start_s) / parts
    for number in range(int(parts)):
        last = number == parts - 1
        yield Segment(start_s + number * step, end_s if last else start_s + (number + 1) * step)
