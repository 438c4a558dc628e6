"""A piece of a recording before it is a row, and what is done to pieces whatever found them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from emo.split.settings import Split


@dataclass(frozen=True)
class Segment:
    """Seconds from the first frame; text, speaker: of subtitles.

    Where it is known: speech_share: in which share of it somebody speaks, 0 to 1; music: its sound is music
    without speech; people: faces in its middle frames; light: how bright they are, 0 to 1.
    """

    start_s: float
    end_s: float
    text: str | None = None
    speaker: str | None = None
    speech_share: float | None = None
    music: bool | None = None
    people: int | None = None
    light: float | None = None

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


def reason_to_leave_out(one: Segment, settings: Split) -> str | None:
    """Why a piece is left out; None: it is kept. What is not known of a piece is no reason."""
    # A part of a millisecond is what rounding makes of a time.
    if one.length_s < settings.shortest_s - 0.001:
        return f"shorter than {settings.shortest_s:g} s"
    if one.length_s > settings.longest_s + 0.001:
        return f"longer than {settings.longest_s:g} s"
    least, share = settings.least_speech, one.speech_share
    if least is not None and share is not None and share < least:
        return f"speech in less than {least:.0%} of it"
    if one.music and settings.without_music:
        return "music without speech"
    if settings.least_light is not None and one.light is not None and one.light < settings.least_light:
        return f"darker than {settings.least_light:g}"
    fewest, most, people = settings.fewest_faces, settings.most_faces, one.people
    if fewest is not None and people is not None and people < fewest:
        return "no face" if fewest == 1 else f"fewer than {fewest} faces"
    if most is not None and people is not None and people > most:
        return "more than 1 face" if most == 1 else f"more than {most} faces"
    return None
