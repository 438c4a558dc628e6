"""One run at a time; a dead holder does not lock anybody out."""

import json
import os
import signal
import subprocess
import sys
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


def test_a_holder_on_another_machine_keeps_it_until_it_expires(storage):
    _write_holder(storage)
    with pytest.raises(LeaseHeldError, match="elsewhere"), Lease(storage, "label"):
        pass
    _write_holder(storage, renewed=time.time() - lease.EXPIRES_S - 1)
    with Lease(storage, "label"):
        pass


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
    assert lease.holder(storage) is None
    with Lease(storage, "label"):
        assert lease.holder(storage).pid == os.getpid()
    holder.wait()


def test_a_write_whose_answer_was_lost_is_no_loss_of_the_lease(storage):
    with Lease(storage, "label") as held:
        # The same holder's own write, by a request that the client sent twice.
        storage.write(lease.PATH, held._bytes())
        assert held._replace(held._version) is not None
