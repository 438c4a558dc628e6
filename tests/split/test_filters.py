"""What leaves a piece out: length, speech, music, light and faces, each a switch of its own."""

import numpy as np
import pytest

from clips import RATE as HIGH_RATE
from clips import ffmpeg, make_clip
from conftest import REPOSITORY
from emo.jobs.split import SplitWorker, recordings_of
from emo.sources.source import read_source
from emo.split.music import is_music
from emo.split.segment import Segment, reason_to_leave_out
from emo.split.settings import Split
from emo.store.s3 import S3Settings
from spoken import RATE, say

CLIPS = REPOSITORY / "samples" / "clips"


def split(source, **settings):
    settings = {"by": "fixed", "window_s": 4.0, "step_s": 4.0, **settings}
    rows = recordings_of(read_source(str(source)))
    return SplitWorker(Split(**settings), S3Settings(), "run")(rows).to_pylist()


@pytest.mark.parametrize(
    ("piece", "settings", "reason"),
    [
        ({}, {}, None),
        ({"end_s": 0.9}, {}, "shorter than 1 s"),
        ({"end_s": 16.0}, {}, "longer than 15 s"),
        ({"speech_share": 0.1}, {}, None),
        ({"speech_share": 0.1}, {"least_speech": 0.2}, "speech in less than 20% of it"),
        ({"speech_share": None}, {"least_speech": 0.2}, None),
        ({"music": True}, {}, None),
        ({"music": True}, {"without_music": True}, "music without speech"),
        ({"light": 0.02}, {}, None),
        ({"light": 0.02}, {"least_light": 0.05}, "darker than 0.05"),
        ({"people": 0}, {"fewest_faces": 1}, "no face"),
        ({"people": 1}, {"fewest_faces": 2}, "fewer than 2 faces"),
        ({"people": 1}, {"fewest_faces": 1, "most_faces": 1}, None),
        ({"people": 2}, {"most_faces": 1}, "more than 1 face"),
        ({"people": 4}, {"most_faces": 3}, "more than 3 faces"),
        ({"people": None}, {"fewest_faces": 1}, None),
    ],
)
def test_each_filter_is_a_switch_and_what_is_not_known_is_no_reason(piece, settings, reason):
    assert (
        reason_to_leave_out(Segment(**{"start_s": 0.0, "end_s": 5.0, **piece}), Split(**settings)) == reason
    )


def film_of(path, *clips):
    """Clips side by side, 4 s of them."""
    inputs = [part for clip in clips for part in ("-stream_loop", "-1", "-i", CLIPS / clip)]
    scaled = "".join(f"[{number}:v]scale=320:320,fps=10,setsar=1[v{number}];" for number in range(len(clips)))
    joined = "".join(f"[v{number}]" for number in range(len(clips))) + f"hstack=inputs={len(clips)}"
    graph = scaled + (joined if len(clips) > 1 else "[v0]null")
    ffmpeg(*inputs, "-filter_complex", graph, "-an", "-t", "4", "-c:v", "libx264", path)


def test_faces_in_the_middle_frames_are_counted(tmp_path):
    film_of(tmp_path / "nobody.mp4", "sea_at_dusk.mp4")
    film_of(tmp_path / "one.mp4", "portrait_welcome.mp4")
    film_of(tmp_path / "two.mp4", "portrait_welcome.mp4", "portrait_silent.mp4")
    rows = {row["recording"]: row for row in split(tmp_path, fewest_faces=1, most_faces=1)}
    assert {name: row["people"] for name, row in rows.items()} == {"nobody": 0, "one": 1, "two": 2}
    assert {name: row["reason"] for name, row in rows.items()} == {
        "nobody": "no face", "one": None, "two": "more than 1 face"
    }  # fmt: skip
    assert [row["kept"] for row in split(tmp_path, people=True)] == [True] * 3
    assert [row["people"] for row in split(tmp_path)] == [None] * 3


def test_dark_pieces_are_left_out(tmp_path):
    size = "s=160x120:r=10:d=4"
    ffmpeg("-f", "lavfi", "-i", f"color=c=0x060606:{size}", "-c:v", "libx264", tmp_path / "night.mp4")
    ffmpeg("-f", "lavfi", "-i", f"color=c=0x808080:{size}", "-c:v", "libx264", tmp_path / "day.mp4")
    rows = {row["recording"]: row for row in split(tmp_path, least_light=0.1)}
    assert rows["day"]["light"] == pytest.approx(0.5, abs=0.03)
    assert rows["night"]["light"] < 0.05
    assert {name: row["reason"] for name, row in rows.items()} == {"day": None, "night": "darker than 0.1"}


def melody(seconds, rate):
    """Chords of three tones with overtones, two a second."""
    roots = (220.0, 246.9, 261.6, 293.7, 196.0)
    parts = []
    for number in range(int(seconds * 2)):
        time = np.arange(rate // 2) / rate
        chord = sum(
            np.sin(2 * np.pi * roots[number % 5] * step * over * time) / over
            for step in (1.0, 1.25, 1.5)
            for over in (1, 2, 3)
        )
        parts.append(chord * np.exp(-2 * time))
    return 0.1 * np.concatenate(parts)


def test_music_is_told_from_noise_hum_and_silence():
    time = np.arange(6 * RATE) / RATE
    noise = np.random.default_rng(2).standard_normal(len(time))
    hum = sum(np.sin(2 * np.pi * 50 * over * time) / over for over in (1, 2, 3, 4))
    assert is_music(melody(6, RATE))
    assert is_music(melody(6, RATE) + 0.005 * noise)
    for wave in (
        noise * 0.1,
        np.cumsum(noise) * 1e-3,
        hum * 0.1,
        hum * 0.1 + noise * 0.01,
        np.zeros(len(time)),
    ):
        assert not is_music(wave)
    assert not is_music(melody(0.5, RATE))


def test_music_without_speech_is_left_out_and_speech_over_it_is_not(tmp_path):
    spoken = say("nobody told me about the letter", "en-us", tmp_path)
    again = np.tile(np.repeat(spoken, HIGH_RATE // RATE), 4)[: 4 * HIGH_RATE]
    music = melody(8, HIGH_RATE)
    music[4 * HIGH_RATE :] *= 0.2
    music[4 * HIGH_RATE : 4 * HIGH_RATE + len(again)] += 0.6 * again
    make_clip(tmp_path / "film.mp4", 8, fps=10, size=(160, 120), sounds=[music])
    rows = split(tmp_path, without_music=True)
    assert [row["reason"] for row in rows] == ["music without speech", None]
    assert [row["music"] for row in rows] == [True, None]
    assert rows[0]["speech_share"] < 0.05 < rows[1]["speech_share"]
    rows = split(tmp_path, least_speech=0.3)
    assert [row["reason"] for row in rows] == ["speech in less than 30% of it", None]
