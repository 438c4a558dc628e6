"""`emo label` from files to judgments, as a process on a real Ray cluster."""

import json
import os
import shutil

import pytest

from clips import make_clip
from conftest import REPOSITORY
from emo import vocabulary
from emo.cli import main
from emo.config import load_config
from emo.store.runs import Run
from emo.store.storage import Storage
from emo.store.tables import CLIPS, DESCRIPTIONS, JUDGMENTS, VOTES
from labelling import WORDS_ONLY, by_id, emo, label_words, last_run, raw_rows, rows

SAMPLES = REPOSITORY / "samples"
# The families that neither the line nor the face of a sample contradicts. The scenes at sea show nobody.
FITTING = {
    "drawn_afraid": {"fear"},
    "drawn_angry": {"anger"},
    "drawn_bored_loud": {"detachment", "calm"},
    "drawn_joyful_zh": {"joy"},
    "drawn_sad_zh": {"sadness"},
    "drawn_tired": {"sadness", "calm"},
    "drawn_worried_loud": {"fear"},
    "portrait_silent": {"joy"},
    "portrait_tall_zh": {"joy", "love", "calm"},
    "portrait_welcome": {"joy", "love"},
    "sea_at_dusk": set(),
    "sea_over_music": set(),
}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, ray_cluster):
    """The sample clips, labelled once by the default preset."""
    out = tmp_path_factory.mktemp("labelled") / "out"
    one = ("--set", "ingest.workers=1")
    return out, emo("label", SAMPLES / "manifest.csv", "--out", out, *one, env=ray_cluster)


def test_the_sample_clips_are_labelled_and_the_last_line_says_so(labelled):
    out, done = labelled
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "emo label: 10 labelled, 2 without a label, 1 failed, 0 skipped as already done, in "
    )
    assert last.endswith(f"report: {out}/report/index.html")
    assert "ingest: 1 of 13 failed (1 truncated)" in done.stderr
    assert "; a baseline without models, silent on 17% of the clips; next, try --preset light: " in last


def test_rays_own_messages_stay_out_of_sight(labelled):
    _, done = labelled
    for noise in ("INFO", "WARNING", "streaming_executor", "core_worker", "Traceback"):
        assert noise not in done.stderr


def test_every_clip_has_a_row_in_every_table(labelled):
    out, _ = labelled
    clips = by_id(rows(out, CLIPS, "status"), "status")
    assert len(clips) == 13
    assert [name for name, status in clips.items() if status == "failed"] == ["broken_truncated"]
    assert raw_rows(out, CLIPS).num_rows == 13
    assert raw_rows(out, DESCRIPTIONS).num_rows == 12 * 3
    assert raw_rows(out, VOTES).num_rows == 12 * 3
    judgments = rows(out, JUDGMENTS, "status", "error", "labels", "evidence", "agreement", "description")
    assert len(judgments) == 13
    broken = next(row for row in judgments if row["video_id"] == "broken_truncated")
    assert (broken["status"], broken["error"], broken["labels"]) == ("failed", "clip_failed", None)


def test_the_clips_table_holds_what_experts_need(labelled):
    out, _ = labelled
    columns = ("frames", "frame_times", "audio", "transcript", "transcript_source", "language", "decoder")
    found = {row["video_id"]: row for row in rows(out, CLIPS, "width", "height", *columns)}
    welcome = found["portrait_welcome"]
    assert len(welcome["frames"]) == len(welcome["frame_times"]) == 8
    assert all(frame.startswith(b"\xff\xd8") for frame in welcome["frames"])
    assert welcome["audio"].startswith(b"fLaC")
    assert (welcome["transcript_source"], welcome["language"]) == ("manifest", "en")
    assert welcome["decoder"] == "pyav"
    assert found["portrait_silent"]["audio"] is None
    assert found["portrait_silent"]["transcript"] is None
    assert found["portrait_tall_zh"]["height"] > found["portrait_tall_zh"]["width"]
    assert found["drawn_afraid"]["transcript_source"] == "sidecar"


def test_labels_come_with_their_evidence(labelled):
    out, _ = labelled
    found = {row["video_id"]: row for row in rows(out, JUDGMENTS, "labels", "scores", "evidence", "n_voters")}
    angry = found["drawn_angry"]
    assert "angry" in angry["labels"]
    evidence = next(one for one in angry["evidence"] if one["label"] == "angry")
    assert set(evidence["voters"]) == {"voice#0", "words#0"}
    assert evidence["score"] == angry["scores"][angry["labels"].index("angry")] == max(angry["scores"])
    # The scene at sea shows nobody: nothing is guessed.
    assert found["sea_at_dusk"]["labels"] == found["sea_over_music"]["labels"] == []
    for clip in ("drawn_joyful_zh", "portrait_welcome"):
        assert found[clip]["labels"][0] == "happy"
        assert "angry" not in found[clip]["labels"]
    # The face alone says happy or amused, and nobody tells which.
    assert set(found["portrait_silent"]["labels"]) == {"happy", "amused"}
    for clip in ("drawn_bored_loud", "drawn_worried_loud"):  # full scale makes nobody aroused
        assert {"angry", "excited"}.isdisjoint(found[clip]["labels"])


def test_no_sample_gets_a_label_that_its_words_or_its_face_contradict(labelled):
    out, _ = labelled
    given = by_id(rows(out, JUDGMENTS, "status", "labels"), "labels")
    del given["broken_truncated"]
    families = {clip: {vocabulary.family_of(label) for label in labels} for clip, labels in given.items()}
    assert families.keys() == FITTING.keys()
    assert {clip: found - FITTING[clip] for clip, found in families.items() if found - FITTING[clip]} == {}


def test_the_report_and_the_run_file_tell_what_happened(labelled):
    out, _ = labelled
    page = (out / "report" / "index.html").read_text()
    for text in ("portrait_welcome", "broken_truncated", "truncated", "words"):
        assert text in page
    run = last_run(out)
    assert (run["outcome"], run["command"]) == ("done", "label")
    assert [step["name"] for step in run["steps"]] == [
        "ingest",
        "describe voice",
        "describe face",
        "describe words",
        "extract",
        "judge",
    ]
    assert run["steps"][0]["error_codes"] == {"truncated": 1}


def test_nothing_is_left_to_do_the_second_time(labelled, ray_cluster):
    out, _ = labelled
    before = sorted(str(path) for path in out.rglob("*.parquet"))
    done = emo("label", SAMPLES / "manifest.csv", "--out", out, "--json", env=ray_cluster)
    assert done.returncode == 0
    assert (
        "0 labelled, 0 failed, 13 skipped as already done (1 of them failed, see emo failures)" in done.stderr
    )
    result = json.loads(done.stdout)
    assert result.keys() == {"outcome", "exit_code", "steps", "report"}
    assert result["steps"][0]["skipped"] == 13
    assert sorted(str(path) for path in out.rglob("*.parquet")) == before
    # Ray was not even started.
    assert "Ray is up" not in done.stderr


def test_other_settings_on_the_same_out_are_refused(labelled, ray_cluster):
    out, _ = labelled
    done = emo("label", SAMPLES / "manifest.csv", "--out", out, "--set", "ingest.frames=4", env=ray_cluster)
    assert done.returncode == 2
    assert "frames was 8 and is 4" in done.stderr


def test_another_rule_repeats_only_the_judge(labelled, ray_cluster):
    out, _ = labelled
    done = emo("judge", "--out", out, "--set", "judge.trade_off=precision", env=ray_cluster)
    assert done.returncode == 0, done.stderr
    assert "10 labelled" in done.stderr
    assert [step["name"] for step in last_run(out)["steps"]] == ["judge"]


def test_an_expert_that_is_not_there_is_named_with_those_that_are(labelled):
    out, _ = labelled
    done = emo("describe", "--out", out, "--expert", "nobody")
    assert done.returncode == 2
    assert "no expert is named 'nobody' in this configuration; it has: voice, face, words" in done.stderr


def test_status_and_failures_tell_what_is_there(labelled):
    out, _ = labelled
    status = emo("status", "--out", out)
    assert status.returncode == 0
    assert "clips                     13 rows           1 failed" in status.stdout
    failures = emo("failures", "--out", out)
    assert failures.stdout.startswith("ingest\ttruncated\tbroken_truncated\t")
    # The judgment that failed because of it is not told again.
    assert len(failures.stdout.splitlines()) == 1
    listed = json.loads(emo("failures", "--out", out, "--json").stdout)["failures"]
    assert [row["video_id"] for row in listed] == ["broken_truncated"]


def test_status_says_why_a_run_stopped(tmp_path, capsys):
    config = load_config(overrides=["experts=[{kind: words}]"]).model_dump(mode="json")
    run = Run("20260101T000000Z", "label", "videos", config, "2026-01-01", outcome="failed")
    run.error = "describe words: the place\nis full"
    run.save(Storage(str(tmp_path / "out")))
    assert main(["status", "--out", str(tmp_path / "out")]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == ("20260101T000000Z  label     failed    nothing to do  describe words: the place is full")


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name, words in (("a", "I am so happy"), ("b", "I am sad"), ("sub/c", "I am afraid")):
        path = folder / f"{name}.mp4"
        path.parent.mkdir(exist_ok=True)
        make_clip(path, seconds=1.0, size=(160, 120))
        path.with_suffix(".txt").write_text(words)
    return folder


def test_out_from_its_first_plan_to_the_retry_of_what_broke(videos, tmp_path, ray_cluster):
    """In one OUT, because each run costs seconds: steps one by one, then what is new, broken, whole again."""
    out = tmp_path / "out"
    only = WORDS_ONLY
    planned = emo("plan", videos, "--out", out, "--json", *only)
    assert planned.returncode == 0
    plan = json.loads(planned.stdout)
    assert plan["bytes"] == sum(path.stat().st_size for path in videos.rglob("*.mp4"))
    assert {step["step"]: step["rows"] for step in plan["steps"]} == {
        "ingest": 3,
        "describe words": 3,
        "extract": 3,
        "judge": 3,
    }
    assert not out.exists()
    for command in (
        ("ingest", videos),
        ("describe", "--expert", "words"),
        ("extract",),
        ("judge",),
        ("report",),
    ):
        done = emo(*command, "--out", out, *only, env=ray_cluster)
        assert done.returncode == 0, done.stderr
    first = by_id(rows(out, JUDGMENTS, "labels"), "labels")
    assert first == {"a": ["happy"], "b": ["sad"], "sub/c": ["afraid"]}
    assert (out / "report" / "index.html").exists()
    plan = json.loads(emo("plan", videos, "--out", out, "--json", *only).stdout)
    assert [(step["rows"], step["done"]) for step in plan["steps"]] == [(0, 3)] * 4

    # Only what is new or changed is done.
    shutil.copy(videos / "a.mp4", videos / "d.mp4")
    (videos / "d.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nI am proud\n")
    os.utime(videos / "b.mp4", (1_000_000_000, 1_000_000_000))
    (videos / "b.txt").write_text("I am angry")
    # Of this one the words alone are new.
    (videos / "sub/c.txt").write_text("I am disgusted")
    (videos / "a.mp4").unlink()
    # A slash at the end of a folder's name changes nothing.
    done = label_words(f"{videos}/", f"{out}/", env=ray_cluster)
    assert "3 labelled, 0 failed, 1 skipped as already done, in " in done.stderr
    run = last_run(out)
    assert [(step["rows"], step["ok"]) for step in run["steps"]] == [(3, 3)] * 4
    # The changed file has its new labels, the removed one stays labelled.
    labels = {"a": ["happy"], "b": ["angry"], "d": ["proud"], "sub/c": ["disgusted"]}
    assert by_id(rows(out, JUDGMENTS, "labels"), "labels") == labels

    # What broke loses its labels.
    good = (videos / "b.mp4").read_bytes()
    (videos / "b.mp4").write_bytes(b"\0" * len(good))
    os.utime(videos / "b.mp4", (2_000_000_000, 2_000_000_000))
    done = label_words(videos, out, env=ray_cluster)
    assert "ingest: 1 of 1 failed (1 not_a_video)" in done.stderr
    assert done.returncode == 3
    assert "0 labelled, 1 failed, 3 skipped as already done, in " in done.stderr
    judged = {row["video_id"]: row for row in rows(out, JUDGMENTS, "labels", "error")}
    assert (judged["b"]["labels"], judged["b"]["error"]) == (None, "clip_failed")
    assert judged["d"]["labels"] == ["proud"]

    # Size and time are as before, so only a retry notices that the file is whole again.
    (videos / "b.mp4").write_bytes(good)
    os.utime(videos / "b.mp4", (2_000_000_000, 2_000_000_000))
    again = label_words(videos, out, env=ray_cluster).stderr
    assert "4 skipped as already done (1 of them failed, see emo failures)" in again
    shutil.copy(videos / "d.mp4", tmp_path / "waits.mp4")
    done = emo("ingest", tmp_path / "waits.mp4", "--out", out, *only, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    done = emo("failures", "--out", out, "--retry", *only, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    # Of the clips that did not fail nothing was done, though one of them waits for its expert.
    assert [step["rows"] for step in last_run(out)["steps"]] == [1] * 4
    assert by_id(rows(out, JUDGMENTS, "labels"), "labels") == labels
    assert emo("failures", "--out", out).stdout == ""

    # What follows for a clip is made up for by the next retry where one was killed after ingest.
    killed = json.loads((out / "runs" / f"{last_run(out)['run_id']}.json").read_text())
    killed["outcome"] = "running"
    (out / "runs" / f"{killed['run_id']}.json").write_text(json.dumps(killed))
    for path in (out / "judgments").rglob(f"*{killed['run_id']}*"):
        path.unlink()
    done = emo("failures", "--out", out, "--retry", *only, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    assert [step["rows"] for step in last_run(out)["steps"]] == [0, 0, 0, 1]
    assert by_id(rows(out, JUDGMENTS, "labels"), "labels") == labels


def test_source_and_out_may_be_on_s3(videos, bucket, s3_endpoint, ray_cluster, tmp_path):
    url, settings = bucket
    source = Storage(f"{url}/videos", settings)
    for path in videos.rglob("*.*"):
        source.write(path.relative_to(videos).as_posix(), path.read_bytes())
    s3 = ("--set", f"s3={{endpoint_url: '{s3_endpoint}', region: us-east-1}}")
    done = label_words(f"{url}/videos", f"{url}/out", *s3, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    out = Storage(f"{url}/out", settings)
    assert by_id(rows(out, JUDGMENTS, "labels"), "labels") == {
        "a": ["happy"],
        "b": ["sad"],
        "sub/c": ["afraid"],
    }
    assert b"sub/c" in out.read("report/index.html")
    # A slash at the end of a prefix changes nothing; other words do, also where the video is the same.
    source.write("sub/c.txt", b"I am disgusted")
    again = label_words(f"{url}/videos/", f"{url}/out/", *s3, env=ray_cluster)
    assert "1 labelled, 0 failed, 2 skipped as already done" in again.stderr
    assert by_id(rows(out, JUDGMENTS, "labels"), "labels")["sub/c"] == ["disgusted"]
    learning = ("--estimate", "--save", tmp_path / "learned.json")
    # It read the votes, and they are too few.
    refused = emo("judge", "--out", f"{url}/out/", *learning, *s3, env=ray_cluster)
    assert "weights cannot be estimated from 1 expert(s)" in refused.stderr
