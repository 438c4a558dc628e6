"""What decoding a video file gives, and how it is asked for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DecodeSettings:
    """frames: how many to sample; longest_side: bound in pixels, aspect kept, never enlarged."""

    frames: int = 8
    longest_side: int = 448
    jpeg_quality: int = 92
    audio: bool = True
    max_audio_s: float = 600.0
    deadline_s: float = 120.0
    memory_mib: int = 3072


@dataclass(frozen=True)
class DecodedClip:
    """One decoded file.

    duration_s, frame_times: seconds; width, height: pixels as displayed (rotation applied), before the
    bound on the longest side; fps: average frames per second; frames: JPEG; audio: FLAC, 16 kHz mono, or
    None where the file has no sound; subtitles: the text of an embedded subtitle track, or None, with its
    language where the file names one; decoder: `decord` or `pyav`, whichever read the frames.
    """

    duration_s: float
    width: int
    height: int
    fps: float
    frame_times: tuple[float, ...]
    frames: tuple[bytes, ...]
    audio: bytes | None
    subtitles: str | None
    subtitles_language: str | None
    decoder: str
