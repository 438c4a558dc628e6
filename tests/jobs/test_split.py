"""From recordings to labelled pieces: `emo label --set split.by=auto`, resumed, retried, and at night."""

import json
import os
import shutil
import subprocess

import pytest
import yaml

from clips import make_clip
from emo.store.tables import CLIPS, JUDGMENTS, SEGMENTS
from labelling import EMO, WORDS_ONLY, by_id, emo, label_words, last_run, raw_rows, rows, until

PARTS = ("I am so happy that", "Nobody came. I am sad.", "Hm.", "I am angry with you!")
TIMES = ((0.5, 3.0), (4.5, 7.0), (8.2, 8.6), (9.0, 11.5))
# A worker is a process that starts; one is enough for so few recordings.
SPLIT = ("--set", "split.by=auto", "--set", "split.workers=1")
KEPT = ("000000500-000003000", "000004500-000007000", "000009000-000011500")


def clock(seconds):
    return f"00:00:{seconds:06.3f}".replace(".", ",")


def subtitles(parts=PARTS, times=TIMES):
    return "".join(
        f"{number}\n{clock(start)} --> {clock(end)}\n{text}\n\n"
        for number, ((start, end), text) in enumerate(zip(times, parts, strict=True), 1)
    )


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("film") / "film.mp4", 12, size=(160, 120))


def add(folder, film, name, words=True):
    shutil.copy(film, folder / f"{name}.mp4")
    if words:
        (folder / f"{name}.srt").write_text(subtitles())


@pytest.fixture
def films(tmp_path, film):
    folder = tmp_path / "films"
    folder.mkdir()
    add(folder, film, "a")
    add(folder, film, "b")
    return folder


def of(recording):
    return [f"{recording}/{times}" for times in KEPT]


def test_from_recordings_to_labelled_pieces(films, film, tmp_path, ray_cluster):
    out = tmp_path / "out"
    add(films, film, "silent", words=False)
    (films / "text.mp4").write_text("this is no film")
    done = label_words(films, out, *SPLIT, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    assert "split: 1 of 4 failed (1 not_a_video)" in done.stderr
    steps = last_run(out)["steps"]
    assert [(step["name"], step["ok"], step["failed"]) for step in steps] == [
        ("split", 3, 1), ("ingest", 7, 0), ("describe words", 7, 0), ("extract", 7, 0), ("judge", 7, 0)
    ]  # fmt: skip
    found = rows(out, SEGMENTS, "status", "by", "kept", "reason", "error")
    assert {row["recording"]: row["by"] for row in found} == {
        "a": "subtitles", "b": "subtitles", "silent": "shots", "text": None
    }  # fmt: skip
    assert [row["reason"] for row in found if row["kept"] is False] == ["shorter than 1 s"] * 2
    clips = {row["video_id"]: row for row in rows(out, CLIPS, "transcript", "duration_s", "start_s", "notes")}
    assert sorted(clips) == sorted([*of("a"), *of("b"), "silent/000000000-000012000"])
    one = clips[of("a")[1]]
    assert (one["transcript"], one["duration_s"], one["start_s"]) == (PARTS[1], 2.5, 4.5)
    assert not any("long_clip" in note for row in clips.values() for note in row["notes"])
    labels = by_id(rows(out, JUDGMENTS, "labels"), "labels")
    assert [labels[name] for name in of("b")] == [["happy"], ["sad"], ["angry"]]

    # Nothing is left; then a recording changes, and its pieces alone are made anew.
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    done = label_words(films, out, *SPLIT, env=ray_cluster)
    assert [step["rows"] for step in last_run(out)["steps"]] == [0] * 5, done.stderr
    (films / "a.srt").write_text(subtitles(PARTS[:2], TIMES[:2]))
    # The failed one is mended, and asked for.
    shutil.copy(film, films / "text.mp4")
    done = label_words(films, out, *SPLIT, env=ray_cluster)
    assert [(step["name"], step["ok"]) for step in last_run(out)["steps"]] == [
        ("split", 2), ("ingest", 3), ("describe words", 3), ("extract", 3), ("judge", 3)
    ]  # fmt: skip
    assert {path: path.stat().st_mtime_ns for path in before} == before

    (films / "b.mp4").write_text("broken now")
    done = label_words(films, out, *SPLIT, env=ray_cluster)
    told = emo("failures", "--out", out, "--json")
    assert [(row["step"], row["video_id"]) for row in json.loads(told.stdout)["failures"]] == [("split", "b")]
    shutil.copy(film, films / "b.mp4")
    done = emo("failures", "--out", out, "--retry", env=ray_cluster)
    assert done.returncode == 0, done.stderr
    assert [(step["name"], step["ok"]) for step in last_run(out)["steps"]] == [
        ("split", 1), ("ingest", 3), ("describe words", 3), ("extract", 3), ("judge", 3)
    ]  # fmt: skip
    assert json.loads(emo("failures", "--out", out, "--json").stdout)["failures"] == []


def made(out):
    """What was made, but for what differs from run to run."""
    tables = {}
    for table in (SEGMENTS, CLIPS, JUDGMENTS):
        told = [name for name in ("run_id", "seen") if name in table.schema.names]
        found = raw_rows(out, table).drop_columns(told).to_pylist()
        tables[table.name] = sorted(found, key=lambda row: row["video_id"])
    return tables


def test_killed_and_resumed_it_is_equal_to_an_undisturbed_run(films, film, tmp_path, ray_cluster):
    for number in range(4):
        add(films, film, f"more{number}")
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    command = [
        EMO,
        "label",
        films,
        "--out",
        killed,
        *WORDS_ONLY,
        *SPLIT,
    ]
    process = subprocess.Popen(
        list(map(str, command)),
        env={**os.environ, **ray_cluster},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: list(killed.glob("segments/*.parquet")), process, 90)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    assert len(list(killed.glob("segments/*.parquet"))) < 6
    for out in (killed, undisturbed):
        done = label_words(films, out, *SPLIT, env=ray_cluster)
        assert done.returncode == 0, done.stderr
    assert made(killed) == made(undisturbed)
    assert len(made(killed)["clips"]) == 18


def test_files_that_were_one_clip_each_are_their_pieces_once_they_are_split(films, tmp_path, ray_cluster):
    out = tmp_path / "out"
    done = label_words(films, out, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    assert sorted(by_id(rows(out, JUDGMENTS), "run_id")) == ["a", "b"]
    done = label_words(films, out, *SPLIT, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    assert "split: 2 clips of earlier runs count no more" in done.stderr
    for table in (CLIPS, JUDGMENTS):
        assert sorted(by_id(rows(out, table), "run_id")) == sorted([*of("a"), *of("b")])


def test_a_night_splits_what_is_new_and_drops_what_is_gone(films, film, tmp_path, ray_cluster):
    out, settings = tmp_path / "out", tmp_path / "emo.yaml"
    tree = {
        "experts": [{"kind": "words"}],
        "split": {"by": "auto", "workers": 1},
        "ingest": {"workers": 1},
        "retention": {"gone": "drop"},
    }
    settings.write_text(yaml.safe_dump(tree))

    def night():
        done = emo("nightly", films, "--out", out, "--config", settings, "--json", env=ray_cluster)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    told = night()
    assert [(step["name"], step["ok"]) for step in told["steps"]][:2] == [("split", 2), ("ingest", 6)]
    assert sorted(by_id(rows(out, JUDGMENTS), "run_id")) == sorted([*of("a"), *of("b")])
    add(films, film, "c")
    (films / "a.srt").write_text(subtitles(PARTS[:2], TIMES[:2]))
    told = night()
    assert [(step["name"], step["ok"]) for step in told["steps"]][:2] == [("split", 2), ("ingest", 5)]
    # A piece that its recording no longer has is gone, and so are its rows.
    ids = sorted([*of("a")[:2], *of("b"), *of("c")])
    assert sorted(by_id(rows(out, JUDGMENTS), "run_id")) == ids
    (films / "c.mp4").unlink()
    night()
    assert sorted(by_id(rows(out, JUDGMENTS), "run_id")) == [*of("a")[:2], *of("b")]
    assert {row["recording"] for row in rows(out, SEGMENTS)} == {"a", "b"}
    assert len(list(out.glob("segments/*.parquet"))) == 1


def test_the_step_alone_and_its_dry_run(films, tmp_path, ray_cluster):
    out = tmp_path / "out"
    done = emo("split", films / "a.mp4", "--dry")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert lines[1].split()[:5] == ["0.500", "3.000", "subtitles", "a", "clip"]
    assert "shorter than 1 s" in lines[3]
    assert "3 pieces, 1 left out, 0 failed; nothing was written" in done.stderr
    asked = json.loads(emo("split", films / "a.mp4", "--dry", "--json", "--set", "split.by=fixed").stdout)
    assert [(one["start_s"], one["end_s"]) for one in asked["pieces"]] == [(0, 10), (10, 12)]
    assert "shows one recording; SOURCE has 2" in emo("split", films, "--dry").stderr
    assert "no --out is given" in emo("split", films).stderr

    done = emo("split", films, "--out", out, *SPLIT[2:], env=ray_cluster)
    assert "emo split: 2 split, 0 failed, 0 skipped as already done" in done.stderr
    assert len(rows(out, SEGMENTS)) == 8
    plan = emo("plan", films, "--out", out, *WORDS_ONLY, "--set", "split.by=auto")
    told = {line.split()[0]: line.split()[1] for line in plan.stdout.splitlines()[:2]}
    assert told == {"split": "0", "ingest": "6"}
    plan = emo("plan", films, "--out", tmp_path / "none", *WORDS_ONLY, "--set", "split.by=auto")
    assert "hours of video in 2 recordings to split" in plan.stderr


def test_a_change_of_how_recordings_are_split_is_said(films, tmp_path, ray_cluster):
    out = tmp_path / "out"
    # On one machine it needs no Ray.
    done = emo("split", films, "--out", out, *SPLIT[2:])
    assert done.returncode == 0, done.stderr
    assert "Ray is up" not in done.stderr
    done = emo("split", films, "--out", out, *SPLIT[2:], "--set", "split.by=fixed", env=ray_cluster)
    assert done.returncode == 2
    assert "split.by" in done.stderr or "by was" in done.stderr
    done = emo("split", films, "--out", out, *SPLIT[2:], "--set", "split.by=fixed", "--redo", env=ray_cluster)
    assert done.returncode == 0, done.stderr
    newest = max(row["run_id"] for row in rows(out, SEGMENTS))
    assert len([row for row in rows(out, SEGMENTS) if row["run_id"] == newest]) == 4


def test_of_a_recording_that_is_broken_in_its_second_half_the_first_pieces_are_good(
    film, tmp_path, ray_cluster
):
    films, out = tmp_path / "films", tmp_path / "out"
    films.mkdir()
    add(films, film, "good")
    add(films, film, "broken")
    (films / "broken.mp4").unlink()
    whole = make_clip(tmp_path / "whole.mkv", 12, size=(160, 120), sound=("-c:a", "flac")).read_bytes()
    half = len(whole) // 2
    (films / "broken.mkv").write_bytes(whole[:half] + bytes(len(whole) - half))
    done = label_words(films, out, *SPLIT, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    assert "split: 1 of 2 failed (1 truncated)" in done.stderr
    segments = rows(out, SEGMENTS, "status", "kept", "start_s", "end_s", "error")
    (lost,) = [row for row in segments if row["status"] == "failed"]
    assert (lost["recording"], lost["error"]) == ("broken", "truncated")
    assert lost["end_s"] == pytest.approx(12.0, abs=0.1)
    clips = by_id(rows(out, CLIPS, "status"), "status")
    assert clips[of("broken")[0]] == "ok"
    assert of("broken")[2] not in clips
    assert [clips[name] for name in of("good")] == ["ok"] * 3
