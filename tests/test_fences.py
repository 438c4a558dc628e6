"""What a run commits after another has taken its place counts for nobody; what it had committed stays."""

import json
import subprocess
import sys

import pyarrow as pa
import pytest

from emo.errors import StorageError
from emo.store import committed, fences
from emo.store.compaction import compact
from emo.store.storage import Storage
from emo.store.tables import VOTES

WHERE = committed.folder(VOTES, "e")


def commit(storage, run_id, name, label):
    rows = pa.Table.from_pylist(
        [
            {
                "video_id": name,
                "expert": "e",
                "sample": 0,
                "labels": [label],
                "status": "ok",
                "run_id": run_id,
            }
        ],
        schema=VOTES.schema,
    )
    return committed.commit(storage, WHERE, VOTES, f"{run_id}-{name}", rows)


def labels(storage):
    rows = committed.read_newest(storage, WHERE, VOTES, ["labels"]).to_pylist()
    return {row["video_id"]: row["labels"] for row in rows}


@pytest.fixture(params=["local", "s3"])
def storage(request, tmp_path, bucket):
    return Storage(str(tmp_path)) if request.param == "local" else Storage(f"{bucket[0]}/out", bucket[1])


def test_what_a_run_had_committed_counts_and_nothing_that_it_commits_after_its_fence(storage):
    commit(storage, "1", "a", "old")
    commit(storage, "2", "b", "early")
    fences.fence(storage, "2")
    late = commit(storage, "2", "c", "late")
    commit(storage, "3", "d", "new")
    assert labels(storage) == {"a": ["old"], "b": ["early"], "d": ["new"]}
    # Also for a reader that begins now.
    assert labels(Storage(storage.url, storage.s3)) == labels(storage)
    assert late in storage.names()


def test_a_fence_is_set_once(storage):
    fences.fence(storage, "2")
    commit(storage, "2", "a", "late")
    fences.fence(storage, "2")
    assert labels(storage) == {}


def test_a_run_knows_its_fence_and_an_out_without_fences_is_read_as_it_is(storage):
    commit(storage, "1", "a", "old")
    fences.check(storage, "1")
    assert labels(storage) == {"a": ["old"]}
    fences.fence(storage, "1")
    with pytest.raises(StorageError, match="another run has taken the place of run 1"):
        fences.check(storage, "1")
    fences.check(storage, "11")


def test_compaction_keeps_what_counts_and_removes_what_does_not(storage):
    for name in "ab":
        commit(storage, "1", name, "old")
    fences.fence(storage, "1")
    late = commit(storage, "1", "c", "late")
    before = labels(storage)
    done = compact(storage, WHERE, VOTES, "2")
    assert (done.files_before, done.files_after) == (2, 1)
    assert labels(storage) == before == {"a": ["old"], "b": ["old"]}
    assert late not in storage.names()


def test_a_compaction_that_woke_up_after_its_fence_loses_no_row(storage, monkeypatch):
    """It stands still before it writes the merged file, is fenced, goes on and removes what it merged."""
    for name in "ab":
        commit(storage, "1", name, "old")
    real = Storage.write

    def stands_still(self, path, data):
        if committed.MERGED in path:
            fences.fence(self, "2")
        real(self, path, data)

    monkeypatch.setattr(Storage, "write", stands_still)
    compact(storage, WHERE, VOTES, "2")
    assert labels(storage) == {"a": ["old"], "b": ["old"]}


def test_a_torn_fence_is_said_and_not_taken_for_none(storage):
    commit(storage, "1", "a", "old")
    storage.write("fences/1.json", b"{")
    with pytest.raises(StorageError, match=r"fences/1\.json is not a fence"):
        labels(storage)


def test_a_run_that_was_killed_is_fenced_by_the_next_and_one_that_ended_well_is_not(tmp_path):
    """Real commands: the report needs no cluster."""
    program = (
        "import sys\n"
        "from emo.config import load_config\n"
        "from emo.run.session import session\n"
        "with session(load_config(overrides=[]), sys.argv[1], 'report', None) as current:\n"
        "    print(current.run_id, flush=True)\n"
        "    if sys.argv[2] == 'killed':\n"
        "        import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ids = [
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "out"), how], capture_output=True, text=True
        ).stdout.strip()
        for how in ("killed", "well", "well")
    ]
    fenced = sorted(path.stem for path in (tmp_path / "out" / "fences").iterdir())
    assert fenced == [ids[0]]
    assert json.loads((tmp_path / "out" / "fences" / f"{ids[0]}.json").read_text())["files"] == []
