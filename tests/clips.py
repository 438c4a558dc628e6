"""Real video files for tests, made by ffmpeg: every frame shows its own number, every corner its colour."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import soundfile

# Corners of the picture, upright: red, green, blue, grey.
CORNERS = {
    "top_left": (200, 40, 20),
    "top_right": (30, 180, 60),
    "bottom_left": (30, 60, 200),
    "bottom_right": (128, 128, 128),
}
_BITS = 12
RATE = 48_000
# Films that were made in this process, by what they are: many tests want the same.
_made: dict[tuple[object, ...], bytes] = {}
_REMEMBERED_BYTES = 2**20


def need_ffmpeg() -> None:
    """Skips the test where there is no ffmpeg to make its files."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed (apt-get install ffmpeg)")


def ffmpeg(*arguments: str | Path) -> None:
    """Run ffmpeg; fails with what it says."""
    need_ffmpeg()
    command = ["ffmpeg", "-nostdin", "-y", "-v", "error", *map(str, arguments)]
    environment = {**os.environ, "SVT_LOG": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"


def make_clip(
    path: Path,
    seconds: float = 2.0,
    fps: int = 25,
    size: tuple[int, int] = (320, 240),
    video: Sequence[str] = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-bf", "2"),
    pixels: str = "yuv420p",
    sounds: Sequence[np.ndarray] | None = None,
    sound: Sequence[str] = ("-c:a", "aac"),
    before: Sequence[str | Path] = (),
    after: Sequence[str | Path] = (),
) -> Path:
    """Write a clip whose frame n shows n, in the format that the name of the path asks for.

    size: width, height; video, sound: encoder options; sounds: one mono track (float, 48 kHz) each, one tone
    by default, none with []; before: options of the first input; after: of the output.
    """
    need_ffmpeg()
    usual = not before and not sounds
    kind = (path.suffix, seconds, fps, size, *map(tuple, (video, sound, after)), pixels, sounds is None)
    if usual and kind in _made:
        path.write_bytes(_made[kind])
        return path
    with tempfile.TemporaryDirectory() as folder:
        inputs: list[str | Path] = []
        maps = ["-map", "0:v"]
        for number, samples in enumerate([tone(seconds)] if sounds is None else sounds):
            wave = Path(folder, f"{number}.wav")
            soundfile.write(wave, samples, RATE)
            inputs += ["-i", wave]
            maps += ["-map", f"{number + 1}:a"]
        width, height = size
        command = ["ffmpeg", "-y", "-v", "error", *before, "-f", "rawvideo", "-pix_fmt", "rgb24"]
        command += ["-s", f"{width}x{height}", "-r", str(fps), "-i", "-", *inputs, *maps, *video]
        command += ["-pix_fmt", pixels, *(sound if inputs else ()), *after, path]
        _encode(list(map(str, command)), (picture(number, size) for number in range(round(seconds * fps))))
    if usual and path.stat().st_size < _REMEMBERED_BYTES:
        _made[kind] = path.read_bytes()
    return path


def _encode(command: list[str], pictures: Iterable[np.ndarray]) -> None:
    # Written at one go: `subprocess.run` would write a few kilobytes at a time.
    with tempfile.TemporaryFile() as said:
        encoder = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=said, env={**os.environ, "SVT_LOG": "1"}
        )
        assert encoder.stdin is not None
        with suppress(BrokenPipeError), encoder.stdin as pipe:
            for image in pictures:
                pipe.write(image)
        code = encoder.wait()
        said.seek(0)
        assert code == 0, f"{' '.join(command)}\n{said.read().decode()}"


def make_slow_clip(path: Path, seconds: int = 900) -> Path:
    """Write a small clip that takes minutes to decode: hours on one screen, as a recorder leaves them.

    Only its first picture stands alone, so that whoever wants a later one decodes all of 4K before it.
    """
    rate, (width, height) = 10, (3840, 2160)
    encoder = av.CodecContext.create("mpeg4", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, rate), Fraction(rate)
    still = av.VideoFrame.from_ndarray(np.full((height * 3 // 2, width), 90, np.uint8), "yuv420p")
    packets = []
    for still.pts in range(2):
        packets += encoder.encode(still)
    first, same = (bytes(packet) for packet in [*packets, *encoder.encode(None)][:2])
    with av.open(str(path), "w") as file:
        track = file.add_stream("mpeg4", rate=rate)
        track.width, track.height, track.pix_fmt = width, height, "yuv420p"
        track.codec_context.extradata = encoder.extradata
        for number in range(seconds * rate):
            packet = av.Packet(same if number else first)
            packet.stream, packet.time_base = track, Fraction(1, rate)
            packet.pts = packet.dts = number
            packet.duration, packet.is_keyframe = 1, number == 0
            file.mux(packet)
    return path


def remuxed(source: Path, target: Path) -> Path:
    """Copy all packets into another container with PyAV, whose FFmpeg also writes mirrors into Matroska."""
    with av.open(str(source)) as file, av.open(str(target), "w") as copy:
        tracks = {track: copy.add_stream_from_template(track) for track in file.streams}
        for packet in file.demux():
            if packet.dts is not None:
                packet.stream = tracks[packet.stream]
                copy.mux(packet)
    return target


def with_channels(source: Path, target: Path, channels: int, layout: str | None) -> None:
    """Copy the film and give it a sound of so many channels, each with a beep after half a second.

    layout: their places, as FFmpeg names them; None: none are named.
    """
    wave = np.repeat(beep(2.0, 0.5)[:, None].astype(np.float32), channels, axis=1)
    with av.open(str(source)) as file, av.open(str(target), "w") as copy:
        track = file.streams.video[0]
        video = copy.add_stream_from_template(track)
        sound = copy.add_stream("pcm_s16le", rate=RATE, layout=layout or f"{channels} channels")
        for packet in file.demux(track):
            if packet.dts is not None:
                packet.stream = video
                copy.mux(packet)
        data = (wave * 32767).astype(np.int16).tobytes()
        for start in range(0, len(data), 2 * channels * 1024):
            packet = av.Packet(data[start : start + 2 * channels * 1024])
            packet.stream, packet.time_base = sound, Fraction(1, RATE)
            packet.pts = packet.dts = start // (2 * channels)
            copy.mux(packet)


def picture(number: int, size: tuple[int, int] = (320, 240)) -> np.ndarray:
    """Frame `number` (height × width × 3, RGB, uint8): coloured corners, and the number in bits of black and
    white, the highest first, on a band across the middle."""
    width, height = size
    image = _corners(size).copy()
    y = height // 2
    band = image[y - height // 8 : y + height // 8]
    for bit in range(_BITS):
        lit = number >> (_BITS - 1 - bit) & 1
        band[:, width * bit // _BITS : width * (bit + 1) // _BITS] = 255 * lit
    return image


@lru_cache(maxsize=8)
def _corners(size: tuple[int, int]) -> np.ndarray:
    width, height = size
    image = np.zeros((height, width, 3), dtype=np.uint8)
    x, y = width // 2, height // 2
    image[:y, :x], image[:y, x:], image[y:, :x], image[y:, x:] = CORNERS.values()
    return image


def shown(jpeg: bytes) -> np.ndarray:
    """The pixels of a JPEG: height × width × 3, RGB, uint8."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def number_in(jpeg: bytes) -> int:
    """The number that a frame shows."""
    image = shown(jpeg).mean(axis=2)
    height, width = image.shape
    rows = image[height * 15 // 32 : height * 17 // 32]
    lit = [rows[:, int(width * (bit + 0.5) / _BITS)].mean() > 128 for bit in range(_BITS)]
    return sum(on << (_BITS - 1 - bit) for bit, on in enumerate(lit))


def corners_in(jpeg: bytes) -> dict[str, tuple[int, int, int]]:
    """The colour of each corner of a frame."""
    image = shown(jpeg)
    height, width, _ = image.shape
    rows = {"top": slice(0, height // 4), "bottom": slice(-(height // 4), None)}
    columns = {"left": slice(0, width // 4), "right": slice(-(width // 4), None)}
    return {
        f"{row}_{column}": tuple(round(c) for c in image[rows[row], columns[column]].mean(axis=(0, 1)))
        for row in rows
        for column in columns
    }


def tone(seconds: float, hertz: float = 440.0) -> np.ndarray:
    """A sine (float, 48 kHz)."""
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)


def beep(seconds: float, at: float, length: float = 0.2) -> np.ndarray:
    """Silence with a tone in it that begins at a second (float, 48 kHz)."""
    samples = np.zeros(round(seconds * RATE))
    samples[round(at * RATE) : round((at + length) * RATE)] = tone(length, 1000.0)
    return samples


# A quarter turn each, with the clock.
TURNS = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


def turned(source: Path, target: Path, degrees: int, mirrored: bool = False) -> Path:
    """Copy an MP4 with a display matrix that turns the picture clockwise, as telephones write it.

    mirrored: left for right before the turn, as cameras do that look at the one who holds them.
    """
    across, down, over, under = TURNS[degrees]
    matrix = (-across, -down, over, under) if mirrored else (across, down, over, under)
    return with_matrix(source, target, matrix)


def with_matrix(source: Path, target: Path, matrix: tuple[float, float, float, float]) -> Path:
    """Copy an MP4 with a display matrix: where it puts a step to the right (x, y), and one down (x, y)."""
    data = bytearray(source.read_bytes())
    # The first track header is that of the video; its matrix follows 40 bytes of other fields (version 0).
    start = data.index(b"tkhd") + 44
    for place, value in zip((0, 1, 3, 4), matrix, strict=True):
        data[start + 4 * place : start + 4 * place + 4] = round(value * 65536).to_bytes(4, "big", signed=True)
    target.write_bytes(data)
    return target
