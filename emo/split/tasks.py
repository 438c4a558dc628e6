"""What the decoder process is asked of a whole recording: small values that it calls."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from emo.media.cues import Cue
from emo.media.decoded import DecodeSettings
from emo.media.partial import File

# Of a piece, when nobody wants more than to count who is in it.
_MIDDLE_FRAMES = 3


@dataclass(frozen=True)
class Known:
    """What a recording is: its length in seconds, what its header promises, and which tracks it has."""

    length_s: float
    promised_s: float | None
    pictures: bool
    sound: bool


@dataclass(frozen=True)
class Look:
    """Open a recording."""

    path: File

    def __call__(self, settings: DecodeSettings) -> Known:
        from emo.media.recording import opened

        found = opened(self.path)
        return Known(found.length_s(), found.promised_s, found.has_pictures, found.has_sound)


@dataclass(frozen=True)
class SoundOf:
    """The sound of a stretch as FLAC; None: there is none."""

    path: File
    start_s: float
    end_s: float

    def __call__(self, settings: DecodeSettings) -> bytes | None:
        from emo.media.recording import opened

        return opened(self.path).sound(self.start_s, self.end_s)


@dataclass(frozen=True)
class MiddleFrames:
    """Some frames of a stretch as JPEG, none of sound alone."""

    path: File
    start_s: float
    end_s: float

    def __call__(self, settings: DecodeSettings) -> tuple[bytes, ...]:
        from emo.media.recording import opened

        wanted = replace(settings, frames=_MIDDLE_FRAMES, audio=False)
        return opened(self.path).piece(self.start_s, self.end_s, wanted).frames


@dataclass(frozen=True)
class CuesIn:
    """The cues of the text track in a recording, on its clock; and their language."""

    path: File

    def __call__(self, settings: DecodeSettings) -> tuple[list[Cue], str | None]:
        from emo.media.recording import opened

        return opened(self.path).cues()


@dataclass(frozen=True)
class CutsIn:
    """When the shots of a recording but the first begin."""

    path: File

    def __call__(self, settings: DecodeSettings) -> list[float]:
        from emo.media.recording import opened
        from emo.split.shots import cuts

        return list(cuts(_small_frames(opened(self.path))))


def _small_frames(recording: Any) -> Iterator[tuple[float, Any]]:
    import numpy as np

    from emo.split.shots import small

    for seconds, frame in recording.every_frame():
        # The first plane is the brightness, in all formats that films have but RGB.
        plain = frame if frame.format.is_planar and not frame.format.is_rgb else frame.reformat(format="gray")
        if plain.format.components[0].bits > 8:
            plain = frame.reformat(format="gray")
        plane = plain.planes[0]
        grey = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        yield seconds, small(grey)
