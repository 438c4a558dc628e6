"""A lost answer, a full disk, and what killed writers left: the storage of a run says what it is."""

import os
from pathlib import Path

import pytest

from emo.config import load_config
from emo.errors import StorageError
from emo.run.session import session
from emo.store.lease import Lease, read_lease
from emo.store.storage import Storage


def test_a_lease_whose_answers_are_lost_is_still_held(bucket, monkeypatch):
    url, s3 = bucket
    storage = Storage(url, s3)
    filesystem = storage.backend.filesystem
    real = filesystem.call_s3

    def lossy(method, *arguments, **options):
        if method == "put_object" and "Body" in options:
            real(method, *arguments, **options)
        return real(method, *arguments, **options)

    # The server stores it, the answer is lost, the client sends it again: the second is refused.
    monkeypatch.setattr(filesystem, "call_s3", lossy)
    with Lease(storage, "label") as lease:
        assert not lease.lost
        assert read_lease(storage) is not None
    assert read_lease(storage) is None


def test_no_space_left_is_said_as_such_and_not_taken_for_a_missing_file(tmp_path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full, the file of a disk that is full")
    storage = Storage(str(tmp_path))
    with (
        pytest.raises(StorageError, match=r"clip00\.mp4: no space left on the device"),
        storage.errors("clip00.mp4"),
        full.open("wb", buffering=0) as target,
    ):
        target.write(b"x")


def test_a_run_removes_what_killed_writers_left(tmp_path):
    names = ("clips/.a.x1.part", "votes/words/.b.x2.part", ".lease.x3.part")
    dead = [tmp_path / name for name in names]
    for path in dead:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half a fi")
        os.utime(path, (1e9, 1e9))
    young, foreign = tmp_path / "clips/.c.x4.part", tmp_path / "videos/.d.x5.part"
    foreign.parent.mkdir()
    for path in (young, foreign):
        path.write_bytes(b"")
    os.utime(foreign, (1e9, 1e9))
    with session(load_config(), str(tmp_path), "label", None):
        assert not any(path.exists() for path in dead)
        # Of folders that are not emo's it touches nothing.
        assert young.exists()
        assert foreign.exists()
