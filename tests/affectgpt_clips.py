"""Settings and clips for the tests of the expert affectgpt."""

import io
from pathlib import Path

import av
import cv2
import numpy as np
import soundfile

from emo.experts.affectgpt import AffectGPTSettings
from emo.experts.protocol import Clip

SAMPLES = Path(__file__).parents[1] / "samples" / "clips"


def settings(files, **changes):
    given_settings = {
        "name": "affectgpt",
        "kind": "affectgpt",
        "model": str(files.llm),
        "vision": str(files.vision),
        "audio": str(files.audio),
        "checkpoint": str(files.checkpoint),
        "sees": "frame",
        "device": "cpu",
        "max_new_tokens": 24,
    }
    return AffectGPTSettings(**{**given_settings, **changes})


def noise_clip(number, **changes):
    """Eight pictures of coloured squares, seconds of tones in noise, some lines of text."""
    random = np.random.default_rng(number)
    squares = random.integers(0, 255, (8, 3, 4, 3), dtype=np.uint8)
    frames = [jpeg(picture.repeat(30, axis=0).repeat(40, axis=1)) for picture in squares]
    seconds = np.arange(int(16_000 * (0.7 + number))) / 16_000
    sound = np.sin(seconds * random.uniform(500, 5000)) * np.sin(seconds * random.uniform(2, 20))
    sound += random.normal(size=len(seconds)) * 0.1
    parts_of_clip = {
        "video_id": f"noise/{number}",
        "frames": tuple(frames),
        "frame_times": tuple(float(i) for i in range(8)),
        "audio": flac(sound * 0.3),
        "transcript": "I am so happy to see you! " * (1 + number % 4),
        "language": "en",
        "duration_s": 1.0 + number,
    }
    return Clip(**{**parts_of_clip, **changes})


def jpeg(bgr):
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def flac(samples, rate=16_000):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.asarray(samples, dtype=np.float32), rate, format="FLAC")
    return buffer.getvalue()


def sample_clip(name):
    """One of the sample clips, eight frames of it, without sound."""
    with av.open(str(SAMPLES / f"{name}.mp4")) as container:
        images = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    chosen = [images[i] for i in np.arange(0, len(images), len(images) / 8).astype(int)]
    return Clip(name, tuple(map(jpeg, chosen)), tuple(range(8)), None, "Thank you all", "en", 5.0)
