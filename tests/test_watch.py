"""A run is seen from outside as it is: in progress, dead, ended; and who looks can stop at any time."""

import os
import pty
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from emo.store import holder, lease
from emo.store.lease import Lease, read_lease
from emo.store.runs import Run, StepRecord
from emo.store.storage import Storage
from emo.terminal.watch import Watch
from labelling import EMO, emo

STEPS = [
    StepRecord("ingest", rows=10, ok=9, failed=1, seconds=5.0),
    StepRecord("describe words", rows=9, ok=3, failed=1, seconds=8.0),
]


class Clock:
    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


def save_run(storage, outcome="running"):
    run = Run("20260501T120000Z", "label", "videos", {}, datetime.now(UTC).isoformat(), steps=STEPS)
    run.outcome = outcome
    run.save(storage)


@pytest.fixture
def storage(tmp_path):
    return Storage(str(tmp_path / "out"))


def test_a_run_in_progress_shows_every_step_and_who_holds_the_lease(storage):
    save_run(storage)
    with Lease(storage, "label"):
        view = Watch(storage).look()
    assert view.active
    assert view.lines() == [
        f"run 20260501T120000Z (label): running; held by {_me()}",
        "  ingest                  10/10, 1 failed, 2.0/s, took 5 s",
        "  describe words          4/9, 1 failed, 2.0 s each, 10 s left",
    ]
    assert view.line() == f"{view.lines()[0]}; describe words: 4/9, 1 failed, 2.0 s each, 10 s left"


def test_of_steps_side_by_side_each_that_goes_on_is_told(storage):
    beside = StepRecord("describe face", rows=9, ok=2, seconds=8.0)
    run = Run(
        "20260501T120000Z", "label", "videos", {}, datetime.now(UTC).isoformat(), steps=[*STEPS, beside]
    )
    run.save(storage)
    with Lease(storage, "label"):
        view = Watch(storage).look()
    words, face = "4/9, 1 failed, 2.0 s each, 10 s left", "2/9, 0 failed, 4.0 s each, 28 s left"
    assert view.line() == f"{view.lines()[0]}; describe words: {words}; describe face: {face}"


def _me():
    return f"emo label on {os.uname().nodename}, process {os.getpid()}"


def test_before_the_first_run_there_is_nothing_to_see(storage):
    assert Watch(storage).look() is None


def test_an_ended_run_is_told_as_the_last_one_and_none_is_active(storage):
    save_run(storage, outcome="done")
    view = Watch(storage).look()
    assert not view.active
    assert view.lines()[0] == "run 20260501T120000Z (label): done; no run is active"
    # No time left: nobody works on it.
    assert view.lines()[2] == "  describe words          4/9, 1 failed, 2.0 s each, took 8 s"


def test_a_run_that_takes_the_lease_is_waited_for(storage):
    save_run(storage, outcome="done")
    with Lease(storage, "label"):
        view = Watch(storage).look()
        assert view.active
        assert view.lines()[0].endswith(f"held by {_me()}, which begins")


def test_a_run_elsewhere_is_dead_when_its_lease_stands_still_while_it_is_watched(storage, monkeypatch):
    save_run(storage)
    with Lease(storage, "label"):
        monkeypatch.setattr(holder, "machine", lambda: "another")
        monkeypatch.setattr(lease.time, "time", lambda: 4e9)
        clock = Clock()
        watching = Watch(storage, clock)
        assert watching.look().active
        clock.now += lease.EXPIRES_S - 1
        view = watching.look()
        assert view.active
        assert "without a sign of life for 89 s" in view.lines()[0]
        # A renewal is one.
        held = read_lease(storage)
        data, version = storage.read_versioned(lease.PATH)
        storage.replace_if(lease.PATH, version, data.replace(b"}", b" }"))
        clock.now += 2
        assert watching.look().active
        clock.now += lease.EXPIRES_S
        view = watching.look()
        assert not view.active
        assert (
            f"no run is active: {held.holder.describe()} died (no sign of life for 90 s)" in view.lines()[0]
        )


def test_a_killed_run_is_told_at_once_and_the_command_ends(storage):
    hold = (
        "import sys, time; from emo.store.lease import Lease; from emo.store.storage import Storage\n"
        "with Lease(Storage(sys.argv[1]), 'label'): print('held', flush=True); time.sleep(600)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", hold, storage.url], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    save_run(storage)
    holder.kill()
    holder.wait()
    done = emo("status", "--out", storage.url, "--watch", "--preset", "signals")
    assert done.returncode == 0, done.stderr
    assert f", process {holder.pid} died (its process is gone)" in done.stderr
    assert "not active" in done.stderr
    assert "running" not in done.stderr


def test_ctrl_c_ends_the_watching_and_nothing_else(storage):
    save_run(storage)
    with Lease(storage, "label"):
        ours, theirs = pty.openpty()
        command = [EMO, "status", "--watch", "--out", storage.url, "--preset", "signals"]
        watcher = subprocess.Popen(command, stderr=theirs, stdout=subprocess.PIPE)
        os.close(theirs)
        seen = b""
        # Drawn twice, the second time over the first.
        while b"\x1b[3A\x1b[J" not in seen:
            seen += os.read(ours, 10_000)
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(30) == 0
        assert watcher.stdout.read() == b""
        seen += os.read(ours, 10_000)
        os.close(ours)
        assert b"no longer watching; the run goes on" in seen
        assert b"Traceback" not in seen
        assert read_lease(storage) is not None
