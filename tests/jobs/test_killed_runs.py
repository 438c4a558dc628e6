"""A run that is killed whole and started again, and two runs on one OUT."""

import os
import random
import signal
import subprocess
import time
from contextlib import contextmanager

import psutil
import pytest

from emo.store.storage import Storage
from emo.store.tables import CLIPS, DESCRIPTIONS, JUDGMENTS, VOTES
from labelling import EMO, WORDS_ONLY, by_id, label_words, raw_rows, rows, spoken_clips, until

SEEDS = range(int(os.environ.get("EMO_TEST_SEEDS", "1")))
CLIP_COUNT = 16


@pytest.fixture(scope="module")
def many_videos(tmp_path_factory):
    return spoken_clips(tmp_path_factory.mktemp("videos"), CLIP_COUNT)


@contextmanager
def labelling(videos, out, *more, env):
    """`emo label` in a process group of its own, to be killed."""
    command = [EMO, "label", videos, "--out", out, *WORDS_ONLY, "--set", "ingest.shard_rows=2", *more]
    command += ["--set", "ingest.workers=2"]
    process = subprocess.Popen(
        list(map(str, command)),
        env={**os.environ, **env},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        kill_everything(process.pid)
        process.wait()
        process.stderr.close()


def kill_everything(pid):
    """Kill a process and all that it started, at once and without a word."""
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=20)


@pytest.mark.parametrize("place", [pytest.param("local", marks=pytest.mark.long), "s3"])
@pytest.mark.parametrize("seed", SEEDS)
def test_after_kill_9_the_same_command_finishes_and_every_clip_is_there_once(
    many_videos, tmp_path, bucket, seed, place
):
    url, s3 = bucket
    out = Storage(f"{url}/out", s3) if place == "s3" else Storage(str(tmp_path / "out"))
    settings = ["--set", f"s3.endpoint_url={s3.endpoint_url}"] if place == "s3" else []
    wait = random.Random(f"{seed} {place}")
    # Its own Ray, which dies with it.
    with labelling(many_videos, out.url, *settings, "--set", "ray.address=local", env={}) as process:
        # Not before the first row is there, else nothing would be tested; then at any moment of the run.
        # The server of S3 is a process that others want to have their turn at.
        until(lambda: out.names("clips"), process, 90, every_s=0.3)
        time.sleep(wait.uniform(0, 8))
        if (seed % 2 == 0) == (place == "s3"):
            _kill_driver_alone(process)
        else:
            kill_everything(process.pid)
    already = {row["video_id"] for row in rows(out, CLIPS)}
    assert already
    committed_before = {path: out.read(path) for path in out.names() if path.endswith(".parquet")}

    done = label_words(many_videos, out.url, "--set", "ingest.shard_rows=2", *settings)
    assert done.returncode == 0, done.stderr
    ids = [f"clip{number:02d}" for number in range(CLIP_COUNT)]
    for table in (CLIPS, DESCRIPTIONS, VOTES, JUDGMENTS):
        found = raw_rows(out, table).column("video_id").to_pylist()
        assert sorted(found) == ids, f"{table.name}: a clip is missing or there twice"
    assert set(by_id(rows(out, JUDGMENTS, "status"), "status").values()) == {"ok"}
    labels = by_id(rows(out, JUDGMENTS, "labels"), "labels")
    assert labels == {name: [["happy"], ["sad"], ["angry"]][number % 3] for number, name in enumerate(ids)}
    # What had been done was not done again.
    for path, data in committed_before.items():
        assert out.read(path) == data


def _kill_driver_alone(process):
    """Kill the driver; all that it started ends by itself."""
    family = _family(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while left := [one.name() for one in family if _lives(one)]:
        assert time.monotonic() < deadline, f"{left} outlived the driver"
        time.sleep(0.2)


def _family(pid):
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def test_two_runs_on_one_out_do_not_meet_and_one_that_is_asked_to_end_gives_its_lease_back(
    many_videos, tmp_path, ray_cluster
):
    out = tmp_path / "out"
    with labelling(many_videos, out, env=ray_cluster) as process:
        until(lambda: (out / "lease.json").exists(), process, 90)
        second = label_words(many_videos, out)
        assert second.returncode == 4
        assert f"is in use by emo label on {os.uname().nodename}, process {process.pid}" in second.stderr
        until(lambda: Storage(str(out)).names("clips"), process, 90)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "what was committed stays" in said
    assert not (out / "lease.json").exists()


def _lives(process):
    try:
        # Two agents that Ray starts for itself, and workers that were just starting and hold nothing yet,
        # notice only after a minute.
        if process.name().startswith(("ray::DashboardA", "ray::RuntimeEnv", "ray::IDLE")):
            return False
        # A zombie has ended: on a machine whose init does not reap, it stays in the list.
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
