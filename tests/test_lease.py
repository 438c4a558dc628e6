"""One run at a time; a dead holder does not lock anybody out."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from conftest import REPOSITORY
from emo.errors import EmoError, LeaseHeldError, StorageError
from emo.store import conditions, lease
from emo.store.lease import Lease
from emo.store.storage import Storage
from leases import stands_still_and_is_replaced, until

HOLD = (
    "import sys, time; from emo.store.lease import Lease; from emo.store.storage import Storage\n"
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
    assert lease.read_lease(storage) is None


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


@pytest.fixture
def brief(quick, monkeypatch):
    """For a lease that nobody renews, however busy the machine is."""
    monkeypatch.setattr(lease, "EXPIRES_S", 0.6)


# Seconds by which this machine's clock is ahead of the holder's.
CLOCKS = pytest.mark.parametrize("ahead", [0, 3600, -3600], ids=["agree", "ahead", "behind"])


@CLOCKS
def test_a_living_holder_elsewhere_keeps_its_lease_whatever_the_clocks_say(
    storage, quick, monkeypatch, ahead
):
    # A busy machine may not renew within a second.
    monkeypatch.setattr(lease, "EXPIRES_S", 20.0)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(lease, "machine", lambda: "another machine")
        holder = Lease(storage, "label")
    with (
        holder,
        pytest.raises(LeaseHeldError, match="in use by emo label"),
        Lease(storage, "nightly", now=lambda: time.time() + ahead),
    ):
        pass
    assert not holder.lost


@CLOCKS
def test_a_dead_holder_elsewhere_loses_its_lease_whatever_the_clocks_say(storage, brief, ahead, capsys):
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

    _write_holder(storage, host=socket.gethostname(), machine=lease.machine(), pid=os.getpid(), started=1.0)
    with Lease(storage, "label"):
        pass


FORMS = {
    "not_json": b"not json",
    "empty": b"",
    "a_list": b"[1]",
    "a_field_is_missing": b'{"host": "elsewhere", "pid": 1}',
    "a_field_has_another_type": b'{"command": "label", "host": "h", "machine": "m", "pid": "x", '
    b'"started": 1, "renewed": 1}',
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_lease_of_an_unknown_form_is_watched_for_the_term_and_then_taken(storage, brief, form, capsys):
    storage.write(lease.PATH, form)
    began = time.monotonic()
    with Lease(storage, "label"):
        assert time.monotonic() - began >= lease.EXPIRES_S
    assert "a run of another version of emo (lease.json) may be dead" in capsys.readouterr().err


def test_a_lease_of_an_unknown_form_that_is_renewed_is_not_taken(storage, quick, monkeypatch):
    looks = []

    def renewed_after(seconds):
        looks.append(seconds)
        storage.write(lease.PATH, json.dumps({"lease": 2, "look": len(looks)}).encode())

    storage.write(lease.PATH, b'{"lease": 2}')
    # Between two looks the other one renews.
    monkeypatch.setattr(lease.time, "sleep", renewed_after)
    with pytest.raises(LeaseHeldError, match="another version of emo"), Lease(storage, "label"):
        pass
    monkeypatch.undo()
    assert json.loads(storage.read(lease.PATH))["lease"] == 2


def test_what_a_later_version_adds_to_a_lease_does_not_make_its_holder_dead(storage):
    _write_holder(storage, colour="green")
    with pytest.raises(LeaseHeldError, match="emo label on elsewhere"), Lease(storage, "label"):
        pass


def test_the_holder_renews_and_notices_when_it_lost(storage, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_S", 0.05)
    with Lease(storage, "label") as held:
        first = storage.read(lease.PATH)
        until(lambda: storage.read(lease.PATH) != first)
        assert not held.lost
        _write_holder(storage)
        until(lambda: held.lost)
    # What is there now belongs to the other run: it must not be removed.
    assert json.loads(storage.read(lease.PATH))["host"] == "elsewhere"


def test_a_killed_process_that_nobody_asks_after_holds_nothing(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    os.kill(holder.pid, signal.SIGKILL)
    until(lambda: psutil.Process(holder.pid).status() == psutil.STATUS_ZOMBIE)
    storage = Storage(str(tmp_path))
    with Lease(storage, "label"):
        assert json.loads(storage.read(lease.PATH))["pid"] == os.getpid()
    holder.wait()


def test_a_write_whose_answer_was_lost_is_no_loss_of_the_lease(storage, monkeypatch):
    with Lease(storage, "label") as held:
        real = storage.replace_if

        def unheard(path, version, data):
            assert real(path, version, data) is not None
            raise StorageError("the answer was lost")

        with monkeypatch.context() as lossy:
            lossy.setattr(storage, "replace_if", unheard)
            with pytest.raises(StorageError):
                held.carry("20260101T000000Z")
        held.carry("20260101T000001Z")
        assert not held.lost
    assert lease.read_lease(storage) is None


def test_giving_back_leaves_the_lease_of_a_successor_also_when_it_comes_at_the_last_moment(
    storage, monkeypatch
):
    """The successor writes its lease right before the request that gives this one back."""
    name = "replace_if" if storage.on_s3 else "delete_if"
    real = getattr(storage, name)

    def late(path, version, *data):
        _write_holder(storage)
        return real(path, version, *data)

    with Lease(storage, "label"):
        monkeypatch.setattr(storage, name, late)
    assert json.loads(storage.read(lease.PATH))["host"] == "elsewhere"


def test_a_holder_whose_lease_cannot_be_renewed_for_its_term_stops(storage, quick, monkeypatch):
    with Lease(storage, "label") as held:
        held.check()

        def unreachable(*_):
            raise StorageError("no answer")

        monkeypatch.setattr(storage, "replace_if", unreachable)
        until(lambda: held.lost)
        with pytest.raises(EmoError, match="could not be renewed for 1 s"):
            held.check()


def test_a_holder_that_stood_still_for_its_term_knows_it_at_once(storage, monkeypatch):
    """Before its own thread has had a word with the storage."""
    monkeypatch.setattr(lease, "RENEW_S", 600)
    with Lease(storage, "label") as held:
        held.check()
        now = lease.clock()
        monkeypatch.setattr(lease, "clock", lambda: now + lease.EXPIRES_S + 1)
        with pytest.raises(EmoError, match="another run may have taken it"):
            held.check()


HIDDEN = (
    "import sys; from emo.store import lease; from emo.store.storage import Storage\n"
    "held = lease.read_lease(Storage(sys.argv[1]))\n"
    "print(lease.runs_here(held.holder))\n"
)


def test_a_process_that_another_user_may_not_see_is_not_dead(tmp_path):
    """A real /proc with hidepid=2, in a mount namespace of its own, looked at by another user."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv", "mount"))):
        pytest.skip("needs root, unshare and setpriv, to hide processes from another user")
    readable = REPOSITORY.stat().st_mode & 0o005 == 0o005
    mount = ["unshare", "--mount", "sh", "-c"]
    nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    hide = f'mount -t proc -o hidepid=2 proc /proc && exec {nobody} "$@"'
    as_nobody = [*mount, hide, "sh", sys.executable, "-c"]
    if not readable or subprocess.run([*as_nobody, "import emo"], cwd=REPOSITORY).returncode:
        pytest.skip("no second user can run Python here")
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    place.chmod(0o755)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(place)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"

        def seen():
            return subprocess.run(
                [*as_nobody, HIDDEN, str(place)], cwd=REPOSITORY, capture_output=True, text=True
            ).stdout.strip()

        assert seen() == "None"
        holder.kill()
        holder.wait()
        assert seen() == "False"
    finally:
        holder.kill()
        holder.wait()
        shutil.rmtree(place)


@pytest.fixture
def unconditional(bucket):
    """An OUT on a server of which it was found out that it writes whatever the condition."""
    storage = Storage(f"{bucket[0]}/out", bucket[1])
    found = {"endpoint": bucket[1].endpoint_url, "new": False, "tag": None}
    storage.write(conditions.PATH, json.dumps(found).encode())
    return storage


@pytest.fixture
def quick_claims(quick, monkeypatch):
    monkeypatch.setattr(lease, "SETTLE_S", 0.2)


def test_without_conditions_a_second_run_stops_at_once_and_emo_says_how_it_makes_sure(
    unconditional, quick_claims, capsys
):
    with Lease(unconditional, "label") as held:
        assert "this server writes whatever the condition" in capsys.readouterr().err
        first = lease.read_lease(unconditional).version
        until(lambda: lease.read_lease(unconditional).version != first)
        with pytest.raises(LeaseHeldError, match="in use by emo label"), Lease(unconditional, "nightly"):
            pass
        held.check()
    assert lease.read_lease(unconditional) is None
    with Lease(unconditional, "nightly"):
        pass


def test_without_conditions_of_many_that_begin_at_once_no_two_hold_it(unconditional, quick_claims):
    holding, seen, lock = set(), [], threading.Lock()

    def contend(number):
        try:
            with Lease(Storage(unconditional.url, unconditional.s3), "label"):
                with lock:
                    holding.add(number)
                    seen.append(len(holding))
                time.sleep(0.5)
                with lock:
                    holding.remove(number)
        except LeaseHeldError:
            pass

    threads = [threading.Thread(target=contend, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(seen, default=1) == 1
    with Lease(unconditional, "label"):
        pass


def test_without_conditions_a_holder_whose_claim_was_removed_stops_and_takes_nothing_back(
    unconditional, quick_claims, monkeypatch
):
    stands_still_and_is_replaced(unconditional, monkeypatch)


def test_without_conditions_a_lease_of_an_earlier_version_is_respected(unconditional, quick_claims):
    _write_holder(unconditional)
    with pytest.raises(LeaseHeldError, match="elsewhere"), Lease(unconditional, "label"):
        pass
