"""Rounds through the command line: a run that is killed within a round, nights, the plan and the curve."""

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

import wavering
from clips import make_clip
from emo.store.tables import DESCRIPTIONS, JUDGMENTS, VOTES
from labelling import emo, last_run, rows, until

NAMES = ("late1", "sure1", "sure2", "sure3", "torn1", "torn2")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    clip = make_clip(folder / "clip.mp4", seconds=1.0, size=(160, 120))
    for name in NAMES:
        shutil.copy(clip, folder / f"{name}.mp4")
    clip.unlink()
    return folder


def configuration(folder, **more):
    path = folder / "emo.yaml"
    expert = {"kind": wavering.KIND, "name": "a", "samples": 7, "first": 2, **more}
    path.write_text(
        yaml.safe_dump({"experts": [expert], "enough": 0.4, "ingest": {"workers": 1, "shard_rows": 2}})
    )
    return path


def tables(out):
    return [
        [{name: row[name] for name in (*table.key, *columns)} for row in rows(out, table, *columns)]
        for table, columns in (
            (DESCRIPTIONS, ("text", "status")),
            (VOTES, ("labels", "status")),
            (JUDGMENTS, ("labels", "n_answers", "closed_in", "round_agreement", "agreement", "evidence")),
        )
    ]


@pytest.fixture(scope="module")
def undisturbed(videos, ray_cluster, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    done = emo("label", videos, "--out", folder / "out", "--config", configuration(folder), env=ray_cluster)
    assert done.returncode == 0, done.stderr
    told = "rounds: 4.5 answers per clip instead of 7, 36% saved; round 1 closed 3 of 6 clips"
    assert told in done.stderr
    assert ">Rounds</caption>" in (folder / "out/report/index.html").read_text()
    return folder / "out"


def test_a_run_that_is_killed_within_a_round_goes_on_and_ends_as_an_undisturbed_one(
    videos, ray_cluster, undisturbed, tmp_path
):
    hold, out = tmp_path / "hold", tmp_path / "out"
    hold.touch()
    arguments = ["label", videos, "--out", out, "--config", configuration(tmp_path, hold=str(hold))]
    # Workers look for the tests' expert in the folder of the program.
    process = subprocess.Popen(
        [sys.executable, wavering.__file__, *map(str, arguments)],
        env={**os.environ, **ray_cluster},
        stderr=subprocess.PIPE,
        text=True,
    )
    # The second round is about to answer one clip.
    until(Path(f"{hold}.reached").exists, process, 200)
    process.kill()
    process.wait()
    hold.unlink()
    assert last_run(out)["outcome"] == "running"
    done = emo(*arguments, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    assert tables(out) == tables(undisturbed)
    names = [step["name"] for step in last_run(out)["steps"]]
    assert names == ["ingest", "describe a", "extract", "describe a round 2", "extract round 2", "judge"]
    assert last_run(out)["steps"][1]["rows"] == 0


def test_a_night_whose_hours_end_within_a_round_is_ended_by_the_next_as_an_undisturbed_one(
    videos, ray_cluster, undisturbed, tmp_path
):
    hold, out = tmp_path / "hold", tmp_path / "out"
    # The answers of the first round are there, so the night begins within the second one.
    once = tmp_path / "once.yaml"
    expert = {"kind": wavering.KIND, "name": "a", "samples": 2}
    once.write_text(yaml.safe_dump({"experts": [expert], "ingest": {"workers": 1, "shard_rows": 2}}))
    began = time.monotonic()
    done = emo("label", videos, "--out", out, "--config", once, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    # A night that has as long as four passes took is not over before its first one begins.
    hours_s = max(6.0, time.monotonic() - began)
    assert {row["closed_in"] for row in rows(out, JUDGMENTS, "closed_in")} == {None}

    hold.touch()
    short = tmp_path / "short"
    short.mkdir()
    config = configuration(short, hold=str(hold))
    tree = yaml.safe_load(config.read_text()) | {"nightly": {"max_hours": hours_s / 3600}}
    config.write_text(yaml.safe_dump(tree))
    with ThreadPoolExecutor(1) as background:
        night = background.submit(
            emo, "nightly", videos, "--out", out, "--config", config, "--json", env=ray_cluster
        )
        # An answer of the second round is under way when the hours are over: it is kept all the same.
        while not Path(f"{hold}.reached").exists():
            assert not night.done(), night.result().stderr
            time.sleep(0.02)
        time.sleep(hours_s)
        hold.unlink()
        ended = night.result()
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["outcome"] == "stopped_at_bound"
    answers = [row["sample"] for row in rows(out, DESCRIPTIONS, "sample") if row["video_id"] == "torn2"]
    assert sorted(answers) == list(range(7))
    # What no round waits for is judged in the same night; what is open is not closed by the end of it.
    closed = {row["video_id"]: row["closed_in"] for row in rows(out, JUDGMENTS, "closed_in")}
    assert {name: closed[name] for name in closed if name.startswith("sure")} == dict.fromkeys(
        ["sure1", "sure2", "sure3"], 1
    )
    assert all(closed[name] is None for name in closed if not name.startswith("sure"))

    again = emo(
        "nightly", videos, "--out", out, "--config", configuration(tmp_path), "--json", env=ray_cluster
    )
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["outcome"] == "done"
    assert tables(out) == tables(undisturbed)


def test_a_plan_takes_the_closing_rate_of_the_clips_before_and_a_night_says_how_far_off_it_was(
    videos, ray_cluster, undisturbed, tmp_path
):
    out, source = tmp_path / "out", tmp_path / "videos"
    shutil.copytree(undisturbed, out)
    shutil.copytree(videos, source)
    manifest = tmp_path / "manifest.csv"
    names = [*NAMES, "sure4", "sure5", "torn3", "torn4"]
    for name in names[len(NAMES) :]:
        shutil.copy(videos / "sure1.mp4", source / f"{name}.mp4")
    manifest.write_text("video_id,uri\n" + "".join(f"{name},{videos}/{name}.mp4\n" for name in NAMES))
    with manifest.open("a") as more:
        more.writelines(f"{name},{source}/{name}.mp4\n" for name in names[len(NAMES) :])
    planned = emo(
        "plan", manifest, "--out", out, "--config", configuration(tmp_path), "--json", env=ray_cluster
    )
    assert planned.returncode == 0, planned.stderr
    steps = {step["step"]: step for step in json.loads(planned.stdout)["steps"]}
    assert steps["describe a"]["rows"] == 4
    assert steps["describe a round 2"]["expected"] == {"rows": 2, "share": 0.5, "clips": 6}
    assert (steps["describe a round 2"]["rows"], steps["extract round 2"]["rows"]) == (2, 10)
    night = emo(
        "nightly", manifest, "--out", out, "--config", configuration(tmp_path), "--json", env=ray_cluster
    )
    assert night.returncode == 0, night.stderr
    told = json.loads(night.stdout)["rounds"]
    assert (told["expected"], told["answers"], told["off_by"]) == (4 * 2 + 2 * 5, 4 * 2 + 2 * 5, 1.0)
    again = emo("status", "--out", out, "--json", env=ray_cluster)
    assert {row["table"]: row["rows"] for row in json.loads(again.stdout)["tables"]}["judgments"] == 10


def test_the_curve_is_printed_for_clips_that_have_every_answer_and_nothing_is_judged(
    undisturbed, ray_cluster, tmp_path
):
    gold = tmp_path / "gold.csv"
    gold.write_text("video_id,labels\n" + "".join(f"{name},happy\n" for name in NAMES))
    before = sorted(undisturbed.rglob("*.parquet"))
    done = emo("judge", "--out", undisturbed, "--calibrate", gold, "--rounds", env=ray_cluster)
    assert done.returncode == 2
    assert "3 clips have gold labels and all 7 answers of a; expected at least 20" in done.stderr
    refused = emo("judge", "--out", undisturbed, "--rounds", env=ray_cluster)
    assert "--rounds goes with --calibrate GOLD" in refused.stderr
    assert sorted(undisturbed.rglob("*.parquet")) == before
