"""Making a file that every browser plays; run as a process of its own, because a bad file may crash it.

`python -m emo.review.transcode SOURCE TARGET LONGEST_SIDE` writes an MP4 with H.264 and AAC.
"""

import resource
import sys
from fractions import Fraction
from typing import Any

import av

from emo.media.probe import choose, open_container

# Containers and codecs that Chromium, Firefox and Safari all play.
_PLAYED = {
    "mp4": ({"h264"}, {"aac", "mp3"}),
    "webm": ({"vp8", "vp9"}, {"opus", "vorbis"}),
}
_PIXELS = {"yuv420p", "yuvj420p"}
_MEMORY = 4 * 2**30


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


def transcode(source: str, target: str, longest_side: int = 720) -> None:
    """Write an MP4 of the pictures (none larger than that) and the sound of a file; what is broken in it is
    left out. Raises RowError where it cannot be opened.
    """
    with (
        open_container(source) as container,
        av.open(target, "w", format="mp4", options={"movflags": "+faststart"}) as made,
    ):
        tracks = choose(container)
        pictures: Any = tracks.video and _pictures(made, tracks.video, longest_side)
        sound: Any = tracks.audio and made.add_stream("aac", rate=48_000, layout="stereo")
        resampler = av.AudioResampler("fltp", "stereo", 48_000)
        for packet in container.demux([one for one in (tracks.video, tracks.audio) if one]):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue
            for frame in frames:
                if packet.stream.type == "video":
                    frame = frame.reformat(pictures.width, pictures.height, "yuv420p")
                    frame.pict_type = 0
                    made.mux(pictures.encode(frame))
                else:
                    for piece in resampler.resample(frame):
                        made.mux(sound.encode(piece))
        for stream in (pictures, sound):
            if stream:
                made.mux(stream.encode())


def _pictures(made: Any, track: Any, longest_side: int) -> Any:
    rate = track.average_rate or Fraction(25)
    stream = made.add_stream(
        "libx264", rate=min(Fraction(rate), Fraction(60)), options={"preset": "veryfast"}
    )
    scale = min(1.0, longest_side / max(track.width, track.height))
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
        transcode(sys.argv[1], sys.argv[2], int(sys.argv[3]))
