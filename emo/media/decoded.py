"""What decoding a video file gives, how it is asked for, and the codes of what can be wrong with a file."""

from dataclasses import dataclass

from emo.errors import CODES

# Every RowError that emo.media raises for a file has one of these codes; emo.errors.CODES explains them.
ERRORS = frozenset(code for code, said in CODES.items() if said.step == "ingest") - {"replaced"} | {
    "timeout",
    "out_of_memory",
}


@dataclass(frozen=True)
class DecodeSettings:
    """frames: how many to sample; longest_side: bound in pixels, aspect kept, never enlarged.

    jpeg_quality: 1 to 100; reader: `pyav`, or `decord` for whole files that it reads right; loop_filter:
    whether the decoder of PyAV smooths the edges of blocks, as the encoder meant it; audio: whether to read
    the sound, of which at most max_audio_s seconds from the start of the video; deadline_s: seconds for one
    file; memory_mib: resident memory of the decoder process.
    """

    frames: int = 8
    longest_side: int = 448
    jpeg_quality: int = 92
    reader: str = "pyav"
    loop_filter: bool = True
    audio: bool = True
    max_audio_s: float = 600.0
    deadline_s: float = 120.0
    memory_mib: int = 3072


@dataclass(frozen=True)
class DecodedClip:
    """One decoded file.

    duration_s: seconds of the video track, from the first frame to the end of the last, without what its
    clock jumps over; width, height: pixels as displayed (pixel aspect and rotation applied), before the bound
    on the longest side, of the first frame where the size changes; fps: average frames per second. Of a file
    with sound alone these three are None, duration_s is that of the sound, and there are no frames. frames:
    JPEG, RGB, the frames on show at the centres of N equal intervals of the duration, each one once (a clip
    with fewer frames than asked for gives those it has); frame_times: when each of them begins, in seconds
    from the first frame; audio: FLAC, 16 kHz mono, 16 bit, its first sample at the time of the first frame,
    or None where the file has no sound that can be read; subtitles: the text of an embedded subtitle track,
    or None, with its language where the file names one; decoder: what read the frames, `pyav` or `decord`;
    notes: what is missing or broken in a file that could be used all the same, one sentence each.
    """

    duration_s: float
    width: int | None
    height: int | None
    fps: float | None
    frame_times: tuple[float, ...]
    frames: tuple[bytes, ...]
    audio: bytes | None
    subtitles: str | None
    subtitles_language: str | None
    decoder: str
    notes: tuple[str, ...] = ()
