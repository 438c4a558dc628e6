"""Passes of several experts at once: each has its own workers, shards, counts and rows."""

import os
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from emo.config import load_config
from emo.errors import EmoError
from emo.experts.protocol import Resources
from emo.jobs.extract import vote_rows
from emo.run.connection import cluster
from emo.run.on_ray import OnRay
from emo.run.passes import run_passes
from emo.run.running import BoundReached
from emo.run.session import Bounds, session
from emo.step import Pass
from emo.store import committed
from emo.store.runs import StepRecord
from emo.store.storage import Storage
from emo.store.tables import VOTES
from labelling import last_run, raw_rows
from ray_nodes import Nodes


class Labels:
    """A worker that writes down what it does when, and can be told to wait, raise or die."""

    def __init__(self, log, expert, waits_for=None, seconds=0.0, bad=None):
        self._log, self._expert, self._waits_for = Path(log), expert, waits_for
        self._seconds, self._bad = seconds, bad

    def __call__(self, shard):
        import ray

        node = ray.get_runtime_context().get_node_id()
        self._tell(f"{self._expert} begins on {node}")
        deadline = time.monotonic() + 60
        while self._waits_for and self._waits_for not in self._log.read_text():
            if time.monotonic() > deadline:
                raise EmoError(f"{self._expert} waited in vain for: {self._waits_for}")
            time.sleep(0.02)
        time.sleep(self._seconds)
        ids = shard.column("video_id").to_pylist()
        if self._bad == "raises":
            raise EmoError("the place is gone")
        if self._bad in ids:
            os.kill(os.getpid(), 9)
        self._tell(f"{self._expert} ends")
        return vote_rows(shard, [[f"{self._expert} {name}"] for name in ids], "test", "1")

    def _tell(self, line):
        with self._log.open("a") as log:
            log.write(f"{line}\n")


def make_pass(log, expert, count=6, gpus=0.0, cpus=1.0, **changes):
    ids = [f"clip{number:02d}" for number in range(count)]
    rows = pa.table(
        {"video_id": ids, "expert": [expert] * count, "sample": pa.array([0] * count, pa.int32())}
    )
    return Pass(
        step=f"describe {expert}",
        table=VOTES,
        where=committed.folder(VOTES, expert),
        rows=rows,
        key=VOTES.key,
        worker=lambda: Labels(log, expert, **changes),
        failed=lambda lost, error: vote_rows(lost, [error] * lost.num_rows, None, "1"),
        resources=Resources(cpus=cpus, gpus=gpus),
        # Six rows could use one worker.
        shard_rows=24,
    )


def written(out):
    """Every row of every expert, but for the run that made it."""
    found = raw_rows(out, VOTES).drop_columns(["run_id"]).to_pylist()
    return sorted(found, key=lambda row: (row["expert"], row["video_id"]))


def side_by_side(plans, out, stop=lambda: None):
    steps = [StepRecord(plan.step, rows=plan.rows.num_rows) for plan in plans]
    run_passes(list(zip(plans, steps, strict=True)), Storage(str(out)), "1", stop, OnRay())
    return steps


@pytest.fixture(autouse=True)
def _whole_classes():
    """The workers cannot import a test module: its classes travel whole."""
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def joined(ray_cluster):
    """This process as a driver on the tests' cluster; its address. Each connection starts processes there.

    The test that joins another cluster stands before all that ask for this one.
    """
    with cluster(ray_cluster["RAY_ADDRESS"], None):
        yield ray_cluster["RAY_ADDRESS"]


@pytest.fixture
def log(tmp_path):
    (tmp_path / "log").touch()
    return tmp_path / "log"


@pytest.fixture
def two_gpus():
    """The address of a cluster of two nodes that claim a GPU each, to which this process stays connected."""
    nodes = Nodes()
    try:
        nodes.start(1, head=True, gpus=1)
        nodes.start(1, gpus=1)
        with cluster(nodes.address, None):
            yield nodes.address
    finally:
        nodes.stop()


def test_experts_of_a_gpu_each_run_at_once_on_two_and_write_what_each_writes_alone(
    two_gpus, tmp_path, log, capfd
):
    import ray

    config = load_config(overrides=[f"ray.address={two_gpus}"])
    together, alone = tmp_path / "together", tmp_path / "alone"
    # Neither ends before the other has begun.
    first = make_pass(log, "first", gpus=1, waits_for="second begins")
    second = make_pass(log, "second", gpus=1, waits_for="first begins")
    with session(config, str(together), "label", None) as run:
        while sum(node["Alive"] for node in ray.nodes()) < 2:
            time.sleep(0.1)
        steps = run.execute_all([(first, 1), (second, 2)])
    assert [(step.name, step.ok, step.failed, step.skipped, step.workers) for step in steps] == [
        ("describe first", 6, 0, 1, 1),
        ("describe second", 6, 0, 2, 1),
    ]
    assert all(step.seconds > 0 and step.gpus == 1 for step in steps)
    begun = {line for line in log.read_text().splitlines() if "begins" in line}
    assert len({line.partition(" begins on ")[2] for line in begun}) == 2, "each has a node of its own"
    said = capfd.readouterr().err.splitlines()
    for name in ("first", "second"):
        assert [line for line in said if line.startswith(f"describe {name}: 6/6, 0 failed")]
    assert [step["ok"] for step in last_run(together)["steps"]] == [6, 6]
    with session(config, str(alone), "label", None) as run:
        for plan in (make_pass(log, "first", gpus=1), make_pass(log, "second", gpus=1)):
            run.execute(plan, 0)
    assert written(together) == written(alone)
    assert len(written(alone)) == 12


def test_experts_that_want_the_same_gpu_run_one_after_the_other(joined, tmp_path, log):
    config = load_config(overrides=[f"ray.address={joined}"])
    passes = [(make_pass(log, name, gpus=1), 0) for name in ("first", "second")]
    with session(config, str(tmp_path / "out"), "label", None) as run:
        steps = run.execute_all(iter(passes))
    assert [step.ok for step in steps] == [6, 6]
    order = [line.split()[0] for line in log.read_text().splitlines()]
    assert order == sorted(order)


def test_an_expert_that_can_use_the_whole_cluster_runs_before_the_next_is_planned(joined, tmp_path, log):
    config = load_config(overrides=[f"ray.address={joined}"])

    def passes():
        yield make_pass(log, "first", count=30), 0
        assert log.read_text().count("first ends") > 1
        yield make_pass(log, "second"), 0

    with session(config, str(tmp_path / "out"), "label", None) as run:
        assert [step.ok for step in run.execute_all(passes())] == [30, 6]


def test_the_first_error_stops_the_others_and_what_they_committed_stays(joined, tmp_path, log):
    broken = make_pass(log, "broken", gpus=0.5, waits_for="other ends", bad="raises")
    other = make_pass(log, "other", gpus=0.5, count=20, seconds=0.3)
    with pytest.raises(EmoError, match=r"^describe broken: the place is gone$"):
        side_by_side([broken, other], tmp_path / "out")
    before = written(tmp_path / "out")
    assert 0 < len(before) < 20
    assert {row["expert"] for row in before} == {"other"}


def test_a_row_that_kills_the_worker_of_one_costs_the_other_nothing(joined, tmp_path, log):
    poisoned = make_pass(log, "poisoned", gpus=0.5, bad="clip03")
    other = make_pass(log, "other", gpus=0.5, seconds=0.1)
    first, second = side_by_side([poisoned, other], tmp_path / "out")
    assert (first.ok, first.failed, first.error_codes) == (5, 1, {"worker_died": 1})
    assert (second.ok, second.failed) == (6, 0)
    found = written(tmp_path / "out")
    assert len(found) == 12
    assert [(row["expert"], row["video_id"]) for row in found if row["error"]] == [("poisoned", "clip03")]


def test_a_bound_ends_both_between_shards(joined, tmp_path, log):
    def stop():
        raise BoundReached("enough")

    plans = [make_pass(log, name, gpus=0.5, count=20, seconds=0.1) for name in ("first", "second")]
    steps = [StepRecord(plan.step, rows=20) for plan in plans]
    with pytest.raises(BoundReached):
        run_passes(list(zip(plans, steps, strict=True)), Storage(str(tmp_path / "out")), "1", stop, OnRay())
    rows = [row["expert"] for row in written(tmp_path / "out")]
    assert [step.ok for step in steps] == [rows.count("first"), rows.count("second")]
    assert 0 < len(rows) < 40


def test_the_gpu_hours_of_both_count(joined, tmp_path, log):
    config = load_config(overrides=[f"ray.address={joined}"])
    plans = [make_pass(log, name, gpus=0.5, count=20, seconds=0.2) for name in ("first", "second")]
    with session(config, str(tmp_path / "out"), "nightly", None) as night:
        night.limit(Bounds(gpu_hours=0.2 / 3600))
        steps = night.execute_all([(plan, 0) for plan in plans])
        assert "GPU-hours was reached" in night.bound
    assert all(step.ok + step.left == 20 for step in steps)
    assert sum(step.left for step in steps) > 0


def test_whoever_interrupts_ends_both(joined, tmp_path, log):
    def stop():
        raise KeyboardInterrupt

    plans = [make_pass(log, name, gpus=0.5, count=20, seconds=0.2) for name in ("first", "second")]
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        side_by_side(plans, tmp_path / "out", stop)
    assert time.monotonic() - began < 60
    assert 0 < len(written(tmp_path / "out")) < 40
