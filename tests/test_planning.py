"""What is left to do follows from the tables alone."""

from datetime import UTC, datetime
from unittest.mock import patch

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from emo.sources.lookup import MANIFEST
from emo.store import planning

ids = st.integers(0, 30).map(lambda number: f"clip-{number:02d}")
few = st.integers(0, 2) | st.none()
file_states = st.tuples(few, few, st.sampled_from(["x", "y", None]))


def _manifest(files):
    told = {
        "video_id": list(files),
        "uri": [f"/v/{name}" for name in files],
        "size": [size for size, _, _ in files.values()],
        "modified": [
            datetime.fromtimestamp(when, UTC) if when is not None else None for _, when, _ in files.values()
        ],
        "transcript_version": pa.array([words for _, _, words in files.values()], pa.string()),
    }
    unsaid = {field.name: pa.nulls(len(files), field.type) for field in MANIFEST if field.name not in told}
    return pa.table(told | unsaid, schema=MANIFEST)


@given(st.dictionaries(ids, file_states), st.dictionaries(ids, file_states))
def test_left_to_ingest_is_what_is_new_or_changed_and_nothing_else(now, before):
    rows = planning.clips_to_ingest(_manifest(now), _manifest(before).select(["video_id", *planning.VERSION]))
    expected = {name for name, state in now.items() if before.get(name, "new") != state}
    assert set(rows.column("video_id").to_pylist()) == expected
    # A file that was removed from the source is nobody's work and stays labelled.
    assert not set(before) - set(now) & expected


runs = st.integers(1, 5).map(str)


def _keyed(rows):
    return pa.table(
        {
            "video_id": pa.array([name for name, _ in rows], pa.string()),
            "sample": pa.array([sample for _, sample in rows], pa.int32()),
            "run_id": pa.array(list(rows.values()), pa.string()),
        }
    )


keyed = st.dictionaries(st.tuples(ids, st.integers(0, 2)), runs)


@given(keyed, keyed)
def test_stale_is_what_has_no_result_at_least_as_new(upstream, done):
    key = ("video_id", "sample")
    left = planning.stale(_keyed(upstream), _keyed(done), key)
    expected = {name for name, run in upstream.items() if done.get(name, "0") < run}
    found = set(zip(left.column("video_id").to_pylist(), left.column("sample").to_pylist(), strict=True))
    assert found == expected


@given(keyed, keyed)
def test_in_both_and_not_in_share_the_rows_out(rows, others):
    key = ("video_id", "sample")
    inside = planning.in_both(_keyed(rows), _keyed(others), key).num_rows
    outside = planning.not_in(_keyed(rows), _keyed(others), key).num_rows
    assert inside == len(rows.keys() & others.keys())
    assert inside + outside == len(rows)


@given(st.integers(1, 10**7), st.integers(1, 1000), st.integers(1, 500))
def test_shards_are_bounded_and_every_worker_gets_some(rows, workers, most):
    size = planning.shard_size(rows, workers, most)
    assert 1 <= size <= most
    shards = -(-rows // size)
    assert shards >= min(rows, workers)


def test_a_worker_never_spans_two_nodes():
    nodes = [{"CPU": 3.0}, {"CPU": 3.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 2.0}]
    assert planning.workers_that_fit(nodes, {"CPU": 2, "GPU": 0}) == 1 + 1 + 4
    assert planning.workers_that_fit(nodes, {"CPU": 2, "GPU": 1}) == 1 + 2
    assert planning.workers_that_fit(nodes, {"CPU": 0.5, "GPU": 4}) == 0
    assert planning.workers_that_fit([], {"CPU": 1}) == 0


def test_pools_fit_together_where_every_worker_of_all_of_them_finds_a_node():
    nodes = [{"CPU": 8, "GPU": 2}, {"CPU": 8, "GPU": 2}]
    single, double = {"CPU": 3, "GPU": 1}, {"CPU": 3, "GPU": 2}
    assert planning.fit_together(nodes, [(single, 1), (single, 3)])
    assert not planning.fit_together(nodes, [(single, 1), (single, 4)])
    assert planning.fit_together(nodes, [(single, 2), (double, 1)])
    # Two GPUs are left, but on two nodes.
    assert not planning.fit_together([*nodes, {"CPU": 8}], [(double, 1), (single, 1), (double, 1)])
    # What is left of CPUs counts too, and of GPUs a worker may hold a part.
    assert not planning.fit_together([{"CPU": 4, "GPU": 4}], [(single, 1), (single, 1)])
    assert planning.fit_together([{"CPU": 4, "GPU": 1}], [({"CPU": 1, "GPU": 0.25}, 3), ({"CPU": 1}, 1)])
    assert planning.fit_together([], [])


@given(
    st.dictionaries(ids, st.sampled_from(["/v", "/w"])), st.dictionaries(ids, st.sampled_from(["/v", "/w"]))
)
def test_moved_is_what_has_an_id_of_a_file_elsewhere(now, before):
    def placed(files):
        return pa.table(
            {
                "video_id": pa.array(list(files), pa.string()),
                "uri": pa.array([f"{folder}/{name}" for name, folder in files.items()], pa.string()),
            }
        )

    found = planning.moved(placed(now), placed(before)).column("video_id").to_pylist()
    assert set(found) == {name for name in now if name in before and now[name] != before[name]}


@given(keyed, keyed, runs)
def test_older_is_what_no_run_since_then_has_made(rows, done, since):
    key = ("video_id", "sample")
    left = planning.older(_keyed(rows), _keyed(done), since, key)
    expected = {name for name in rows if done.get(name, "0") < since}
    found = set(zip(left.column("video_id").to_pylist(), left.column("sample").to_pylist(), strict=True))
    assert found == expected


@given(
    runs=st.lists(st.integers(1, 40), max_size=30),
    size=st.integers(1, 50),
    together=st.booleans(),
)
def test_shards_keep_the_pieces_of_a_file_together_as_far_as_their_size_allows(runs, size, together):
    files = [name for name, length in enumerate(runs) for _ in range(length)]
    rows = pa.table({"uri": pa.array(map(str, files), pa.string()), "row": range(len(files))})
    parts = planning.shards(rows, size, "uri" if together else None)
    assert [row for part in parts for row in part["row"].to_pylist()] == list(range(len(files)))
    assert all(0 < part.num_rows <= size for part in parts)
    if together:
        for name, length in enumerate(runs):
            holding = sum(str(name) in part["uri"].to_pylist() for part in parts)
            assert holding == max(1, -(-length // size))


voters = st.lists(st.tuples(ids, st.sampled_from("abc"), st.integers(0, 2**31 - 1)), max_size=20)
few_voters = st.lists(st.tuples(ids, st.sampled_from("abc"), st.integers(0, 2)), max_size=20)


@given(voters | few_voters, voters | few_voters, st.booleans(), st.sampled_from([2, 40, planning._MOST_KEYS]))
def test_a_row_is_found_by_all_columns_of_its_key_and_by_nothing_else(rows, among, same, most):
    among = rows if same else among + rows[::2]
    key = ("video_id", "expert", "sample")
    types = (pa.string(), pa.string(), pa.int32())

    def table(of):
        columns = zip(*of, strict=True) if of else ((), (), ())
        return pa.table(
            {
                name: pa.array(list(column), kind)
                for name, column, kind in zip(key, columns, types, strict=True)
            }
        )

    with patch.object(planning, "_MOST_KEYS", most):
        found = planning.place(table(rows), table(among), key).to_pylist()
    assert found == [among.index(row) if row in among else None for row in rows]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.integers(0, 2)), max_size=8))
def test_rows_are_told_to_be_there_once_only_where_they_are(rows):
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    table = pa.table({str(at): pa.array(list(column)) for at, column in enumerate(columns)})
    once = len(set(rows)) == len(rows)
    assert once or not planning._each_once(table, ("0", "1", "2"))
    # As tables of several experts come: each of them sorted.
    parts = [row for expert in "yx" for row in sorted(set(rows)) if row[1] == expert]
    if parts:
        table = pa.table({str(at): list(column) for at, column in enumerate(zip(*parts, strict=True))})
        assert planning._each_once(table, ("0", "1", "2"))


@given(st.lists(st.sampled_from("ab")))
def test_runs_of_equal_values_start_where_a_value_differs_from_the_one_before(values):
    expected = [at for at, value in enumerate(values) if at == 0 or values[at - 1] != value]
    assert planning.starts(pa.array(values, pa.string())).tolist() == expected
