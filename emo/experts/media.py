"""Frames and sound of a clip as tensors for a model."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from emo.errors import RowError
from emo.experts.protocol import Clip
from emo.media.wave import read_wave

if TYPE_CHECKING:
    import numpy as np
    import torch

# The clock of the frame times that is given to a processor, in ticks per second.
_TICKS = 1000


def evenly(count: int, wanted: int) -> list[int]:
    """`wanted` places out of `count` at even distances, the first and the last among them; all if fewer."""
    if count <= wanted:
        return list(range(count))
    if wanted == 1:
        return [count // 2]
    return [round(place * (count - 1) / (wanted - 1)) for place in range(wanted)]


def frames_tensor(clip: Clip, places: Sequence[int]) -> "torch.Tensor":
    """These frames of the clip: uint8 RGB [frames, 3, height, width].

    Raises RowError `bad_frames` where one cannot be decoded or has another size than the first.
    """
    import torch

    try:
        return torch.stack(_decoded(clip, places))
    except (RuntimeError, ValueError) as error:
        raise RowError("bad_frames", f"the frames cannot be used: {error}") from error


def pictures(clip: Clip) -> "list[torch.Tensor]":
    """All frames of the clip, each of its own size: uint8 RGB [3, height, width]; raises RowError."""
    try:
        return _decoded(clip, range(len(clip.frames)))
    except (RuntimeError, ValueError) as error:
        raise RowError("bad_frames", f"the pictures cannot be used: {error}") from error


def _decoded(clip: Clip, places: Sequence[int]) -> "list[torch.Tensor]":
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    return [
        decode_jpeg(torch.frombuffer(bytearray(clip.frames[place]), dtype=torch.uint8), ImageReadMode.RGB)
        for place in places
    ]


def frame_size(clip: Clip) -> tuple[int, int]:
    """Width and height of the first frame in pixels, read from its header; (0, 0) where it has none."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(clip.frames[0])) as picture:
            return picture.size
    except (UnidentifiedImageError, OSError):
        return 0, 0


def frame_spacing(clip: Clip, places: Sequence[int]) -> float:
    """Mean seconds between neighbours of these frames; of a single frame the clip's length."""
    times = [clip.frame_times[place] for place in places]
    if len(times) > 1 and times[-1] > times[0]:
        return (times[-1] - times[0]) / (len(times) - 1)
    return clip.duration_s or 1.0


def frame_label(clip: Clip, place: int) -> str:
    """What stands before a frame that is shown as a picture."""
    return f"Frame at {clip.frame_times[place]:.1f} s:"


def video_metadata(clip: Clip, places: Sequence[int]) -> dict[str, Any]:
    """What the processor of a video is told of the times of these frames."""
    return {
        "fps": _TICKS,
        "frames_indices": [round(clip.frame_times[place] * _TICKS) for place in places],
        # What a processor takes for the rate of these frames is count / this * fps.
        "total_num_frames": max(1, round(frame_spacing(clip, places) * len(places) * _TICKS)),
    }


def audio_wave(clip: Clip) -> "np.ndarray":
    """The sound of the clip: float32 [samples] at 16 kHz.

    Raises RowError `bad_audio` where it cannot be decoded, is empty, or has another rate or more channels.
    """
    assert clip.audio is not None
    return read_wave(clip.audio)
