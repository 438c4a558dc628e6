"""Pieces of a film through the worker of ingest: what is fetched, opened and read once for all of them."""

import pytest

from clips import make_clip, number_in
from emo.jobs.ingest import IngestWorker, by_file
from emo.media import probe
from emo.media.decoded import DecodeSettings
from emo.media.recording import close_all
from emo.media.settings import Ingest
from emo.media.tasks import Piece
from emo.sources.source import read_source
from emo.store.s3 import S3Settings
from emo.store.storage import Storage

LENGTH, COUNT = 12, 10
SRT = "".join(
    f"{number + 1}\n00:00:{start:02d},200 --> 00:00:{start:02d},900\nline {number}\n\n"
    for number, start in enumerate(range(LENGTH))
)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("film") / "film.mp4", LENGTH, size=(160, 120))


def manifest(names=("film",)):
    lines = [f"{name}.mp4,{start},{start + 1}" for start in range(COUNT) for name in names]
    return "\n".join(["uri,start_s,end_s", *lines]) + "\n"


def ingest(rows, s3=None):
    return IngestWorker(Ingest(frames=2), s3 or S3Settings(), "run")(by_file(rows)).to_pylist()


def check(rows):
    assert [row["error_message"] for row in rows] == [None] * COUNT
    assert [row["transcript"] for row in rows] == [f"line {number}" for number in range(COUNT)]
    assert {row["transcript_source"] for row in rows} == {"sidecar"}
    # The frames at a quarter and at three quarters of each second, at 25 a second.
    shown = [[number_in(frame) for frame in row["frames"]] for row in rows]
    assert shown == [[25 * number + 6, 25 * number + 18] for number in range(COUNT)]


def test_pieces_have_their_own_frames_sound_and_words(film, tmp_path):
    (tmp_path / "film.mp4").write_bytes(film.read_bytes())
    (tmp_path / "film.srt").write_text(SRT)
    (tmp_path / "list.csv").write_text(manifest())
    rows = ingest(read_source(str(tmp_path / "list.csv")))
    check(rows)
    assert {row["duration_s"] for row in rows} == {1.0}
    assert all(row["audio"].startswith(b"fLaC") for row in rows)


def test_of_s3_a_film_and_its_subtitles_are_fetched_once_for_all_pieces(film, bucket, monkeypatch):
    url, s3 = bucket
    source = Storage(url, s3)
    source.write("film.mp4", film.read_bytes())
    source.write("film.srt", SRT.encode())
    source.write("list.csv", manifest().encode())
    rows = read_source(f"{url}/list.csv", s3)
    fetched = []
    fetch = Storage.fetch

    def counted(self, path, target):
        fetched.append(path)
        return fetch(self, path, target)

    monkeypatch.setattr(Storage, "fetch", counted)
    check(ingest(rows, s3))
    assert sorted(fetched) == ["film.mp4", "film.srt"]


def test_a_file_is_opened_once_for_its_pieces(film, monkeypatch):
    """Twice, for its pictures and for what stands around them, however many pieces there are."""
    opened = []
    open_container = probe.open_container

    def counted(path):
        opened.append(path)
        return open_container(path)

    monkeypatch.setattr(probe, "open_container", counted)
    close_all()
    for start in range(COUNT):
        Piece(str(film), float(start), start + 1.0)(DecodeSettings(frames=2))
    close_all()
    assert len(opened) == 2


def test_the_pieces_of_two_films_that_stand_mixed_are_read_film_by_film(film, tmp_path):
    for name in ("film", "other"):
        (tmp_path / f"{name}.mp4").write_bytes(film.read_bytes())
    (tmp_path / "list.csv").write_text(manifest(("film", "other")))
    rows = by_file(read_source(str(tmp_path / "list.csv")))
    assert [row.split("/")[0] for row in rows["video_id"].to_pylist()] == ["film"] * COUNT + ["other"] * COUNT
    assert rows["start_s"].to_pylist() == [float(start) for start in range(COUNT)] * 2


def test_a_piece_whose_subtitles_hold_no_times_has_a_note(film, tmp_path):
    (tmp_path / "film.mp4").write_bytes(film.read_bytes())
    (tmp_path / "film.txt").write_text("Somebody says something.")
    (tmp_path / "list.csv").write_text("uri,start_s,end_s\nfilm.mp4,1,2\nfilm.mp4,2,3\n")
    rows = ingest(read_source(str(tmp_path / "list.csv")))
    assert [row["transcript"] for row in rows] == [None, None]
    assert all(any("holds no times" in note for note in row["notes"]) for row in rows)
