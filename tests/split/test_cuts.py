"""Cuts in the picture: those that are there to the frame, none over a pan, a flash or a fade."""

import numpy as np
import pytest

from clips import ffmpeg
from emo.media.decoded import DecodeSettings
from emo.media.recording import close_all
from emo.split.fixed import even, windows
from emo.split.segment import Segment, at_cuts
from emo.split.shots import cuts, small
from emo.split.tasks import CutsIn

SIZE = (320, 180)


def scene(seed: int) -> np.ndarray:
    """A picture of blobs (height × 3 width, uint8), wider than the screen so that one can pan over it."""
    chance = np.random.default_rng(seed)
    coarse = chance.integers(20, 235, (6, 30)).astype(float)
    rows, columns = np.linspace(0, 5, SIZE[1]), np.linspace(0, 29, 3 * SIZE[0])
    across = np.array([np.interp(columns, np.arange(30), row) for row in coarse])
    return np.array([np.interp(rows, np.arange(6), column) for column in across.T]).T


def still(seed: int, frames: int) -> list[np.ndarray]:
    chance = np.random.default_rng(seed + 99)
    picture = scene(seed)[:, : SIZE[0]]
    return [picture + chance.normal(0, 3, picture.shape) for _ in range(frames)]


def raw(path, frames):
    """Write grey frames, one after the other."""
    path.write_bytes(b"".join(np.clip(frame, 0, 255).astype(np.uint8).tobytes() for frame in frames))
    return path


def film(path, frames, *encoder):
    """Make a film of 25 frames a second of a file of grey frames."""
    form = ("-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{SIZE[0]}x{SIZE[1]}", "-r", "25")
    ffmpeg(*form, "-i", frames, *encoder, path)
    return path


def cuts_in(path):
    try:
        return CutsIn(str(path))(DecodeSettings())
    finally:
        close_all()


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """Shots of many lengths, and the frame at which each ends."""
    chance = np.random.default_rng(1)
    lengths = [int(chance.integers(12, 80)) for _ in range(15)]
    frames = (frame for seed, length in enumerate(lengths) for frame in still(seed, length))
    return raw(tmp_path_factory.mktemp("shots") / "shots.raw", frames), np.cumsum(lengths)


@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("film.mp4", ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "250")),
        ("film.mkv", ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p10le", "-bf", "3")),
        (
            "film.webm",
            ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-pix_fmt", "yuv420p"),
        ),
        ("film.avi", ("-c:v", "mpeg4", "-q:v", "5", "-pix_fmt", "yuv420p")),
    ],
)
def test_every_cut_is_found_to_the_frame(name, encoder, shots, tmp_path):
    frames, ends = shots
    found = cuts_in(film(tmp_path / name, frames, *encoder))
    assert found == pytest.approx([at / 25 for at in ends[:-1]], abs=0.001)


def pan(frames: int) -> list[np.ndarray]:
    wide = scene(4)
    step = SIZE[0] * 2 // frames
    return [wide[:, step * number : step * number + SIZE[0]] for number in range(frames)]


def flash(frames: int) -> list[np.ndarray]:
    shown = still(5, frames)
    for at in (20, 21, 50):
        shown[at] = np.full_like(shown[at], 250.0)
    return shown


def fade(frames: int) -> list[np.ndarray]:
    one, other = scene(6)[:, : SIZE[0]], scene(7)[:, : SIZE[0]]
    share = np.clip(np.linspace(-0.5, 1.5, frames), 0, 1)
    return [(1 - part) * one + part * other for part in share]


def to_black(frames: int) -> list[np.ndarray]:
    light = np.abs(np.linspace(-1, 1, frames))
    picture = scene(8)[:, : SIZE[0]]
    return [part * picture for part in light]


def captions(frames: int) -> list[np.ndarray]:
    shown = still(9, frames)
    for number in range(0, frames, 20):
        for frame in shown[number : number + 10]:
            frame[140:170, 20:300] = 240.0
    return shown


@pytest.mark.parametrize("kind", [pan, flash, fade, to_black, captions, still])
def test_none_is_invented_over(kind, tmp_path):
    frames = kind(8, 100) if kind is still else kind(100)
    encoder = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
    assert cuts_in(film(tmp_path / "film.mp4", raw(tmp_path / "film.raw", frames), *encoder)) == []


def test_a_picture_is_made_small_whatever_its_size():
    for height, width in ((1, 1), (35, 63), (36, 64), (180, 320), (1080, 1920)):
        found = small(np.full((height, width), 70, np.uint8))
        assert found.shape[0] <= 36
        assert found.shape[1] <= 64
        assert (found == 70).all()
    assert list(cuts([])) == []
    assert list(cuts([(0.0, small(np.zeros((36, 64), np.uint8)))])) == []


def test_pieces_are_cut_at_shots_and_the_words_stay_with_the_longest_part():
    one = Segment(1.0, 5.0, "words", "ANNA", 0.5)
    parts = list(at_cuts([one, Segment(6.0, 7.0, "more")], [0.5, 2.0, 6.0]))
    assert [(part.start_s, part.end_s, part.text) for part in parts] == [
        (1.0, 2.0, None), (2.0, 5.0, "words"), (6.0, 7.0, "more")
    ]  # fmt: skip


def test_windows_cover_a_recording():
    assert [(one.start_s, one.end_s) for one in windows(25.0, 10.0, 10.0)] == [(0, 10), (10, 20), (20, 25)]
    assert [(one.start_s, one.end_s) for one in windows(10.0, 6.0, 3.0)] == [(0, 6), (3, 9), (6, 10)]
    assert list(windows(0.0, 10.0, 10.0)) == []
    assert [round(one.length_s, 3) for one in even(0.0, 31.0, 15.0)] == [10.333] * 3
