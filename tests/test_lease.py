"""One run at a time; a dead holder does not lock anybody out."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from emo import lease
from emo.errors import LeaseHeldError
from emo.lease import Lease
from emo.storage import Storage

HOLD = (
    "import sys, time; from emo.lease import Lease; from emo.storage import Storage\n"
    "with Lease(Storage(sys.argv[1]), 'label'):\n"
    "    print('held', flush=True); time.sleep(600)\n"
)


@pytest.fixture(params=["local", "s3"])
def storage(request, tmp_path, bucket):
    return Storage(str(tmp_path)) if request.param == "local" else Storage(f"{bucket[0]}/out", bucket[1])


def test_a_second_run_stops_at_once_and_says_who_holds_it(storage):
    with (
        Lease(storage, "label"),
        pytest.raises(LeaseHeldError, match=rf"in use by emo label on .*, process {os.getpid()}"),
        Lease(storage, "describe"),
    ):
        pass


def test_a_lease_is_given_back(storage):
    for _ in range(3):
        with Lease(storage, "label"):
            pass
    assert storage.read_versioned(lease.PATH) is None


def test_a_lease_is_given_back_after_an_error(storage):
    with pytest.raises(ZeroDivisionError), Lease(storage, "label"):
        raise ZeroDivisionError
    with Lease(storage, "label"):
        pass


def test_the_lease_of_a_killed_process_is_free_at_once(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    storage = Storage(str(tmp_path))
    with pytest.raises(LeaseHeldError, match=f"process {holder.pid}"), Lease(storage, "label"):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    began = time.monotonic()
    with Lease(storage, "label"):
        pass
    assert time.monotonic() - began < 5


def _write_holder(storage, **changes):
    now = time.time()
    holder = {
        "command": "label",
        "host": "elsewhere",
        "machine": "m",
        "pid": 1,
        "started": 1.0,
        "renewed": now,
    }
    storage.write(lease.PATH, json.dumps({**holder, **changes}).encode())


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(lease, "EXPIRES_S", 1.0)
    monkeypatch.setattr(lease, "RENEW_S", 0.1)
    monkeypatch.setattr(lease, "LOOK_S", 0.05)


# Seconds by which this machine's clock is ahead of the holder's.
CLOCKS = pytest.mark.parametrize("ahead", [0, 3600, -3600], ids=["agree", "ahead", "behind"])


@CLOCKS
def test_a_living_holder_elsewhere_keeps_its_lease_whatever_the_clocks_say(
    storage, quick, monkeypatch, ahead
):
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(lease, "_machine", lambda: "another machine")
        holder = Lease(storage, "label")
    with (
        holder,
        pytest.raises(LeaseHeldError, match="in use by emo label"),
        Lease(storage, "nightly", now=lambda: time.time() + ahead),
    ):
        pass
    assert not holder.lost


@CLOCKS
def test_a_dead_holder_elsewhere_loses_its_lease_whatever_the_clocks_say(storage, quick, ahead, capsys):
    _write_holder(storage, renewed=time.time() - 1 - ahead)
    began = time.monotonic()
    with Lease(storage, "nightly"):
        assert time.monotonic() - began >= lease.EXPIRES_S
    assert "process 1 may be dead; waiting up to 1 s for a sign of life" in capsys.readouterr().err


def test_a_holder_elsewhere_that_was_heard_of_a_moment_ago_is_not_waited_for(storage):
    _write_holder(storage)
    began = time.monotonic()
    with pytest.raises(LeaseHeldError, match="elsewhere"), Lease(storage, "label"):
        pass
    assert time.monotonic() - began < 5


def test_a_lease_that_is_given_back_while_it_is_watched_is_taken_at_once(storage, monkeypatch):
    _write_holder(storage, renewed=0)
    monkeypatch.setattr(lease, "LOOK_S", 0.05)
    gives_back = threading.Timer(0.3, lambda: storage.delete(lease.PATH))
    gives_back.start()
    with Lease(storage, "label") as taken:
        assert not taken.lost
    gives_back.join()


def test_a_clock_that_is_set_while_a_process_holds_the_lease_does_not_make_it_dead(tmp_path, monkeypatch):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 7200)
        # The system reckons the start of a process from the time of day too.
        monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: real() + 7200)
        with pytest.raises(LeaseHeldError, match=f"process {holder.pid}"), Lease(Storage(str(tmp_path)), "x"):
            pass
    finally:
        holder.kill()
        holder.wait()


def test_a_process_number_that_was_given_anew_is_not_the_holder(storage):
    import socket

    _write_holder(storage, host=socket.gethostname(), machine=lease._machine(), pid=os.getpid(), started=1.0)
    with Lease(storage, "label"):
        pass


def test_a_lease_file_that_is_not_one_does_not_lock_for_ever(storage):
    storage.write(lease.PATH, b"not json")
    with Lease(storage, "label"):
        pass


def test_the_holder_renews_and_notices_when_it_lost(storage, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_S", 0.05)
    with Lease(storage, "label") as held:
        first = storage.read(lease.PATH)
        _wait(lambda: storage.read(lease.PATH) != first)
        assert not held.lost
        _write_holder(storage)
        _wait(lambda: held.lost)
    # What is there now belongs to the other run: it must not be removed.
    assert json.loads(storage.read(lease.PATH))["host"] == "elsewhere"


def _wait(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_process_that_nobody_asks_after_holds_nothing(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    os.kill(holder.pid, signal.SIGKILL)
    _wait(lambda: psutil.Process(holder.pid).status() == psutil.STATUS_ZOMBIE)
    storage = Storage(str(tmp_path))
    with Lease(storage, "label"):
        assert json.loads(storage.read(lease.PATH))["pid"] == os.getpid()
    holder.wait()


def test_a_write_whose_answer_was_lost_is_no_loss_of_the_lease(storage):
    with Lease(storage, "label") as held:
        # The same holder's own write, by a request that the client sent twice.
        storage.write(lease.PATH, held._bytes())
        assert held._replace(held._version) is not None
