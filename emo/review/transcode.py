"""Making a file that every browser plays; run as a process of its own, because a bad file may crash it.

`python -m emo.review.transcode SOURCE TARGET LONGEST_SIDE START_S END_S` writes an MP4 with H.264 and AAC; a
longest side of 0 keeps the size, and an empty end is that of the file.
"""

import math
import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av

from emo.errors import RowError
from emo.media.probe import choose, open_container
from emo.review.part import Part

# Containers and codecs that Chromium, Firefox and Safari all play.
_PLAYED = {
    "mp4": ({"h264"}, {"aac", "mp3"}),
    "webm": ({"vp8", "vp9"}, {"opus", "vorbis"}),
}
_PIXELS = {"yuv420p", "yuvj420p"}
# A seek may land behind the last picture that stands alone; then one further back is tried. A decoder of
# sound needs some packets too before what it gives is right.
_BACK_S = (0.5, 3.0, 15.0, 60.0)
# Times of manifests are rounded to milliseconds.
_ROUNDING_S = 0.001
_MEMORY = 4 * 2**30
_WHOLE = Part()


def plays(path: str) -> bool:
    """Whether browsers play a file as it is; raises RowError where it cannot be opened."""
    with open_container(path) as container:
        tracks = choose(container)
        names = set(container.format.name.split(","))
        if tracks.video is None:
            return names <= {"mp3", "wav", "flac"} or ("mp4" in names and _codec(tracks.audio) == "aac")
        family = "mp4" if "mp4" in names else "webm" if "webm" in names else ""
        pictures, sounds = _PLAYED.get(family, (set(), set()))
        # Matroska has one demuxer for .mkv, which browsers do not take, and .webm, which they do.
        fits = family != "webm" or path.lower().endswith(".webm")
        return (
            fits
            and _codec(tracks.video) in pictures
            and tracks.video.pix_fmt in _PIXELS
            and (tracks.audio is None or _codec(tracks.audio) in sounds)
        )


def _codec(track: Any) -> str:
    return str(track.codec_context.name)


def transcode(source: str, target: str, longest_side: int | None = 720, part: Part = _WHOLE) -> None:
    """Write an MP4 of the pictures (none larger than that; None: as large as they are) and the sound of a
    file, or of a part of it; what is broken in it is left out.

    Raises RowError where it cannot be opened, or has nothing of the part.
    """
    with (
        open_container(source) as container,
        av.open(target, "w", format="mp4", options={"movflags": "+faststart"}) as made,
    ):
        tracks = choose(container)
        used = [one for one in (tracks.video, tracks.audio) if one]
        lead = used[0]
        first_s = float((lead.start_time or 0) * lead.time_base)
        written = False
        pictures: Any = tracks.video and _pictures(made, tracks.video, longest_side)
        sound: Any = tracks.audio and made.add_stream("aac", rate=48_000, layout="stereo")
        resampler = av.AudioResampler("fltp", "stereo", 48_000)
        for frame in _frames(container, used, first_s + part.start_s, part, first_s):
            written = True
            if isinstance(frame, av.VideoFrame):
                frame = frame.reformat(pictures.width, pictures.height, "yuv420p")
                frame.pict_type = 0
                made.mux(pictures.encode(frame))
            else:
                for piece in resampler.resample(frame):
                    made.mux(sound.encode(piece))
        if not written:
            raise RowError("out_of_range", f"the file has nothing at {part.start_s:g} s")
        for stream in (pictures, sound):
            if stream:
                made.mux(stream.encode())


def _frames(container: Any, used: Sequence[Any], start_s: float, part: Part, first_s: float) -> Iterator[Any]:
    """The frames of the tracks within the part, on a clock that begins with it."""
    if part.start_s > 0:
        _go_to(container, used[0], start_s)
    end_s = math.inf if part.end_s is None else first_s + part.end_s
    going = {one.type for one in used}
    for frame in _decoded(container, used):
        if frame.pts is None:
            continue
        at_s = float(frame.pts * frame.time_base)
        if at_s >= end_s - _ROUNDING_S:
            going.discard("video" if isinstance(frame, av.VideoFrame) else "audio")
        elif at_s >= start_s - _ROUNDING_S:
            frame.pts = max(0, round((at_s - start_s) / float(frame.time_base)))
            yield frame
        if not going:
            return


def _go_to(container: Any, lead: Any, start_s: float) -> None:
    """Seek so that the first frame to come stands no later than that; where nothing helps, to the start."""
    for back_s in _BACK_S:
        with suppress(av.error.FFmpegError):
            container.seek(int((start_s - back_s) * av.time_base))
            first = next((frame for frame in _decoded(container, [lead])), None)
            if first is not None and first.time is not None and first.time <= start_s:
                container.seek(int((start_s - back_s) * av.time_base))
                return
    container.seek(0)


def _decoded(container: Any, used: Sequence[Any]) -> Iterator[Any]:
    """The frames of these tracks; what is broken is passed over."""
    for packet in container.demux(list(used)):
        with suppress(av.error.InvalidDataError):
            yield from packet.decode()


def _pictures(made: Any, track: Any, longest_side: int | None) -> Any:
    rate = track.average_rate or Fraction(25)
    stream = made.add_stream(
        "libx264", rate=min(Fraction(rate), Fraction(60)), options={"preset": "veryfast"}
    )
    largest = max(track.width, track.height)
    scale = min(1.0, (longest_side or largest) / largest)
    # H.264 in this form has pictures of an even size.
    stream.width, stream.height = (
        max(2, 2 * round(scale * side / 2)) for side in (track.width, track.height)
    )
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = track.time_base
    return stream


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    if sys.argv[1] == "--plays":
        print("yes" if plays(sys.argv[2]) else "no")
    else:
        source, target, side, start, end = sys.argv[1:]
        transcode(source, target, int(side) or None, Part(float(start), float(end) if end else None))
