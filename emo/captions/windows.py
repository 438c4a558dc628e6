"""Windows: parts of a clip, as whole per cent of its duration, that are captioned on their own."""

import io
import re
from dataclasses import dataclass, replace

from emo.errors import RowError
from emo.experts.protocol import Clip

_FORM = re.compile(r"^(\d{1,3})-(\d{1,3})$")


@dataclass(frozen=True, order=True)
class Window:
    """From `start` to `end` per cent of the clip."""

    start: int = 0
    end: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end <= 100:
            raise ValueError(f"window {self.start}-{self.end}: expected 0 <= start < end <= 100")

    @property
    def name(self) -> str:
        """As the tables write it: `0-50`."""
        return f"{self.start}-{self.end}"

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole clip."""
        return (self.start, self.end) == (0, 100)


def parse_window(text: str) -> Window:
    """The window of a name such as `0-50`; raises ValueError."""
    found = _FORM.match(text)
    if found is None:
        raise ValueError(f"window {text!r}: expected per cent of the clip, such as 0-50")
    return Window(int(found[1]), int(found[2]))


def frame_places(window: Window, frames: int) -> list[int]:
    """Which of a clip's frames a window holds: frames stand at the centres of equal parts of the clip."""
    return [
        place
        for place in range(frames)
        if window.start * 2 * frames <= 100 * (2 * place + 1) < window.end * 2 * frames
    ]


def cut(clip: Clip, window: Window) -> Clip:
    """The part of the clip that the window holds, under an id of its own.

    The transcript stays whole: no times are known for its words. Raises RowError `empty_window` where no
    frame falls into the window, `bad_audio` where the sound cannot be decoded.
    """
    if window.is_whole:
        return clip
    places = frame_places(window, len(clip.frames))
    if not places:
        raise RowError("empty_window", f"none of {len(clip.frames)} frames is within {window.name} %")
    start = clip.duration_s * window.start / 100
    return replace(
        clip,
        # The id decides an expert's random numbers: two windows of a clip are two draws.
        video_id=f"{clip.video_id}#{window.name}",
        frames=tuple(clip.frames[place] for place in places),
        frame_times=tuple(max(0.0, clip.frame_times[place] - start) for place in places),
        audio=None if clip.audio is None else cut_audio(clip.audio, window),
        duration_s=clip.duration_s * (window.end - window.start) / 100,
    )


def cut_audio(flac: bytes, window: Window) -> bytes:
    """The part of a FLAC file that the window holds, sample for sample; raises RowError `bad_audio`."""
    if window.is_whole:
        return flac
    import soundfile

    try:
        wave, rate = soundfile.read(io.BytesIO(flac), dtype="int16")
    except soundfile.LibsndfileError as error:
        raise RowError("bad_audio", f"the sound cannot be decoded: {error}") from error
    part = wave[len(wave) * window.start // 100 : len(wave) * window.end // 100]
    if not len(part):
        raise RowError("bad_audio", f"no sound is within {window.name} %")
    buffer = io.BytesIO()
    soundfile.write(buffer, part, rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
