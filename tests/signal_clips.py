"""The experts that measure, and the sample clips as they are given to them: frames, sound, words."""

import csv
import io
from dataclasses import replace
from functools import cache
from pathlib import Path

import av
import numpy as np
import soundfile
from PIL import Image

from emo import experts
from emo.errors import RowError
from emo.experts.protocol import Clip

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
HZ = 16_000


@cache
def expert(kind: str) -> experts.Expert:
    return experts.load(experts.settings_of({"name": kind, "kind": kind}))


@cache
def sample(video_id: str) -> Clip:
    """One sample clip, decoded here with PyAV: eight frames and the sound at 16 kHz."""
    with (SAMPLES / "manifest.csv").open(encoding="utf-8") as file:
        row = next(row for row in csv.DictReader(file) if row["video_id"] == video_id)
    path = str(SAMPLES / row["uri"])
    with av.open(path) as video:
        pictures = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    places = [round((index + 0.5) * len(pictures) / 8) for index in range(8)]
    audio = None
    with av.open(path) as video:
        if video.streams.audio:
            resampler = av.AudioResampler("s16", "mono", HZ)
            parts = [part for frame in video.decode(audio=0) for part in resampler.resample(frame)]
            audio = flac(np.concatenate([part.to_ndarray()[0] for part in parts]) / 32768)
    return Clip(
        video_id=video_id,
        frames=tuple(jpeg(pictures[place]) for place in places),
        frame_times=tuple(place / 25 for place in places),
        audio=audio,
        transcript=row["subtitle"] or None,
        language=row["language"] or None,
        duration_s=len(pictures) / 25,
    )


def flac(wave: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def jpeg(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def clip(**changes: object) -> Clip:
    empty = Clip("a", (), (), audio=None, transcript=None, language=None, duration_s=1.0)
    return replace(empty, **changes)  # type: ignore[arg-type]


def text_of(kind: str, one: Clip) -> str:
    [entry] = expert(kind).describe([one])
    assert not isinstance(entry, RowError)
    return entry[0].text
