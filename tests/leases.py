"""What every storage with a lease must do."""

import time
from contextlib import ExitStack

import pytest

from emo.errors import EmoError
from emo.store import lease
from emo.store.lease import Lease, read_lease
from emo.store.storage import Storage


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stands_still_and_is_replaced(storage, monkeypatch, seconds=20):
    """A holder that stood still for its term learns that another run has OUT, and takes nothing back."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(lease, "machine", lambda: "another machine")
        slow = Lease(storage, "label")
    with slow, ExitStack() as stack:
        with slow._writing:  # as a process that is stopped: it renews nothing
            time.sleep(lease.EXPIRES_S + 0.5)
            taken = stack.enter_context(Lease(Storage(storage.url, storage.s3), "nightly"))
        until(lambda: slow.lost, seconds)
        with pytest.raises(EmoError, match="this run stops"):
            slow.check()
        assert read_lease(storage).holder.command == "nightly"
        taken.check()
