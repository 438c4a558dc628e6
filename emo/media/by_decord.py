"""The reader of frames that can be chosen beside PyAV: decord, for the files that it reads right.

It is chosen and not taken by itself, since decord 0.6 (FFmpeg 4.1 inside) wins for no codec: it scales every
frame, leaves none out, and reads a file from end to end before the first one (`benchmarks/decode.py`). It was
compared frame by frame with PyAV 18 (FFmpeg 8). It gives wrong pictures or none for AVI with B-frames,
MPEG-TS, MPEG-PS, WMV, AV1, edit lists and open groups of pictures, and other colours for 10 bit. PyAV reads
those. Nor is decord asked where PyAV finds a stream broken: it reports no damage, and shows what it makes of
the rest.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from emo.media import display, frames, probe
from emo.patience import within

_CODECS = {"h264", "hevc", "mpeg4", "vp8", "vp9", "libvpx", "libvpx-vp9"}
_CONTAINERS = ("mov,", "matroska,")
_PIXELS = {"yuv420p", "yuvj420p"}
# Of two readers that count the same frames, the times differ by rounding alone.
_SAME_S = 0.002


def first_frame(path: str) -> Any:
    """The first frame that can be decoded; None: the file is of no kind that decord reads right."""
    with probe.open_container(path) as container:
        video = probe.choose(container).video
        if video is None or len(container.streams.video) > 1 or not _is_plain(container, video):
            return None
        decoder = video.codec_context
        if not container.format.name.startswith(_CONTAINERS):
            return None
        if decoder.name not in _CODECS or decoder.pix_fmt not in _PIXELS:
            return None
        frames.rewind(container, video, video.start_time or 0)
        decoded = frames.decoded(container, video, lambda packet: None)
        found = next((frame for frame, good in decoded if good), None)
    return found if found is not None and display.turn_of(found) == display.Turn() else None


def _is_plain(container: Any, video: Any) -> bool:
    """Whether no packet is to be dropped, and none is shown before the keyframe that precedes it."""
    keyframe: int | None = None
    for packet in frames.readable(container, [video]):
        if packet.size == 0:
            continue
        if packet.is_discard or packet.pts is None:
            return False
        if packet.is_keyframe:
            keyframe = packet.pts
        elif keyframe is None or packet.pts < keyframe:
            return False
    return True


def read(
    path: str, wanted: Sequence[int], times: Sequence[float], shape: display.Geometry, patience_s: float
) -> np.ndarray | None:
    """The wanted frames (N × scaled height × scaled width × 3, BGR, uint8), or None where decord fails.

    times: of all frames, seconds from the first, as the packets say; decord must count the same. It can
    hang at the end of a stream, so that it is given up after `patience_s`; its thread then stays behind.
    """
    try:
        import decord
    except ImportError:  # there are no wheels but for x86-64
        return None

    def ask() -> np.ndarray | None:
        try:
            # The smallest tolerance there is: with none, broken frames are replaced by their neighbours.
            reader = decord.VideoReader(
                f"file:{path}",
                width=shape.scaled_width,
                height=shape.scaled_height,
                num_threads=1,
                fault_tol=1e-6,
            )
            if len(reader) != len(times):
                return None
            counted = reader.get_frame_timestamp(list(range(len(reader))))[:, 0]
            if np.abs(counted - counted[0] - np.asarray(times)).max() > _SAME_S:
                return None
            return reader.get_batch(list(wanted)).asnumpy()[..., ::-1]
        except MemoryError:
            raise
        except Exception:
            # It raises half a dozen kinds; whatever it is, PyAV is asked next, and the clip says so.
            return None

    return within(patience_s, ask)
