"""The worker of the step: real recordings to rows of `segments`, without a cluster."""

import shutil

import numpy as np
import pytest
import soundfile

from clips import RATE, ffmpeg, make_clip, tone
from emo.config import load_config
from emo.errors import InputError
from emo.jobs.split import SplitWorker, recordings_of
from emo.sources.source import read_source
from emo.split.settings import Split
from emo.store.s3 import S3Settings

SRT = (
    "1\n00:00:00,500 --> 00:00:02,000\nANNA: You came\n\n"
    "2\n00:00:02,100 --> 00:00:03,000\nafter all.\n\n"
    "3\n00:00:05,000 --> 00:00:05,400\nShh!\n\n"
    "4\n00:00:07,000 --> 00:00:09,500\nWho is there?\n"
)


def split(source, **settings):
    rows = recordings_of(read_source(str(source)))
    return SplitWorker(Split(**{"by": "auto", **settings}), S3Settings(), "run")(rows).to_pylist()


def pieces(rows):
    return [(row["start_s"], row["end_s"], row["text"], row["kept"]) for row in rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One film of 10 s with subtitles beside it."""
    folder = tmp_path_factory.mktemp("films")
    make_clip(folder / "film.mp4", 10)
    (folder / "film.en.srt").write_text(SRT)
    return folder


def test_subtitles_beside_a_film_make_its_pieces(folder):
    rows = split(folder)
    assert pieces(rows) == [
        (0.5, 3.0, "ANNA: You came after all.", True),
        (5.0, 5.4, "Shh!", False),
        (7.0, 9.5, "Who is there?", True),
    ]
    assert [row["reason"] for row in rows] == [None, "shorter than 1 s", None]
    assert [row["speaker"] for row in rows] == ["ANNA", None, None]
    assert rows[0]["video_id"] == "film/000000500-000003000"
    assert {row["by"] for row in rows} == {"subtitles"}
    assert {row["language"] for row in rows} == {"en"}
    assert {row["recording"] for row in rows} == {"film"}
    assert {row["status"] for row in rows} == {"ok"}


def test_subtitles_in_a_film_make_the_same_pieces(folder, tmp_path):
    ffmpeg("-i", folder / "film.mp4", "-i", folder / "film.en.srt", "-c", "copy", "-c:s", "srt",
           "-metadata:s:s:0", "language=eng", tmp_path / "film.mkv")  # fmt: skip
    assert pieces(split(tmp_path)) == pieces(split(folder))
    assert {row["language"] for row in split(tmp_path)} == {"en"}


def test_windows_and_bounds(folder):
    rows = split(folder, by="fixed", window_s=4.0, step_s=3.0)
    assert [(row["start_s"], row["end_s"]) for row in rows] == [(0, 4), (3, 7), (6, 10)]
    rows = split(folder, by="fixed", window_s=4.0, step_s=3.0, longest_s=3.5)
    assert {row["reason"] for row in rows} == {"longer than 3.5 s"}


def test_without_words_speech_or_cuts_the_pieces_are_parts_of_one_shot(tmp_path):
    make_clip(tmp_path / "still.mp4", 20, video=("-c:v", "libx264", "-preset", "ultrafast"), fps=5)
    rows = split(tmp_path, by="shots", longest_s=8.0)
    assert {row["by"] for row in rows} == {"shots"}
    assert (rows[0]["start_s"], rows[-1]["end_s"]) == (0.0, 20.0)
    assert max(row["end_s"] - row["start_s"] for row in rows) <= 8.001


def test_of_sound_alone_without_speech_there_is_no_piece_and_a_row_says_so(tmp_path):
    soundfile.write(tmp_path / "tone.wav", tone(5), RATE)
    (tmp_path / "list.csv").write_text("uri\ntone.wav\n")
    for by, found in (("auto", "shots"), ("speech", "speech"), ("subtitles", "subtitles")):
        (row,) = split(tmp_path / "list.csv", by=by)
        assert (row["video_id"], row["kept"], row["reason"]) == ("tone", False, f"no piece by {found}")
        assert (row["status"], row["start_s"]) == ("ok", None)


def test_what_cannot_be_split_is_a_failed_row_and_costs_the_others_nothing(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "films")
    (tmp_path / "films" / "text.mp4").write_text("this is no film")
    (tmp_path / "films" / "empty.mp4").touch()
    good = {row["video_id"]: row for row in split(tmp_path / "films")}
    failed = [row for row in good.values() if row["status"] == "failed"]
    assert {row["recording"] for row in failed} == {"text", "empty"}
    assert all(row["error"] and row["error_message"] and row["kept"] is None for row in failed)
    assert sum(row["recording"] == "film" for row in good.values()) == 3


def test_a_file_that_is_gone_is_a_failed_row(tmp_path):
    (tmp_path / "list.csv").write_text("uri\nnowhere.mp4\n")
    (row,) = split(tmp_path / "list.csv")
    assert (row["error"], row["recording"]) == ("unreadable", "nowhere")


def test_subtitles_that_cannot_be_read_fail_only_where_nothing_else_will_do(tmp_path):
    make_clip(tmp_path / "film.mp4", 4)
    (tmp_path / "film.srt").write_bytes(b"no times at all")
    (row,) = split(tmp_path, by="subtitles")
    assert row["error"] == "bad_subtitle"
    assert {row["by"] for row in split(tmp_path)} == {"shots"}


@pytest.mark.parametrize("by", ["subtitles", "fixed", "shots"])
def test_what_a_recording_promises_and_does_not_have_is_a_failed_row(by, tmp_path):
    """A film whose second half was lost: its end is not there, and its header still tells of it."""
    make_clip(tmp_path / "whole.mkv", 16, sound=("-c:a", "flac"))
    (tmp_path / "whole.srt").write_text(SRT)
    data = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "whole.mkv").write_bytes(data[: len(data) // 2])
    rows = split(tmp_path, by=by, window_s=2.0, step_s=2.0, shortest_s=0.3)
    failed = [row for row in rows if row["status"] == "failed"]
    assert len(failed) == 1
    assert failed[0]["error"] == "truncated"
    assert failed[0]["end_s"] == pytest.approx(16.0, abs=0.1)
    assert 4.0 < failed[0]["start_s"] < 12.0
    good = [row for row in rows if row["status"] == "ok"]
    assert good
    assert all(row["end_s"] <= failed[0]["start_s"] + 0.001 for row in good)


def test_pieces_are_cut_at_shots_too_where_that_is_asked(folder, tmp_path):
    ffmpeg(
        *(
            "-f",
            "lavfi",
            "-i",
            "color=c=red:s=160x120:r=25:d=2",
            "-f",
            "lavfi",
            "-i",
            "color=c=white:s=160x120:r=25:d=4",
        ),
        *("-filter_complex", "[0][1]concat=n=2:v=1:a=0", "-c:v", "libx264", "-preset", "ultrafast"),
        tmp_path / "film.mp4",
    )
    (tmp_path / "film.srt").write_text(SRT)
    rows = split(tmp_path, at_shots=True, shortest_s=0.3)
    assert pieces(rows)[:2] == [(0.5, 2.0, "ANNA: You came after all.", True), (2.0, 3.0, None, True)]


def test_no_piece_stands_twice(folder, tmp_path):
    rows = split(folder, by="fixed", window_s=10.0, step_s=0.0004)
    ids = [row["video_id"] for row in rows]
    assert len(set(ids)) == len(ids)


def test_rows_with_times_are_not_split(tmp_path):
    make_clip(tmp_path / "film.mp4", 4)
    (tmp_path / "list.csv").write_text("uri,start_s,end_s\nfilm.mp4,1,2\n")
    assert recordings_of(read_source(str(tmp_path / "list.csv"))).num_rows == 0


def test_bounds_that_contradict_each_other_are_refused():
    with pytest.raises(InputError, match="shortest_s below longest_s"):
        load_config(overrides=["split.shortest_s=20"])
    with pytest.raises(InputError, match=r"split\.by"):
        load_config(overrides=["split.by=magic"])
    assert np.isclose(load_config(overrides=["split.longest_s=20"]).split.longest_s, 20)
