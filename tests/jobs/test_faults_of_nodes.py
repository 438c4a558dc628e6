"""Nodes that leave and join, workers without memory, bounds and watchers: a pass on Ray loses no row."""

import gc
import os
import random
import re
import resource
import subprocess
import sys
import threading
import time
from dataclasses import replace

import psutil
import pyarrow as pa
import pytest

from emo import estimates
from emo.config import load_config
from emo.errors import EmoError
from emo.experts.protocol import Resources
from emo.jobs.extract import vote_rows
from emo.run.connection import cluster
from emo.run.on_ray import OnRay
from emo.run.passes import run_passes
from emo.run.session import Bounds, session
from emo.run.settings import GrowsTo
from emo.step import Pass
from emo.store import committed, planning
from emo.store.runs import StepRecord
from emo.store.storage import Storage
from emo.store.tables import VOTES
from faults import SEEDS, until
from labelling import EMO, by_id, rows
from ray_nodes import Nodes


class Slow:
    """A worker that takes its time and tells which node it is on."""

    def __init__(self, seconds=0.3):
        self._seconds = seconds

    def __call__(self, shard):
        import ray

        time.sleep(self._seconds)
        node = ray.get_runtime_context().get_node_id()
        return vote_rows(shard, [[node]] * shard.num_rows, "test", "1")


def make_pass(count, **changes):
    ids = [f"clip{number:03d}" for number in range(count)]
    votes = pa.table({"video_id": ids, "expert": ["e"] * count, "sample": pa.array([0] * count, pa.int32())})
    options = {
        "step": "test",
        "table": VOTES,
        "where": VOTES.name,
        "rows": votes,
        "key": VOTES.key,
        "worker": Slow,
        "failed": lambda lost, error: vote_rows(lost, [error] * lost.num_rows, None, "1"),
        "resources": Resources(cpus=1),
        "shard_rows": 1,
        **changes,
    }
    return Pass(**options)


@pytest.fixture
def nodes():
    made = Nodes()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def _whole_classes():
    """The workers cannot import a test module: its classes travel whole."""
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


def alive():
    import ray

    return sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())


def run(plan, out, stop=lambda: None, grows_to=None):
    step = StepRecord(plan.step, rows=plan.rows.num_rows)
    run_passes([(plan, step)], Storage(str(out)), "1", stop, OnRay(grows_to))
    return step


def where_rows_were_made(out):
    labels = [row["labels"][0] for row in rows(out, VOTES, "labels")]
    return {label: labels.count(label) for label in labels}


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_goes_on_when_a_node_leaves_for_good(nodes, tmp_path, seed):
    chance = random.Random(seed)
    nodes.start(1, head=True)
    leaving = nodes.start(1)
    with cluster(nodes.address, None):
        until(lambda: alive() == 2)

        def leave():
            until(lambda: len(list(tmp_path.glob("out/votes/*/*.parquet"))) >= 4)
            time.sleep(chance.uniform(0, 2))
            nodes.kill(leaving)

        thread = threading.Thread(target=leave)
        thread.start()
        step = run(make_pass(24), tmp_path / "out")
        thread.join()
    assert (step.ok, step.failed) == (24, 0)
    assert len(where_rows_were_made(tmp_path / "out")) == 2
    assert committed.read_all(Storage(str(tmp_path / "out")), "votes", VOTES, []).num_rows == 24


@pytest.mark.long
def test_a_node_that_joins_half_way_is_used_where_the_cluster_may_grow(nodes, tmp_path):
    # Nothing but a head without CPUs at first, as where all pools scale from zero.
    nodes.start(0, head=True)
    with cluster(nodes.address, None):
        assert alive() == 0

        def join():
            nodes.start(1)
            until(lambda: len(list(tmp_path.glob("out/votes/*/*.parquet"))) >= 3)
            nodes.start(1)

        thread = threading.Thread(target=join)
        thread.start()
        plan = make_pass(100, worker=lambda: Slow(0.5))
        step = run(plan, tmp_path / "out", grows_to=GrowsTo(cpus=2))
        thread.join()
    assert (step.ok, step.failed) == (100, 0)
    assert len(where_rows_were_made(tmp_path / "out")) == 2


@pytest.mark.long
def test_blocks_of_which_the_object_store_holds_one_lose_no_row(nodes, tmp_path):
    """Blocks of 60 MB, read quicker than they are used, through an object store of 100 MB.

    Whether the engine waits or spills is its own choice.
    """
    nodes.start(2, head=True)

    def read(shard):
        return shard.append_column(
            "large", pa.array([os.urandom(60_000_000)] * shard.num_rows, pa.large_binary())
        )

    with cluster(nodes.address, None):
        step = run(make_pass(30, read=read, worker=Checking), tmp_path / "out")
    assert (step.ok, step.failed) == (30, 0)
    assert committed.read_all(Storage(str(tmp_path / "out")), "votes", VOTES, []).num_rows == 30
    assert where_rows_were_made(tmp_path / "out") == {"60000000": 30}


class Checking:
    """A worker that tells how large its column is."""

    def __call__(self, shard):
        time.sleep(0.2)
        size = str(len(shard.column("large")[0].as_buffer()))
        return vote_rows(shard, [[size]] * shard.num_rows, "test", "1")


class Greedy:
    """A worker that takes memory for one row until it is killed, of 8 GB at the most."""

    def __call__(self, shard):
        eaten = []
        while "clip003" in shard.column("video_id").to_pylist() and len(eaten) < 40:
            eaten.append(os.urandom(1_000_000) * 200)
            time.sleep(0.05)
        return vote_rows(shard, [["fed"]] * shard.num_rows, "test", "1")


@pytest.mark.long
def test_a_worker_that_ray_kills_for_its_memory_costs_its_row_and_no_other(nodes, tmp_path, monkeypatch):
    memory = psutil.virtual_memory()
    if memory.available < 9e9:
        pytest.skip("fewer than 9 GB of memory are free here")
    limit = (memory.total - memory.available + 3e9) / memory.total
    with monkeypatch.context() as watched:
        watched.setenv("RAY_memory_monitor_refresh_ms", "100")
        watched.setenv("RAY_memory_usage_threshold", str(limit))
        nodes.start(2, head=True)
    with cluster(nodes.address, None):
        step = run(make_pass(8, worker=Greedy), tmp_path)
    assert (step.ok, step.failed, step.error_codes) == (7, 1, {"worker_died": 1})
    found = by_id(rows(tmp_path, VOTES, "labels"), "labels")
    assert found == {f"clip{number:03d}": None if number == 3 else ["fed"] for number in range(8)}
    assert committed.read_all(Storage(str(tmp_path)), "votes", VOTES, []).num_rows == 8


@pytest.fixture(scope="module")
def joined(ray_cluster):
    """The address of the tests' cluster, to which this process stays connected from here on.

    Each connection starts processes. The tests that join other clusters stand before all that ask for it.
    """
    with cluster(ray_cluster["RAY_ADDRESS"], None):
        yield ray_cluster["RAY_ADDRESS"]


def test_a_bound_on_gpu_hours_ends_a_night_between_shards_and_the_next_goes_on(joined, tmp_path):
    config = load_config(overrides=[f"ray.address={joined}"])
    out = str(tmp_path / "out")
    # The GPU of the tests' cluster is only claimed, and claiming it is what costs.
    plan = make_pass(20, worker=lambda: Slow(0.2), resources=Resources(cpus=1, gpus=1))
    with session(config, out, "nightly", None) as night:
        night.limit(Bounds(gpu_hours=0.5 / 3600))
        first, second = night.execute(plan, 0), night.execute(plan, 0)
        assert night.bound == "the bound of 0.000138889 GPU-hours was reached"
    written = committed.read_newest(Storage(out), "votes", VOTES, [])
    # One worker, and it finished what it had begun.
    assert first.ok == written.num_rows == 20 - first.left
    assert 1 <= first.ok <= 12
    assert (second.ok, second.left) == (0, 20)
    spent = estimates.spent([vars(first), vars(second)], config.prices)["gpu_hours"]
    assert 0.5 / 3600 <= spent == pytest.approx(first.seconds / 3600)

    with session(config, out, "nightly", None) as night:
        left = planning.not_in(plan.rows, written, VOTES.key)
        rest = night.execute(replace(plan, rows=left), first.ok)
        assert night.bound is None
    assert (rest.ok, rest.left) == (first.left, 0)
    assert committed.read_all(Storage(out), "votes", VOTES, []).num_rows == 20
    assert committed.read_newest(Storage(out), "votes", VOTES, []).num_rows == 20


def test_a_run_can_be_watched_from_outside_until_it_ends(joined, tmp_path, monkeypatch):
    monkeypatch.setattr("emo.run.session.SAVE_EVERY_S", 0.5)
    config = load_config(overrides=[f"ray.address={joined}"])
    out = str(tmp_path / "out")
    with session(config, out, "label", None) as watched:
        command = [EMO, "status", "--watch", "--out", out]
        watcher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        # However long it takes to start, it sees the pass from its beginning.
        began = watcher.stderr.readline()
        watched.execute(make_pass(30, worker=lambda: Slow(0.4)), 0)
    shown, said = watcher.communicate(timeout=60)
    said = began + said
    assert watcher.returncode == 0
    # Not on a terminal: whole lines, nothing drawn over.
    assert "\x1b" not in said
    head = rf"run {watched.run_id} \(label\): running; held by emo label on \S+, process {os.getpid()}"
    assert re.search(rf"^{head}; test: \d+/30, 0 failed, .*(/s|s each), \d+ s left$", said, re.MULTILINE), (
        said
    )
    assert f"run {watched.run_id} (label): done; no run is active" in said
    assert re.search(r"^  test +30/30, 0 failed, .*took \d+ s$", said, re.MULTILINE), said
    assert "votes                     30 rows           0 failed" in shown


class Hungry:
    """A worker of a process that may have 200 MB more than it has, and takes more for one row."""

    def __init__(self):
        self._eaten = []

    def __call__(self, shard):
        if "clip003" in shard.column("video_id").to_pylist():
            before = resource.getrlimit(resource.RLIMIT_DATA)
            has = psutil.Process().memory_info().data
            resource.setrlimit(resource.RLIMIT_DATA, (has + 200_000_000, before[1]))
            try:
                self._eaten = [b"x" * 50_000_000 for _ in range(20)]
            finally:
                resource.setrlimit(resource.RLIMIT_DATA, before)
        return vote_rows(shard, [["fed"]] * shard.num_rows, "test", "1")


def test_a_worker_without_memory_stops_the_pass_by_name_and_with_memory_it_goes_on(joined, tmp_path):
    # One that the system or Ray kills for its memory is like any other that dies.
    storage, plan = Storage(str(tmp_path)), make_pass(8, worker=Hungry)
    with pytest.raises(EmoError, match="MemoryError"):
        run(plan, tmp_path)
    # Ray Data keeps the workers of what failed in a cycle.
    gc.collect()
    done = committed.read_newest(storage, "votes", VOTES, ["labels"])
    assert done.num_rows < 8
    left = planning.not_in(plan.rows, done, VOTES.key)
    run(replace(plan, rows=left, worker=Slow), tmp_path)
    assert committed.read_all(storage, "votes", VOTES, []).num_rows == 8
