"""Committed rows: the newest per key, nothing foreign, nothing in silence."""

import errno
import time
from contextlib import suppress
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emo.errors import DamagedError, StorageError
from emo.status import set_aside
from emo.store import committed
from emo.store.compaction import compact
from emo.store.local import LocalFolder
from emo.store.storage import Storage
from emo.store.tables import VOTES


def votes(run_id, rows, label="happy"):
    columns = {
        "video_id": [video_id for video_id, _ in rows],
        "expert": ["voice"] * len(rows),
        "sample": [sample for _, sample in rows],
        "labels": [[f"{label}-{video_id}"] for video_id, _ in rows],
        "extractor": ["rules"] * len(rows),
        "parse_ok": [True] * len(rows),
        "status": ["ok"] * len(rows),
        "error": [None] * len(rows),
        "error_message": [None] * len(rows),
        "run_id": [run_id] * len(rows),
    }
    rest = {
        field.name: pa.nulls(len(rows), field.type) for field in VOTES.schema if field.name not in columns
    }
    return pa.table({**columns, **rest}, schema=VOTES.schema)


@pytest.fixture
def storage(tmp_path):
    return Storage(str(tmp_path))


WHERE = committed.folder(VOTES, "voice")


def test_the_newest_run_of_a_key_wins(storage):
    committed.commit(storage, WHERE, VOTES, "2-x", votes("2", [("b", 0), ("c", 0)], "new"))
    committed.commit(storage, WHERE, VOTES, "1-x", votes("1", [("a", 0), ("b", 0), ("b", 1)], "old"))
    rows = committed.read_newest(storage, WHERE, VOTES, ["labels"], with_file=True)
    assert list(
        zip(*(rows.column(n).to_pylist() for n in ("video_id", "sample", "labels")), strict=True)
    ) == [
        ("a", 0, ["old-a"]),
        ("b", 0, ["new-b"]),
        ("b", 1, ["old-b"]),
        ("c", 0, ["new-c"]),
    ]
    assert rows.column("file").to_pylist()[1] == f"{WHERE}/2-x.parquet"


def test_a_shard_that_is_committed_again_is_there_once(storage):
    for _ in range(2):
        committed.commit(storage, WHERE, VOTES, "1-x", votes("1", [("a", 0)]))
    assert committed.read_newest(storage, WHERE, VOTES, []).num_rows == 1
    assert len(committed.files(storage, WHERE)) == 1


def test_all_experts_are_read_together_from_the_folder_of_the_table(storage):
    committed.commit(storage, WHERE, VOTES, "1-x", votes("1", [("a", 0)]))
    other = votes("1", [("a", 0)]).set_column(1, VOTES.schema.field("expert"), pa.array(["face"]))
    committed.commit(storage, committed.folder(VOTES, "face"), VOTES, "1-x", other)
    rows = committed.read_newest(storage, committed.folder(VOTES), VOTES, [])
    assert rows.column("expert").to_pylist() == ["face", "voice"]


def test_an_empty_table_has_its_columns(storage):
    rows = committed.read_newest(storage, WHERE, VOTES, ["labels"], with_file=True)
    assert rows.num_rows == 0
    assert rows.column_names == ["video_id", "expert", "sample", "run_id", "labels", "file"]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (pa.table({"x": [1]}), "no column 'video_id'"),
        (
            votes("1", [("a", 0)]).set_column(2, "sample", pa.array(["zero"])),
            "column 'sample' is string, expected int32",
        ),
    ],
)
def test_a_foreign_file_is_named_and_refused(storage, tmp_path, table, expected):
    (tmp_path / WHERE).mkdir(parents=True)
    pq.write_table(table, tmp_path / WHERE / "foreign.parquet")
    with pytest.raises(
        StorageError, match=rf"foreign\.parquet is not a file of the votes table: .*{expected}"
    ):
        committed.read_newest(storage, WHERE, VOTES, ["labels"])


def test_what_arrow_says_of_a_damaged_file_in_several_lines_is_one(storage, tmp_path):
    committed.commit(storage, WHERE, VOTES, "1-x", votes("1", [("a", 0)]))
    path = tmp_path / WHERE / "1-x.parquet"
    whole = path.read_bytes()
    # Its last part, which tells what is where, is of another kind at its first byte.
    length = int.from_bytes(whole[-8:-4], "little")
    path.write_bytes(whole[: -8 - length] + b"\x1f" + whole[-7 - length :])
    with pytest.raises(DamagedError, match=r"1-x\.parquet is not a readable Parquet file: .*thrift") as error:
        committed.read_newest(storage, WHERE, VOTES, ["labels"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: b"", lambda data: b"x" * 500])
def test_a_damaged_file_is_named_and_refused(storage, tmp_path, damage):
    committed.commit(storage, WHERE, VOTES, "1-x", votes("1", [("a", 0)]))
    path = tmp_path / WHERE / "1-x.parquet"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StorageError, match=r"1-x\.parquet is not a readable Parquet file"):
        committed.read_newest(storage, WHERE, VOTES, ["labels"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: rows.drop_columns("labels"), "it has no column 'labels'"),
        (lambda rows: rows.drop_columns("video_id"), "it has no column 'video_id'"),
        (
            lambda rows: rows.set_column(2, "sample", pa.array([0], pa.int64())),
            "column 'sample' is int64, expected int32",
        ),
        (
            lambda rows: rows.set_column(0, "video_id", pa.nulls(1, pa.string())),
            "column 'video_id' has rows without a value",
        ),
    ],
)
def test_a_foreign_file_is_refused_by_its_fault_on_a_disk_as_on_s3(tmp_path, bucket, change, expected):
    for storage in (Storage(str(tmp_path)), Storage(f"{bucket[0]}/out", bucket[1])):
        committed.commit(storage, WHERE, VOTES, "1-good", votes("1", [("a", 0)]))
        foreign = pa.BufferOutputStream()
        pq.write_table(change(votes("1", [("b", 0)])), foreign)
        storage.write(f"{WHERE}/1-foreign.parquet", foreign.getvalue().to_pybytes())
        message = rf"1-foreign\.parquet is not a file of the votes table: {expected}"
        with pytest.raises(StorageError, match=message):
            committed.read_all(storage, WHERE, VOTES, ["labels"])


@given(st.lists(st.integers(0, 300), min_size=1, unique=True))
def test_rows_of_a_file_come_in_the_order_asked_for(tmp_path_factory, wanted):
    folder = tmp_path_factory.getbasetemp() / "rows"
    storage = Storage(str(folder))
    if not committed.files(storage, WHERE):
        rows = [(f"clip-{number:04d}", 0) for number in range(200)]
        committed.commit(storage, WHERE, VOTES, "1-x", votes("1", rows))
    ids = [f"clip-{number:04d}" for number in wanted]
    found = committed.read_rows(storage, VOTES, f"{WHERE}/1-x.parquet", "video_id", ids, ["labels"])
    assert found.column("video_id").to_pylist() == [name for name in ids if name < "clip-0200"]
    assert found.column("labels").to_pylist() == [
        [f"happy-{name}"] for name in found.column("video_id").to_pylist()
    ]


def test_many_local_files_are_scanned_at_once_with_the_same_rows(storage):
    for run in ("1", "2"):
        for number in range(5):
            committed.commit(storage, WHERE, VOTES, f"{run}-{number}", votes(run, [(f"{number}", 0)]))
    paths = committed.files(storage, WHERE)
    schema = pa.schema(
        [*(VOTES.schema.field(name) for name in (*VOTES.key, "run_id")), ("file", pa.string())]
    )
    scanned = committed._scan_local(storage, paths, schema)
    one_by_one = pa.concat_tables(
        committed.read_file(storage, VOTES, path, schema.names[:-1]).append_column("file", pa.array([path]))
        for path in paths
    )
    order = [("run_id", "ascending"), ("video_id", "ascending")]
    assert scanned.sort_by(order).equals(one_by_one.cast(schema).sort_by(order))


@pytest.mark.parametrize("place", ["local", "s3"])
def test_rows_of_a_file_that_a_compaction_took_away_since_it_was_listed_are_found(place, tmp_path, bucket):
    storage = Storage(str(tmp_path)) if place == "local" else Storage(f"{bucket[0]}/out", bucket[1])
    for name in "abc":
        committed.commit(storage, WHERE, VOTES, f"1-{name}", votes("1", [(name, 0), (name, 1)]))
    committed.commit(storage, WHERE, VOTES, "2-b", votes("2", [("b", 0)]))
    planned = committed.read_newest(storage, WHERE, VOTES, [], with_file=True).to_pylist()
    expected = [(row["video_id"], row["sample"], row["run_id"]) for row in planned]
    for night in ("3", "4"):
        compact(storage, WHERE, VOTES, night)
        found = []
        for row in planned:
            rows = committed.read_rows(
                storage, VOTES, row["file"], "video_id", [row["video_id"]], ["sample", "run_id"]
            ).to_pylist()
            found += [
                (one["video_id"], one["sample"], one["run_id"])
                for one in rows
                if one["sample"] == row["sample"]
            ]
        assert found == expected
        committed.commit(storage, WHERE, VOTES, f"{night}-d", votes(night, [("d", 0)]))


@pytest.mark.parametrize("left_out", [[], [("a", 3), ("b", 0), ("b", 1)]])
def test_given_rows_come_in_parts_also_where_a_compaction_goes_on_meanwhile(storage, left_out):
    table = replace(VOTES, row_group_rows=2)
    for name in "abc":
        rows = votes("1", [(name, number) for number in range(5)])
        committed.commit(storage, WHERE, table, f"1-{name}", rows)
    newest = committed.read_newest(storage, WHERE, VOTES, [], with_file=True)
    kept = [(row["video_id"], row["sample"]) not in left_out for row in newest.to_pylist()]
    wanted = newest.filter(pa.array(kept))
    expected = committed.read_given(storage, VOTES, wanted, ["labels"])
    by_key = [("video_id", "ascending"), ("sample", "ascending")]
    parts = [*committed.read_parts(storage, table, wanted, ["labels"])]
    assert max(part.num_rows for part in parts) == 2
    assert pa.concat_tables(parts).sort_by(by_key).equals(expected.sort_by(by_key))
    going_on = committed.read_parts(storage, table, wanted, ["labels"])
    begun = next(going_on)
    compact(storage, WHERE, VOTES, "2")
    assert pa.concat_tables([begun, *going_on]).sort_by(by_key).equals(expected.sort_by(by_key))


def test_given_rows_that_are_not_in_their_file_are_missed(storage):
    committed.commit(storage, WHERE, VOTES, "1-a", votes("1", [("a", 0)]))
    wanted = committed.read_newest(storage, WHERE, VOTES, [], with_file=True)
    committed.commit(storage, WHERE, VOTES, "1-a", votes("1", [("b", 0), ("c", 0)]))
    with pytest.raises(StorageError, match="1 rows of votes vanished"):
        [*committed.read_parts(storage, VOTES, wanted, ["labels"])]


def test_a_file_that_is_gone_and_in_no_merged_one_is_missing(storage):
    committed.commit(storage, WHERE, VOTES, "1-a", votes("1", [("a", 0)]))
    with pytest.raises(FileNotFoundError):
        committed.read_rows(storage, VOTES, f"{WHERE}/1-gone.parquet", "video_id", ["a"], ["labels"])


class Late(Storage):
    """Lists a new file only some seconds after it can be read, as network file systems do."""

    late_s = 1.0

    def names(self, prefix=""):
        now = time.time()
        paths = super().names(prefix)
        return [path for path in paths if now - self.entry(path).modified.timestamp() > self.late_s]


def test_committed_files_are_waited_for_until_a_listing_shows_them(tmp_path, monkeypatch):
    monkeypatch.setattr(committed, "LIST_AGAIN_S", 0.05)
    storage, said = Late(str(tmp_path)), []
    path = committed.commit(storage, WHERE, VOTES, "1-a", votes("1", [("a", 0)]))
    assert committed.files(storage, WHERE) == []
    committed.await_listed(storage, [path], said.append)
    assert committed.files(storage, WHERE) == [path]
    assert said == [f"1 committed files, such as {path}, do not show in a listing yet; waiting up to 90 s"]


def test_files_that_never_show_are_an_error_in_bounded_time(tmp_path, monkeypatch):
    monkeypatch.setattr(committed, "LIST_AGAIN_S", 0.05)
    monkeypatch.setattr(committed, "LISTED_S", 0.3)
    monkeypatch.setattr(Late, "late_s", 1000)
    storage = Late(str(tmp_path))
    path = committed.commit(storage, WHERE, VOTES, "1-a", votes("1", [("a", 0)]))
    with pytest.raises(StorageError, match="do not show in a listing after 0 s"):
        committed.await_listed(storage, [path], lambda _: None)


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"x"])
def test_a_file_that_cannot_be_what_its_place_says_is_set_aside(storage, damage):
    committed.commit(storage, WHERE, VOTES, "1-x", votes("1", [("a", 0)]))
    (path,) = committed.files(storage, VOTES.name)
    storage.write(path, damage(storage.read(path)))
    ((where, why),) = set_aside(storage)
    assert where == storage.full(f"set-aside/{path}")
    assert "is not a readable Parquet file" in why
    assert committed.files(storage, VOTES.name) == []


@pytest.mark.parametrize("number", range(0, 400, 7))
def test_each_byte_that_is_wrong_damages_its_file_and_blames_no_place(storage, number):
    committed.commit(storage, WHERE, VOTES, "1-x", votes("1", [("a", 0)]))
    (path,) = committed.files(storage, VOTES.name)
    data = bytearray(storage.read(path))
    # From the end: there a file tells of itself.
    data[-1 - number] ^= 0xFF
    storage.write(path, bytes(data))
    with suppress(DamagedError):
        committed.read_file(storage, VOTES, path)


def test_where_a_place_does_not_answer_its_files_stay(storage, monkeypatch):
    committed.commit(storage, WHERE, VOTES, "1-x", votes("1", [("a", 0)]))

    def fail(_, path):
        raise OSError(errno.EIO, "Input/output error", path)

    with monkeypatch.context() as broken:
        broken.setattr(LocalFolder, "open", fail)
        with pytest.raises(StorageError, match="Input/output error") as raised:
            set_aside(storage)
    assert not isinstance(raised.value, DamagedError)
    assert len(committed.files(storage, VOTES.name)) == 1
