"""What is heard in the sample clips: lines spoken by espeak-ng, and chords under a voice."""

import math
import subprocess
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pictures import FPS

LEAD_S, TAIL_S = 0.35, 0.45  # silence before and after the spoken line


@dataclass(frozen=True)
class Speech:
    """A line for espeak-ng: voice with variant, pitch 0-99, words per minute, amplitude 0-200.

    melody: how much the pitch range is widened (an SSML value such as +60%), None: not at all. Chinese needs
    the voice `cmn-latn-pinyin`: Debian's `cmn` spells the pinyin in English. treble_db: what is taken from
    the high tones, because the synthesizer is as bright as a person who shouts, whatever it says. full_scale:
    the loudest sample is brought to full scale, as in most sound from the web. music: chords play under the
    voice.
    """

    text: str
    voice: str
    pitch: int
    speed: int
    amplitude: int
    language: str
    melody: str | None = None
    treble_db: int = -6
    full_scale: bool = False
    music: bool = False


def speak(speech: Speech, target: Path) -> None:
    """Write the spoken line as a WAV file with silence around it."""
    line = speech.text
    arguments = [
        "-v",
        speech.voice,
        "-p",
        speech.pitch,
        "-s",
        speech.speed,
        "-a",
        speech.amplitude,
        "-w",
        target,
    ]
    if speech.melody:
        line = f'<prosody range="{speech.melody}">{line}</prosody>'
        arguments.append("-m")
    run(["espeak-ng", *arguments, line])
    dimmed = target.with_suffix(".dimmed.wav")
    filters = f"treble=g={speech.treble_db}:f=1500:width_type=o:width=2"
    run(["ffmpeg", "-v", "error", "-y", "-i", target, "-af", filters, "-c:a", "pcm_s16le", dimmed])
    with wave.open(str(dimmed)) as reader:
        rate = reader.getframerate()
        sound = np.frombuffer(reader.readframes(reader.getnframes()), np.int16).astype(float)
    if speech.music:
        sound = sound + 0.15 * np.max(np.abs(sound)) * chords(len(sound), rate)
    if speech.full_scale:
        sound = sound * (32_000 / np.max(np.abs(sound)))
    samples = np.clip(sound, -32_768, 32_767).astype("<i2").tobytes()
    with wave.open(str(target), "wb") as writer:
        writer.setparams((1, 2, rate, 0, "NONE", ""))
        writer.writeframes(bytes(2 * round(LEAD_S * rate)) + samples + bytes(2 * round(TAIL_S * rate)))


def chords(count: int, rate: int) -> np.ndarray:
    """Three chords that follow each other every second: [count], at most 1."""
    time = np.arange(count) / rate
    sound = np.zeros(count)
    for index, chord in enumerate(((220.0, 277.2, 329.6), (196.0, 246.9, 293.7), (174.6, 220.0, 261.6))):
        now = np.floor(time) % 3 == index
        sound += now * sum(np.sin(2 * np.pi * hz * part * time) / part for hz in chord for part in (1, 2, 3))
    return sound / np.max(np.abs(sound))


def mouth_opening(sound: Path | None, seconds: float) -> np.ndarray:
    """How far the mouth is open in each frame, 0 to 1: the loudness of the spoken line around the frame."""
    if sound is None:
        return np.zeros(round(seconds * FPS))
    with wave.open(str(sound)) as reader:
        samples = np.frombuffer(reader.readframes(reader.getnframes()), np.int16).astype(float)
        per_frame = reader.getframerate() / FPS
    count = math.ceil(len(samples) / per_frame)
    level = np.array(
        [
            np.sqrt(np.mean(samples[round(i * per_frame) : round((i + 1) * per_frame)] ** 2))
            for i in range(count)
        ]
    )
    level = np.convolve(np.pad(level, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    return np.clip(level / np.percentile(level, 95), 0, 1)


def run(command: list[object]) -> None:
    subprocess.run([str(part) for part in command], check=True)
