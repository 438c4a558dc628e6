"""Recordings of speech for tests: a synthesiser's utterances with gaps between them, over noise."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile

RATE = 16_000
VOICES = ("en-us", "en-gb+f3", "en+m3")
_WORDS = (
    "please take the other chair",
    "nobody told me about the letter",
    "I waited for an hour in the rain",
    "that is the best news of the week",
    "we should have left before dinner",
    "do not touch the red button",
    "my brother never comes on time",
    "she laughed about it for days",
)


@dataclass(frozen=True)
class Spoken:
    """wave: float at 16 kHz; borders: start and end of each utterance in seconds; words: of each."""

    wave: np.ndarray
    borders: list[tuple[float, float]]
    words: list[str]


def say(text: str, voice: str, folder: Path) -> np.ndarray:
    """An utterance without the silence around it; skips the test where there is no synthesiser."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed (apt-get install espeak-ng)")
    path = folder / "utterance.wav"
    subprocess.run(["espeak-ng", "-v", voice, "-w", str(path), text], check=True)
    wave, rate = soundfile.read(path)
    wave = scipy.signal.resample_poly(wave, RATE, rate)
    loud = np.flatnonzero(np.abs(wave) > 0.02 * np.abs(wave).max())
    return wave[loud[0] : loud[-1] + 1] / np.abs(wave).max()


def recording(
    folder: Path, count: int, gaps: tuple[float, float] = (0.4, 2.0), voices: Sequence[str] = VOICES
) -> Spoken:
    """So many utterances over noise that is 20 dB below them, with gaps of so many seconds."""
    chance = np.random.default_rng(5)
    said = {
        (text, voice): say(text, voice, folder)
        for text in _WORDS
        for voice in voices[: count // len(_WORDS) + 1]
    }
    utterances = [list(said)[number % len(said)] for number in range(count)]
    parts, borders, at = [], [], 0
    for one in utterances:
        gap = round(chance.uniform(*gaps) * RATE)
        wave = said[one]
        parts += [np.zeros(gap), wave]
        borders.append(((at + gap) / RATE, (at + gap + len(wave)) / RATE))
        at += gap + len(wave)
    whole = np.concatenate([*parts, np.zeros(RATE)])
    speech = np.concatenate([said[one] for one in utterances])
    noise = chance.standard_normal(len(whole)) * np.sqrt(np.mean(speech**2)) / 10
    whole = whole + noise
    return Spoken(whole / np.abs(whole).max(), borders, [text for text, _ in utterances])
