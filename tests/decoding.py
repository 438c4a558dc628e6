"""What the tests of decoding share: a file decoded or refused, and what is seen and heard in it."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from clips import (
    number_in,
)
from emo.errors import RowError
from emo.media.decode import decode_file
from emo.media.decoded import ERRORS, DecodedClip, DecodeSettings

Make = Callable[..., Path]
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-bf", "2")
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "25")
MPEG4 = ("-c:v", "mpeg4", "-q:v", "4", "-g", "25")
MP3 = ("-c:a", "libmp3lame")
OPUS = ("-c:a", "libopus")


def decode(path: Path, **settings: object) -> DecodedClip:
    return decode_file(str(path), DecodeSettings(**settings))  # type: ignore[arg-type]


def refusal(path: Path, **settings: object) -> RowError:
    with pytest.raises(RowError) as caught:
        decode(path, **settings)
    assert caught.value.code in ERRORS
    return caught.value


def sound_of(clip: DecodedClip) -> np.ndarray:
    assert clip.audio is not None
    samples, rate = soundfile.read(io.BytesIO(clip.audio))
    assert rate == 16_000
    assert samples.ndim == 1
    return samples


def onset(samples: np.ndarray) -> float:
    """Second at which it becomes loud."""
    return float(np.argmax(np.abs(samples) > 0.1)) / 16_000


def assert_every_frame_is_the_one_of_its_time(clip: DecodedClip, within_frames: int = 0) -> None:
    """For clips of 25 frames per second."""
    numbers = [number_in(jpeg) for jpeg in clip.frames]
    assert numbers == pytest.approx([round(t * 25) for t in clip.frame_times], abs=within_frames)


def joined(folder: Path, parts: list[Path]) -> Path:
    """Streams one after the other in one file, as `cat` leaves them."""
    path = folder / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path
