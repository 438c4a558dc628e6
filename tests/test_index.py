"""The index of committed files spares reading them, and never changes what is read."""

import io
import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo.errors import DamagedError
from emo.store import committed, fences, index
from emo.store.compaction import compact
from emo.store.storage import Storage
from emo.store.tables import VOTES
from test_committed import WHERE, votes

CLIPS = [f"clip{number}" for number in range(5)]


@pytest.fixture(autouse=True)
def few_files(monkeypatch):
    monkeypatch.setattr(committed, "LEAST_FILES", 2)
    monkeypatch.setattr(committed, "SCAN_FROM", 2)


def commit(storage, name, clips, run_id="1"):
    committed.commit(storage, WHERE, VOTES, name, votes(run_id, [(clip, 0) for clip in clips]))


def read(url, keeps=True):
    """The newest rows as a new process reads them; keeps: as one that holds the lease."""
    storage = Storage(str(url))
    if keeps:
        committed.keep_index(storage)
    return committed.read_newest(storage, WHERE, VOTES, ["status"], with_file=True)


def read_without(url):
    storage = Storage(str(url))
    rows = committed.read_all(storage, WHERE, VOTES, VOTES.light, with_file=True)
    return committed.newest(rows, VOTES.key).select([*VOTES.key, "run_id", "status", "file"])


@pytest.fixture
def opened(monkeypatch):
    """The committed files that were read, as they are read."""
    seen = []
    scan, read_file = committed._scan_local, committed.read_file

    def scanned(storage, paths, schema, needs=()):
        seen.extend(paths)
        return scan(storage, paths, schema, needs)

    def one(storage, table, path, columns=None):
        seen.append(path)
        return read_file(storage, table, path, columns)

    monkeypatch.setattr(committed, "_scan_local", scanned)
    monkeypatch.setattr(committed, "read_file", one)
    return seen


@pytest.fixture
def out(tmp_path):
    storage = Storage(str(tmp_path))
    commit(storage, "1-a", ["clip0", "clip1"])
    commit(storage, "1-b", ["clip2"])
    return tmp_path


def test_what_the_index_knows_is_not_read_again(out, opened):
    first = read(out)
    assert len(opened) == 2
    assert read(out).equals(first)
    assert read(out, keeps=False).equals(first)
    assert len(opened) == 2


def test_only_what_is_new_is_read(out, opened):
    read(out)
    commit(Storage(str(out)), "2-c", ["clip1", "clip3"], "2")
    opened.clear()
    found = read(out)
    assert opened == [f"{WHERE}/2-c.parquet"]
    assert found.column("run_id").to_pylist() == ["1", "2", "1", "2"]
    assert found.equals(read_without(out))


def test_on_s3_it_is_the_same(bucket):
    url, s3 = bucket
    storage = Storage(f"{url}/out", s3)
    commit(storage, "1-a", ["clip0", "clip1"])
    commit(storage, "1-b", ["clip2"])

    def again():
        fresh = Storage(f"{url}/out", s3)
        committed.keep_index(fresh)
        return committed.read_newest(fresh, WHERE, VOTES, ["status"])

    assert again().column("video_id").to_pylist() == ["clip0", "clip1", "clip2"]
    assert storage.names(index.FOLDER) == [f"{index.FOLDER}/{WHERE}.parquet"]
    # Of the same size, and of the same second: S3 tells it by its tag.
    commit(storage, "1-b", ["clip4"])
    assert again().column("video_id").to_pylist() == ["clip0", "clip1", "clip4"]


def test_who_holds_no_lease_writes_none(out):
    read(out, keeps=False)
    assert Storage(str(out)).names(index.FOLDER) == []


def test_of_few_files_there_is_none(out, monkeypatch):
    monkeypatch.setattr(committed, "LEAST_FILES", 3)
    read(out)
    assert Storage(str(out)).names(index.FOLDER) == []


def test_a_file_that_is_another_one_by_now_is_read(out):
    read(out)
    commit(Storage(str(out)), "1-b", ["clip4", "clip3"])
    assert read(out).column("video_id").to_pylist() == ["clip0", "clip1", "clip3", "clip4"]


def test_a_file_of_the_same_size_is_told_by_its_time(out):
    storage = Storage(str(out))
    read(out)
    before = storage.entry(f"{WHERE}/1-b.parquet")
    commit(storage, "1-b", ["clip4"])
    assert storage.entry(before.path).size == before.size
    assert read(out).column("video_id").to_pylist() == ["clip0", "clip1", "clip4"]


def test_rows_of_a_file_that_is_gone_are_gone_and_older_ones_count_again(out):
    storage = Storage(str(out))
    commit(storage, "2-c", ["clip0"], "2")
    assert read(out).column("run_id").to_pylist() == ["2", "1", "1"]
    storage.delete(f"{WHERE}/2-c.parquet")
    assert read(out).column("run_id").to_pylist() == ["1", "1", "1"]


def test_rows_of_a_file_that_counts_no_more_are_gone(out):
    read(out)
    fence = {"run": "1", "files": [f"{WHERE}/1-a.parquet"]}
    Storage(str(out)).write(f"{fences.FOLDER}/1.json", json.dumps(fence).encode())
    assert read(out).column("video_id").to_pylist() == ["clip0", "clip1"]


def test_a_broken_committed_file_is_still_found(out):
    read(out)
    storage = Storage(str(out))
    path = f"{WHERE}/1-a.parquet"
    storage.write(path, storage.read(path)[:-20])
    with pytest.raises(DamagedError):
        read(out)


def test_what_removes_rows_removes_the_index_that_names_them(out):
    read(out)
    storage = Storage(str(out))
    compact(storage, WHERE, VOTES, "9", target_bytes=0, drop=["clip2"])
    assert storage.names(index.FOLDER) == []
    assert read(out).column("video_id").to_pylist() == ["clip0", "clip1"]


def test_a_compaction_that_changes_nothing_leaves_it(out):
    read(out)
    storage = Storage(str(out))
    compact(storage, WHERE, VOTES, "9", target_bytes=0)
    index.remove(storage, "clips")
    assert len(storage.names(index.FOLDER)) == 1
    index.remove(storage)
    assert storage.names(index.FOLDER) == []


@pytest.mark.parametrize("at", [0.0, 0.2, 0.4, 0.6, 0.8, 0.99])
def test_a_broken_index_is_left_aside(out, at):
    first = read(out)
    storage = Storage(str(out))
    (path,) = storage.names(index.FOLDER)
    data = bytearray(storage.read(path))
    where = int(at * len(data))
    data[where : where + 8] = bytes(byte ^ 0xFF for byte in data[where : where + 8])
    storage.write(path, bytes(data))
    assert read(out).equals(first)


def test_an_index_of_other_columns_is_left_aside(out, monkeypatch):
    read(out)
    wider = replace(VOTES, light=("status", "error", "extractor"))
    storage = Storage(str(out))
    found = committed.read_newest(storage, WHERE, wider, ["extractor"])
    assert found.column("extractor").to_pylist() == ["rules"] * 3


def test_an_index_of_another_version_is_left_aside(out, monkeypatch, opened):
    with monkeypatch.context() as earlier:
        earlier.setattr(index, "_THIS_FORM", b"0")
        first = read(out)
    opened.clear()
    assert read(out).equals(first)
    assert set(opened) == set(first.column("file").to_pylist())


def test_an_index_in_many_pieces_says_the_same(out, opened):
    first = read(out)
    opened.clear()
    storage = Storage(str(out))
    (path,) = storage.names(index.FOLDER)
    sink = io.BytesIO()
    whole = pq.read_table(pa.BufferReader(storage.read(path)))
    pq.write_table(whole, sink, row_group_size=1, write_page_checksum=True)
    storage.write(path, sink.getvalue())
    assert read(out).equals(first)
    assert opened == []


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("abcdef"), st.sets(st.sampled_from(CLIPS), min_size=1), st.integers(1, 3)),
        st.sampled_from(["read", "compact", "remove"]),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_whatever_happens_to_the_files_what_is_read_is_what_they_hold(tmp_path_factory, steps):
    out = tmp_path_factory.mktemp("out")
    storage = Storage(str(out))
    for step in steps:
        if step == "read":
            read(out)
        elif step == "compact":
            compact(storage, WHERE, VOTES, "9", target_bytes=10**9)
        elif step == "remove":
            for path in committed.files(storage, WHERE)[:1]:
                storage.delete(path)
        else:
            name, clips, run_id = step
            commit(storage, f"{run_id}-{name}", sorted(clips), str(run_id))
        # Of rows of one key and run in two files, either counts.
        assert read(out).drop_columns("file").equals(read_without(out).drop_columns("file"))
