"""Each kind of bad input gets its row or its exit code, and one clear line."""

import json
import os
import re
import shutil
import signal
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from clips import ffmpeg, make_clip, make_slow_clip
from emo.errors import EmoError, MachineError
from emo.jobs.ingest import IngestWorker
from emo.media.settings import Ingest
from emo.sources.source import read_source
from emo.store.s3 import S3Settings, s3_filesystem
from emo.store.storage import Storage
from emo.store.tables import CLIPS, JUDGMENTS
from labelling import WORDS_ONLY, by_id, emo, label_words, last_run, rows
from small_disk import small_disk


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["label", "nowhere", "--out", "{out}"], "source 'nowhere' does not exist"),
        (["label", "{source}", "--out", "{out}", "--set", "ingest.frame=1"], "ingest.frame: unknown key"),
        (["label", "{source}", "--out", "{out}", "--preset", "best"], "unknown preset 'best'"),
        (["label", "{source}"], "--out"),
        (["label", "{source}", "--out", "{out}", "--fast"], "--fast"),
        (["describe", "--out", "{out}", "--expert", "words"], "holds no run of emo"),
        (["status", "--out", "{out}"], "holds no run of emo"),
        (["label", "{source}", "--out", "s3://"], "names no bucket"),
        (["dance", "--out", "{out}"], "dance"),
        (["label", "{source}", "--out", ""], "argument --out: it is empty"),
        (["judge", "--out", " "], "argument --out: it is empty"),
        (["label", "", "--out", "{out}"], "argument SOURCE: it is empty"),
        (["nightly", "{source}", "--set", "nightly.out=''"], "no --out is given"),
    ],
)
def test_bad_arguments_exit_2_before_any_work(tmp_path, arguments, expected):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"x")
    out = tmp_path / "out"
    done = emo(*(part.format(out=out, source=tmp_path / "videos") for part in arguments))
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(out.rglob("*.parquet"))


def test_the_same_id_twice_exits_2(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "a.mkv").write_bytes(b"x")
    done = emo("label", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "share the id 'a'" in done.stderr


def test_an_empty_source_is_nothing_to_do(tmp_path):
    (tmp_path / "videos").mkdir()
    done = emo("label", tmp_path / "videos", "--out", tmp_path / "out", "--json")
    assert done.returncode == 0
    assert "nothing to do" in done.stderr
    # As of any other run.
    assert json.loads(done.stdout) == {"outcome": "done", "exit_code": 0, "steps": [], "report": None}


def test_a_missing_bucket_is_one_line(s3_endpoint):
    s3 = ("--set", f"s3.endpoint_url={s3_endpoint}")
    done = emo("label", "s3://no-such-bucket/x", "--out", "s3://no-such-bucket/out", *s3)
    assert done.returncode == 1
    assert done.stderr.strip() == "emo: s3://no-such-bucket/x: the bucket does not exist"


def _decoder_of(video):
    """The process that has a video open."""
    while True:
        for said in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # one that has just ended
                if b"emo.media.sandbox" in said.read_bytes() and any(
                    str(opened.readlink()) == str(video) for opened in said.parent.glob("fd/*")
                ):
                    return int(said.parent.name)
        time.sleep(0.1)


def test_what_a_bad_file_is_or_does_to_its_decoder_costs_its_row_and_no_other(tmp_path, ray_cluster):
    videos = tmp_path / "videos"
    videos.mkdir()
    make_clip(videos / "good.mp4", seconds=1.0, size=(160, 120))
    (videos / "good.txt").write_text("I am happy")
    (videos / "empty.mp4").write_bytes(b"")
    (videos / "text.mp4").write_text("this is not a video\n" * 50)
    whole = make_clip(tmp_path / "whole.mp4", seconds=4.0, after=("-movflags", "+faststart"))
    (videos / "cut.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 3])
    plain = make_clip(tmp_path / "plain.mp4", seconds=4.0)
    (videos / "no_index.mp4").write_bytes(plain.read_bytes()[: plain.stat().st_size // 2])
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", videos / "sound_only.mp4")
    (videos / "link_to_nothing.mp4").symlink_to("missing.mp4")
    os.mkfifo(videos / "pipe.mp4")
    make_slow_clip(videos / "crashes.mp4")
    # One picture of 144 million pixels.
    ffmpeg(
        "-f", "lavfi", "-i", "color=size=12000x12000:rate=1:duration=1", "-c:v", "mjpeg", videos / "huge.mp4"
    )
    # No file is known that crashes these libraries: the signal that a crash raises comes from here.
    segfault = threading.Thread(
        target=lambda: os.kill(_decoder_of(videos / "crashes.mp4"), signal.SIGSEGV), daemon=True
    )
    segfault.start()
    done = label_words(videos, tmp_path / "out", "--set", "ingest.memory_mib=256", env=ray_cluster)
    clips = rows(tmp_path / "out", CLIPS, "error", "error_message")
    errors = {
        "good": None,
        "empty": "empty",
        "text": "not_a_video",
        "cut": "truncated",
        "no_index": "truncated",
        "sound_only": None,
        "link_to_nothing": "unreadable",
        "pipe": "unreadable",
        "crashes": "decoder_crashed",
        "huge": "out_of_memory",
    }
    assert by_id(clips, "error") == errors
    told = by_id(clips, "error_message")
    assert told["crashes"] == "the decoder process died (SIGSEGV)"
    assert told["huge"] == "decoding needed more than 256 MiB"
    judged = rows(tmp_path / "out", JUDGMENTS, "labels", "status")
    labels = {row["video_id"]: row["labels"] for row in judged if row["status"] == "ok"}
    # Of sound without words this expert knows nothing, and says so.
    assert labels == {"good": ["happy"], "sound_only": []}
    assert len(judged) == 10
    [codes] = re.findall(r"^ingest: 8 of 10 failed \((.*)\)$", done.stderr, re.MULTILINE)
    assert {"2 truncated", "2 unreadable", "1 decoder_crashed"} <= set(codes.split(", "))
    # Eight of ten is more than the half that is accepted by default.
    assert done.returncode == 3
    assert "more than max_failed_share=0.5" in done.stderr

    # What takes too long keeps a processor busy until the deadline. So that one is short, and beside such a
    # film stands only what is refused at the first look, on however busy a machine.
    (videos / "crashes.mp4").rename(videos / "slow.mp4")
    (videos / "then.mp4").write_text("this is not a video either")
    done = label_words(videos, tmp_path / "out", "--set", "ingest.deadline_s=2", env=ray_cluster)
    clips = rows(tmp_path / "out", CLIPS, "error", "error_message")
    assert by_id(clips, "error") == {**errors, "slow": "timeout", "then": "not_a_video"}
    assert by_id(clips, "error_message")["slow"] == "decoding took longer than 2 s"
    [codes] = re.findall(r"^ingest: 2 of 2 failed \((.*)\)$", done.stderr, re.MULTILINE)
    assert set(codes.split(", ")) == {"1 timeout", "1 not_a_video"}
    assert done.returncode == 3


def test_when_every_clip_fails_the_exit_code_is_3(tmp_path, ray_cluster):
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in "ab":
        (videos / f"{name}.mp4").write_bytes(b"")
    done = label_words(videos, tmp_path / "out", "--set", "max_failed_share=1", env=ray_cluster)
    assert done.returncode == 3
    assert "0 labelled, 2 failed" in done.stderr
    assert (tmp_path / "out" / "report" / "index.html").exists()


def test_a_foreign_file_in_out_is_named_and_nothing_is_written(tmp_path, ray_cluster):
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    make_clip(videos / "a.mp4", seconds=1.0, size=(160, 120))
    (out / "clips").mkdir(parents=True)
    (out / "clips" / "mine.parquet").write_bytes(b"something of mine")
    done = label_words(videos, out, env=ray_cluster)
    assert done.returncode == 1
    assert "clips/mine.parquet is not a readable Parquet file" in done.stderr
    assert (out / "clips" / "mine.parquet").read_bytes() == b"something of mine"


@pytest.fixture
def disk(tmp_path):
    """Room for a few clips only."""
    with small_disk(tmp_path / "disk", "200k") as made:
        yield made


@pytest.fixture
def many_videos(tmp_path) -> Path:
    videos = tmp_path / "videos"
    videos.mkdir()
    first = make_clip(videos / "clip00.mp4", seconds=1.0, size=(320, 240))
    for number in range(1, 16):
        shutil.copy(first, videos / f"clip{number:02d}.mp4")
    for path in list(videos.glob("*.mp4")):
        path.with_suffix(".txt").write_text("I am happy")
    return videos


def test_a_full_disk_stops_the_job_and_the_next_run_goes_on(disk, many_videos, tmp_path, ray_cluster):
    folder, enlarge = disk
    out = folder / "out"
    done = label_words(many_videos, out, "--set", "ingest.shard_rows=2", env=ray_cluster)
    assert done.returncode == 1
    assert "no space left on the device" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    kept = by_id(rows(out, CLIPS, "status"), "status")
    assert len(kept) < 16

    enlarge()
    done = label_words(many_videos, out, "--set", "ingest.shard_rows=2", env=ray_cluster)
    assert done.returncode == 0, done.stderr
    assert last_run(out)["steps"][0]["skipped"] == len(kept)
    assert len(rows(out, JUDGMENTS)) == 16


def test_a_bucket_that_vanishes_stops_the_job_with_one_line(many_videos, bucket, s3_endpoint, ray_cluster):
    url, settings = bucket
    s3 = ("--set", f"s3={{endpoint_url: '{s3_endpoint}', region: us-east-1, max_attempts: 2}}")
    options = (*WORDS_ONLY, "--set", "ingest.shard_rows=1", *s3)
    out = Storage(f"{url}/out", settings)
    with ThreadPoolExecutor(1) as background:
        run = background.submit(emo, "label", many_videos, "--out", out.url, *options, env=ray_cluster)
        while not out.entries("clips"):
            assert not run.done(), run.result().stderr
            time.sleep(0.03)
        _remove_bucket(url, settings)
        ended = run.result()
    assert ended.returncode == 1
    assert "the bucket does not exist" in ended.stderr.splitlines()[-1]


def _remove_bucket(url: str, settings: S3Settings) -> None:
    files = s3_filesystem(settings)
    name = url.removeprefix("s3://")
    while True:
        try:
            for key in [
                item["Key"] for item in files.call_s3("list_objects_v2", Bucket=name).get("Contents", [])
            ]:
                files.call_s3("delete_object", Bucket=name, Key=key)
            files.call_s3("delete_bucket", Bucket=name)
            return
        except OSError:
            # A worker wrote one more object in between.
            continue


def test_no_row_of_a_manifest_and_no_sidecar_ends_a_run(tmp_path, ray_cluster):
    clip = make_clip(tmp_path / "good.mp4", seconds=1.0, size=(160, 120))
    odd = tmp_path / "odd.mp4"
    odd.hardlink_to(clip)
    (tmp_path / "odd.srt").write_text(f"1\n{'9' * 400}:00:00,000 --> 00:00:01,000\nI am happy\n")
    lines = [
        {"uri": str(clip), "subtitle": "I am happy"},
        {"uri": str(odd)},
        {"uri": f"/videos/{'x' * 5000}.mp4", "video_id": "long"},
    ]
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    done = label_words(manifest, tmp_path / "out", "--set", "max_failed_share=0.9", env=ray_cluster)
    assert done.returncode == 0, done.stderr
    clips = by_id(rows(tmp_path / "out", CLIPS, "status"), "status")
    assert clips["good"] == "ok"
    assert clips["long"] == "failed"
    # What becomes of the subtitle is told where subtitles are read; here it is that the clip has its row.
    assert "odd" in clips
    assert len(rows(tmp_path / "out", JUDGMENTS)) == 3
    with manifest.open("a") as file:
        file.write("\n" + json.dumps({"uri": "/videos/a\0b.mp4", "video_id": "nul"}))
    refused = label_words(manifest, tmp_path / "out", env=ray_cluster)
    assert refused.returncode == 2
    assert "row 4: uri is" in refused.stderr


def test_a_full_folder_for_temporary_files_stops_the_job_and_fails_no_clip(
    disk, many_videos, bucket, monkeypatch
):
    folder, enlarge = disk
    url, settings = bucket
    source = Storage(url, settings)
    for path in many_videos.glob("*.mp4"):
        source.write(f"videos/{path.name}", path.read_bytes())
    (folder / "filler").write_bytes(b"x" * 190_000)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    worker = IngestWorker(Ingest(), settings, "1")
    manifest = read_source(f"{url}/videos", settings)
    with pytest.raises(EmoError, match="no space left on the device"):
        worker(manifest)
    enlarge()
    assert set(worker(manifest).column("status").to_pylist()) == {"ok"}
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "gone"))
    with pytest.raises(MachineError, match="temporary files"):
        worker(manifest)
