"""Many files become few: no row lost, none twice, whoever reads meanwhile and whenever it is killed."""

import threading
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo.errors import StorageError
from emo.store import committed
from emo.store.compaction import Part, compact, groups
from emo.store.storage import Storage
from emo.store.tables import CLIPS, VOTES


def votes(ids, run_id, label="happy"):
    told = {
        "expert": "e",
        "sample": 0,
        "labels": [label],
        "extractor": "test",
        "parse_ok": True,
        "status": "ok",
        "run_id": run_id,
    }
    return pa.Table.from_pylist([{"video_id": one, **told} for one in ids], schema=VOTES.schema)


def commit(storage, ids, run_id, name, label="happy"):
    committed.commit(storage, VOTES.name, VOTES, f"{run_id}-{name}", votes(ids, run_id, label))


def rows(storage):
    found = committed.read_newest(storage, VOTES.name, VOTES, ["labels"])
    return {row["video_id"]: (row["run_id"], row["labels"]) for row in found.to_pylist()}


def every_row(storage):
    return committed.read_all(storage, VOTES.name, VOTES, []).num_rows


@settings(max_examples=25, deadline=None)
@given(
    shards=st.lists(
        st.tuples(st.sets(st.integers(0, 20), min_size=1, max_size=8), st.integers(1, 4)), max_size=8
    ),
    target=st.sampled_from([0, 2000, 10**9]),
)
def test_compaction_changes_no_newest_row_and_leaves_one_of_each(tmp_path_factory, shards, target):
    storage = Storage(str(tmp_path_factory.mktemp("out")))
    for number, (ids, run) in enumerate(shards):
        commit(storage, [f"clip{i:02d}" for i in sorted(ids)], str(run), str(number), f"label{run}")
    before = rows(storage)
    done = compact(storage, VOTES.name, VOTES, "9", target_bytes=target)
    assert rows(storage) == before
    assert done.files_after == len(committed.files(storage, VOTES.name)) <= done.files_before
    if target > 10**6:
        assert every_row(storage) == len(before)
        assert done.files_after <= 1
    again = compact(storage, VOTES.name, VOTES, "9x", target_bytes=target)
    assert (again.files_after, again.rows_dropped) == (done.files_after, 0)


@settings(max_examples=100, deadline=None)
@given(
    parts=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 50), st.floats(0, 1)), max_size=30),
    target=st.integers(1, 400),
)
def test_no_group_is_larger_than_the_target_and_no_file_in_two(parts, target):
    made = [
        Part(f"{number:03d}", size, count, round(count * share))
        for number, (size, count, share) in enumerate(parts)
    ]
    found = groups(made, target)
    grouped = [part for group in found for part in group]
    assert len({part.path for part in grouped}) == len(grouped)
    for group in found:
        live = [part.size * part.live / part.rows for part in group]
        assert len([weight for weight in live if weight]) <= 1 or sum(live) <= target
        assert len(group) > 1 or group[0].live < group[0].rows


def test_a_kill_between_writing_and_deleting_leaves_every_row_once_for_readers(tmp_path, monkeypatch):
    storage = Storage(str(tmp_path))
    for number in range(6):
        commit(storage, [f"a{number}", f"b{number}"], "1", str(number))
    before = rows(storage)

    def killed(self, path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "delete", killed)
        with pytest.raises(KeyboardInterrupt):
            compact(storage, VOTES.name, VOTES, "2")
    assert every_row(storage) == 2 * len(before)
    assert rows(storage) == before
    assert compact(storage, VOTES.name, VOTES, "3").files_after == 1
    assert rows(storage) == before
    assert every_row(storage) == len(before)


@pytest.mark.parametrize("place", ["local", "s3"])
def test_readers_see_every_row_while_files_are_merged(place, tmp_path, request):
    url, s3 = request.getfixturevalue("bucket") if place == "s3" else (str(tmp_path), None)
    storage = Storage(url, s3)
    names = [f"clip{number:03d}" for number in range(60 if place == "local" else 8)]
    for number, name in enumerate(names):
        commit(storage, [name], "1", f"{number:03d}")
    stop = threading.Event()
    seen = []
    faults = []

    def read():
        while not stop.is_set():
            try:
                seen.append(sorted(rows(storage)))
            except Exception as error:
                faults.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for run, target in enumerate((8_000, 60_000, 10**9), start=2):
            # Ever larger targets: files that were merged are merged again.
            compact(storage, VOTES.name, VOTES, str(run), target_bytes=target)
    finally:
        stop.set()
        reader.join()
    assert faults == []
    assert len(seen) > 1
    assert all(found == names for found in seen)
    assert len(committed.files(storage, VOTES.name)) == 1


def test_rows_of_clips_that_are_gone_are_removed_from_files_of_any_size(tmp_path):
    storage = Storage(str(tmp_path))
    commit(storage, ["a", "b"], "1", "0")
    commit(storage, ["c", "d"], "1", "1")
    done = compact(storage, VOTES.name, VOTES, "2", target_bytes=1, drop=["b"])
    assert sorted(rows(storage)) == ["a", "c", "d"]
    assert done.rows_dropped == 1
    assert b"b" not in {
        row["video_id"] for row in committed.read_all(storage, "votes", VOTES, []).to_pylist()
    }


def test_a_file_that_is_not_of_the_table_stops_a_compaction_before_anything_changes(tmp_path):
    storage = Storage(str(tmp_path))
    commit(storage, ["a"], "1", "0")
    commit(storage, ["b"], "1", "1")
    (tmp_path / "votes/other.parquet").write_bytes(b"PAR1 not really")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    with pytest.raises(StorageError, match=r"other\.parquet is not a readable Parquet file"):
        compact(storage, VOTES.name, VOTES, "2")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")} == before


def test_large_columns_survive_a_merge(tmp_path):
    storage = Storage(str(tmp_path))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for name in ("a", "b"):
        columns = {field.name: pa.nulls(1, field.type) for field in CLIPS.schema}
        columns |= {
            "video_id": pa.array([name]),
            "uri": pa.array([f"/{name}.mp4"]),
            "modified": pa.array([now], CLIPS.schema.field("modified").type),
            "frames": pa.array([[name.encode() * 1000, b"second"]]),
            "audio": pa.array([b"sound"]),
            "status": pa.array(["ok"]),
            "run_id": pa.array(["1"]),
        }
        committed.commit(storage, CLIPS.name, CLIPS, f"1-{name}", pa.table(columns, schema=CLIPS.schema))
    compact(storage, CLIPS.name, CLIPS, "2")
    (path,) = committed.files(storage, CLIPS.name)
    found = committed.read_rows(storage, CLIPS, path, "video_id", ["b"], ["frames", "audio", "modified"])
    assert found.to_pylist() == [
        {"video_id": "b", "frames": [b"b" * 1000, b"second"], "audio": b"sound", "modified": now}
    ]
