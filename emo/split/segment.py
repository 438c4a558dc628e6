"""A piece of a recording before it is a row, and what is done to pieces whatever found them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise


@dataclass(frozen=True)
class Segment:
    """Seconds from the first frame; text, speaker: of subtitles; speech_share: 0 to 1 where known."""

    start_s: float
    end_s: float
    text: str | None = None
    speaker: str | None = None
    speech_share: float | None = None

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s


def at_cuts(segments: Sequence[Segment], cuts: Sequence[float]) -> Iterator[Segment]:
    """The segments, cut where the shot changes. Words go to the longest part: they cannot be cut by time."""
    for one in segments:
        borders = [one.start_s, *(cut for cut in cuts if one.start_s < cut < one.end_s), one.end_s]
        parts = [
            replace(one, start_s=begin, end_s=end, text=None, speaker=None)
            for begin, end in pairwise(borders)
        ]
        longest = max(parts, key=lambda part: part.length_s)
        for part in parts:
            yield replace(part, text=one.text, speaker=one.speaker) if part is longest else part


def reason_to_leave_out(one: Segment, shortest_s: float, longest_s: float, least: float | None) -> str | None:
    """Why a piece is left out; None: it is kept."""
    # A part of a millisecond is what rounding makes of a time.
    if one.length_s < shortest_s - 0.001:
        return f"shorter than {shortest_s:g} s"
    if one.length_s > longest_s + 0.001:
        return f"longer than {longest_s:g} s"
    if least is not None and one.speech_share is not None and one.speech_share < least:
        return f"speech in less than {least:.0%} of it"
    return None
