"""Without the loop filter the frames are of the same moments and rougher."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from emo.media.decode import decode_file
from emo.media.decoded import DecodedClip, DecodeSettings
from emo.media.recording import Recording

FILTERED = DecodeSettings(audio=False, jpeg_quality=100)
ROUGH = replace(FILTERED, loop_filter=False)
X264 = ("-c:v", "libx264", "-preset", "fast", "-crf", "30")


def picture(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)


def whole(path: str, settings: DecodeSettings) -> DecodedClip:
    return decode_file(path, settings)


def part(path: str, settings: DecodeSettings) -> DecodedClip:
    recording = Recording(path)
    try:
        return recording.piece(0.4, 1.6, settings)
    finally:
        recording.close()


@pytest.mark.parametrize("read", [whole, part])
def test_without_the_loop_filter_the_frames_are_of_the_same_moments_and_rougher(clip, read) -> None:
    path = str(clip("rough.mp4", video=X264, sounds=[]))
    filtered, rough = read(path, FILTERED), read(path, ROUGH)
    assert rough.frame_times == filtered.frame_times
    pairs = [(picture(one), picture(other)) for one, other in zip(filtered.frames, rough.frames, strict=True)]
    alike = [cv2.PSNR(*pair) for pair in pairs]
    assert min(alike) > 25
    assert max(alike) < 60
