"""Clips made of noise and tones, as rows of the clips table hold them."""

import io
import random

import numpy as np
import soundfile
from PIL import Image

from emo.experts.protocol import Clip


def clip(
    number: int,
    *,
    frames: int = 8,
    size: tuple[int, int] = (96, 72),
    seconds: float = 2.0,
    sound: bool = True,
    transcript: str | None = "What a day.",
) -> Clip:
    """One clip that depends on its number alone; size: width and height of its frames."""
    random_numbers = np.random.default_rng(number)
    pictures = []
    base = random_numbers.integers(0, 255, (6, 8, 3))
    for _ in range(frames):
        coarse = np.clip(base + random_numbers.integers(-60, 60, base.shape), 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize(size).save(buffer, "JPEG", quality=92)
        pictures.append(buffer.getvalue())
    return Clip(
        video_id=f"clip-{number}",
        frames=tuple(pictures),
        frame_times=tuple(seconds * place / max(frames, 1) for place in range(frames)),
        audio=flac(number, seconds) if sound else None,
        transcript=transcript,
        language="en",
        duration_s=seconds,
    )


def flac(number: int, seconds: float) -> bytes:
    """A tone with noise, 16 kHz mono."""
    random_numbers = np.random.default_rng(number)
    times = np.arange(int(seconds * 16000)) / 16000
    wave = 0.3 * np.sin(2 * np.pi * (200 + 40 * number) * times) + 0.05 * random_numbers.standard_normal(
        len(times)
    )
    buffer = io.BytesIO()
    soundfile.write(buffer, wave.astype(np.float32), 16000, format="FLAC")
    return buffer.getvalue()


def mixed(count: int, seed: int = 0) -> list[Clip]:
    """Clips of mixed frame counts, sizes and lengths."""
    chosen = random.Random(seed)
    return [
        clip(
            number,
            frames=chosen.choice([2, 3, 6, 8, 12]),
            size=chosen.choice([(96, 72), (72, 128), (64, 64)]),
            seconds=chosen.choice([0.7, 1.3, 2.5, 4.0]),
        )
        for number in range(count)
    ]
