"""Runs of one machine that need no model: without Ray, and with the tables that Ray would make."""

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from emo import machine
from emo.run.here import Here
from emo.store.lease import read_lease
from emo.store.storage import Storage
from labelling import EMO, WORDS_ONLY, label_words, last_run, spoken_clips, tables, until

ALONE = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
CLIP_COUNT = 8


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return spoken_clips(tmp_path_factory.mktemp("videos"), CLIP_COUNT, broken=True)


@pytest.fixture(scope="module")
def on_ray(videos, tmp_path_factory, ray_cluster):
    out = tmp_path_factory.mktemp("on_ray") / "out"
    done = label_words(videos, out, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    return tables(Storage(str(out)))


def start(videos, out, workers=2):
    command = [EMO, "label", videos, "--out", out, *WORDS_ONLY, "--set", "ingest.shard_rows=1"]
    # The last `ingest.workers` counts.
    return subprocess.Popen(
        [*map(str, command), "--set", f"ingest.workers={workers}"],
        env=ALONE,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def family(process):
    """All processes below a run, and their command lines."""
    found = {}
    try:
        for one in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):
                found[one] = " ".join(one.cmdline())
    except psutil.Error:
        pass
    return found


def workers(process):
    """The processes at the shards of a run."""
    return [one for one, line in family(process).items() if "emo.run.here" in line]


def test_without_a_model_there_is_no_ray_and_the_tables_are_those_of_ray(videos, on_ray, tmp_path):
    run = start(videos, tmp_path / "out")
    seen = set()
    while run.poll() is None:
        seen |= set(family(run).values())
        time.sleep(0.2)
    said = run.stderr.read()
    assert run.returncode == 0, said
    assert any("emo.run.here" in line for line in seen)
    assert not any("raylet" in line for line in seen)
    assert "Ray is up" not in said
    assert tables(Storage(str(tmp_path / "out"))) == on_ray
    log = Path(said.partition("what the workers said is in ")[2].splitlines()[0])
    assert '"event": "failed"' in log.read_text()
    log.unlink()
    steps = {step["name"]: step for step in last_run(tmp_path / "out")["steps"]}
    assert (steps["ingest"]["ok"], steps["ingest"]["failed"]) == (CLIP_COUNT, 1)
    assert 1 <= steps["ingest"]["workers"] <= 2


def test_workers_that_are_killed_cost_no_row(videos, on_ray, tmp_path):
    chance, killed = random.Random(7), 0
    run = start(videos, tmp_path / "out")
    while run.poll() is None:
        if killed < 3 and list((tmp_path / "out/clips").glob("*")) and (found := workers(run)):
            chance.choice(found).kill()
            killed += 1
        time.sleep(0.1)
    assert run.returncode == 0, run.stderr.read()
    assert killed
    assert tables(Storage(str(tmp_path / "out"))) == on_ray


def test_a_command_that_ends_takes_its_workers_along_and_the_next_goes_on(videos, on_ray, tmp_path):
    """Ended in turn in each way, over what the one before left."""
    out, before = tmp_path / "out", 0
    for number, workers_wanted in ((signal.SIGKILL, 2), (signal.SIGINT, 1), (signal.SIGTERM, 1)):
        run = start(videos, out, workers_wanted)
        until(lambda before=before: len(list(out.rglob("*.parquet"))) > before, run, 60)
        # It gives out no other shard meanwhile, so that there is something left for the next.
        run.send_signal(signal.SIGSTOP)
        below = list(family(run))
        assert below
        run.send_signal(number)
        run.send_signal(signal.SIGCONT)
        run.wait(timeout=60)
        assert run.returncode == (-number if number == signal.SIGKILL else 130)
        assert psutil.wait_procs(below, timeout=10)[1] == []
        if number != signal.SIGKILL:
            assert read_lease(Storage(str(out))) is None
        before = len(list(out.rglob("*.parquet")))
    again = label_words(videos, out, "--set", "ingest.shard_rows=1")
    assert again.returncode == 0, again.stderr
    assert tables(Storage(str(out))) == on_ray


def test_a_container_that_may_use_half_of_the_cpus_is_given_half_of_the_workers(tmp_path, monkeypatch):
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(machine, "_CPU_QUOTA", quota)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for text, expected in {"max 100000": 8, "350000 100000": 4, "50000 100000": 1, "": 8}.items():
        quota.write_text(text)
        assert machine.cpus() == expected
    quota.unlink()
    assert machine.cpus() == 8
    assert Here(None).room()[0]["CPU"] == 8
    assert Here(3).room()[0]["CPU"] == 3
