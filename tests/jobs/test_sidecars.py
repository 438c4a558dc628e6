"""A sidecar is read where videos are, and whatever is wrong with it costs a note at most."""

from pathlib import Path
from typing import Any

import pytest

from clips import make_clip
from emo.jobs.ingest import IngestWorker
from emo.media.settings import Ingest
from emo.sources.source import read_source
from emo.store.s3 import S3Settings

CUE = "1\n00:00:01,000 --> 00:00:02,000\n{}\n"


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("video") / "a.mp4", seconds=0.4)


def ingested(source: Path | str, **settings: Any) -> dict[str, dict[str, Any]]:
    worker = IngestWorker(Ingest(**settings), S3Settings(), "run")
    return {row["video_id"]: row for row in worker(read_source(str(source))).to_pylist()}


def beside(video: Path, folder: Path, sidecars: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in sidecars.items():
        (folder / name).with_suffix(".mp4").hardlink_to(video)
        (folder / name).write_bytes(data)
    return folder


def test_no_sidecar_fails_a_clip_whose_video_is_good(video: Path, tmp_path: Path) -> None:
    source = beside(
        video,
        tmp_path / "source",
        {
            "good.srt": CUE.format("I am fine.").encode(),
            "western.srt": CUE.format("Je suis désolé").encode("cp1252"),
            "binary.srt": bytes(range(256)) * 20,
            "letter.srt": b"Dear Sir, there are no times in this.\n",
            "hours.srt": ("9" * 400 + ":00:00,000 --> 00:00:02,000\nStill said.\n").encode(),
            "huge.txt": b"",
        },
    )
    with (source / "huge.txt").open("wb") as file:
        file.truncate(300 * 2**20)
    rows = ingested(source)
    assert {row["status"] for row in rows.values()} == {"ok"}
    said = {name: row["transcript"] for name, row in rows.items() if row["transcript"]}
    assert said == {"good": "I am fine.", "western": "Je suis désolé", "hours": "Still said."}
    assert rows["good"]["notes"] == []
    assert "a guess" in rows["western"]["notes"][0]
    assert "any encoding" in rows["binary"]["notes"][0]
    assert "-->" in rows["letter"]["notes"][0]
    assert rows["huge"]["notes"] == ["subtitles: huge.txt: 300 MiB are no subtitles, 8 MiB are read at most"]


def test_a_link_out_of_the_source_is_not_followed_and_one_within_it_is(video: Path, tmp_path: Path) -> None:
    source = beside(video, tmp_path / "source", {"inside.srt": CUE.format("Inside.").encode()})
    outside = beside(video, tmp_path / "outside", {"linked.srt": CUE.format("Behind a folder.").encode()})
    (tmp_path / "credentials").write_text("aws_secret_access_key = planted")
    for name, target in {"out.txt": tmp_path / "credentials", "in.srt": source / "inside.srt"}.items():
        (source / name).with_suffix(".mp4").hardlink_to(video)
        (source / name).symlink_to(target)
    (source / "folder").symlink_to(outside)
    (source / "deep").mkdir()
    (source / "deep" / "up.mp4").hardlink_to(video)
    (source / "deep" / "up.srt").symlink_to("../inside.srt")
    rows = ingested(source)
    assert {name: row["transcript"] for name, row in rows.items()} == {
        "inside": "Inside.",
        "in": "Inside.",
        "deep/up": "Inside.",
        "folder/linked": "Behind a folder.",
        "out": None,
    }
    assert rows["out"]["notes"] == ["subtitles: out.txt: a link that leaves the source, and is not followed"]
    assert not any("planted" in str(row) for row in rows.values())
    # With ids of a manifest's own nothing but the folder is known to be the source.
    (source / "list.csv").write_text("uri,video_id\nout.mp4,x/out\nin.mp4,other\n")
    named = ingested(source / "list.csv")
    assert {name: row["transcript"] for name, row in named.items()} == {"x/out": None, "other": "Inside."}


def test_a_sidecar_that_takes_too_much_is_a_note_and_the_next_clip_is_read(
    video: Path, tmp_path: Path
) -> None:
    lines = "0:0-->0:1\nx\n" * 650_000
    source = beside(
        video, tmp_path / "source", {"a.srt": lines.encode(), "b.srt": CUE.format("Fine.").encode()}
    )
    rows = ingested(source, memory_mib=256)
    assert rows["a"]["notes"] == ["subtitles: decoding needed more than 256 MiB"]
    assert [row["transcript"] for row in rows.values()] == [None, "Fine."]
    assert {row["status"] for row in rows.values()} == {"ok"}


def test_an_embedded_track_stands_in_for_a_sidecar_that_cannot_be_read(tmp_path: Path, video: Path) -> None:
    from clips import ffmpeg

    (tmp_path / "said.srt").write_text(CUE.format("From within.").replace("00:00:01", "00:00:00"))
    source = tmp_path / "source"
    source.mkdir()
    ffmpeg("-i", video, "-i", tmp_path / "said.srt", "-c", "copy", "-c:s", "srt", source / "a.mkv")
    (source / "a.srt").write_bytes(bytes(range(256)))
    row = ingested(source)["a"]
    assert (row["transcript"], row["transcript_source"]) == ("From within.", "embedded")
    assert "any encoding" in row["notes"][0]
