"""A cluster that begins without nodes gets them, from Ray's own autoscaler."""

import sys
import time

import pyarrow as pa
import pytest

from autoscaled import autoscaled
from clips import make_clip
from emo.errors import EmoError
from emo.experts.protocol import Resources
from emo.jobs.extract import vote_rows
from emo.run.connection import cluster as connected
from emo.run.on_ray import OnRay
from emo.run.passes import run_passes
from emo.step import Pass
from emo.store.runs import StepRecord
from emo.store.storage import Storage
from emo.store.tables import JUDGMENTS, VOTES
from labelling import WORDS_ONLY, emo, last_run, rows


@pytest.fixture(scope="module")
def cluster():
    with autoscaled({"cpu": {"CPU": 1}, "gpu": {"CPU": 2, "GPU": 1}}, most=3) as variables:
        yield variables


class Waits:
    """A worker that ends its first shard when workers on so many nodes are there."""

    def __init__(self, folder, nodes):
        self._folder, self._nodes = folder, nodes

    def __call__(self, shard):
        import ray

        (self._folder / ray.get_runtime_context().get_node_id()).touch()
        deadline = time.monotonic() + 300
        while len(list(self._folder.iterdir())) < self._nodes:
            if time.monotonic() > deadline:
                raise EmoError(f"workers came on {len(list(self._folder.iterdir()))} nodes")
            time.sleep(0.1)
        return vote_rows(shard, [["happy"]] * shard.num_rows, "test", "1")


def label(videos, out, *more, env):
    return emo("label", videos, "--out", out, *WORDS_ONLY[:2], *more, env=env)


@pytest.mark.timeout(600)
def test_a_cluster_without_nodes_grows_and_labels_with_no_option(cluster, tmp_path):
    import ray

    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(6):
        make_clip(videos / f"{number}.mp4", seconds=1.0, size=(160, 120))
    done = label(videos, tmp_path / "out", env=cluster)
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "out", JUDGMENTS, "status")) == 6
    assert [step["failed"] for step in last_run(tmp_path / "out")["steps"]] == [0, 0, 0, 0]
    ray.init(address=cluster["RAY_ADDRESS"], log_to_driver=False)
    try:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    finally:
        ray.shutdown()
    assert any(node.get("CPU") for node in nodes)
    assert not any(node.get("GPU") for node in nodes), "work without a GPU took a node that has one"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_pool_grows_to_all_nodes_that_there_may_be_and_all_its_workers_are_accounted_for(cluster, tmp_path):
    """Three nodes: twice two would be one too many, and who asks for four in one piece gets none."""
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    came, count = tmp_path / "came", 24
    came.mkdir()
    ids = [f"clip{number:02d}" for number in range(count)]
    plan = Pass(
        step="slow",
        table=VOTES,
        where=VOTES.name,
        rows=pa.table(
            {"video_id": ids, "expert": ["e"] * count, "sample": pa.array([0] * count, pa.int32())}
        ),
        key=VOTES.key,
        worker=lambda: Waits(came, 3),
        failed=lambda lost, error: vote_rows(lost, [error] * lost.num_rows, None, "1"),
        resources=Resources(cpus=1, gpus=1),
        shard_rows=4,
        read=lambda rows: rows,
    )
    step = StepRecord("slow", rows=count)
    with connected(cluster["RAY_ADDRESS"], None):
        run_passes([(plan, step)], Storage(str(tmp_path / "out")), "1", lambda: None, OnRay())
        with_gpu = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]
    assert (step.ok, step.failed) == (count, 0)
    assert sorted(with_gpu) == sorted(node.name for node in came.iterdir())
    # On average: one at the beginning, three at the end. Hours of GPUs are counted, and bounded, by this.
    assert 1 < step.workers < 3
    assert step.gpus == step.workers


@pytest.mark.timeout(600)
def test_a_worker_that_no_node_type_can_hold_ends_the_wait_with_what_it_needs(cluster, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    make_clip(videos / "0.mp4", seconds=1.0, size=(160, 120))
    speech = "ingest.transcribe={model: openai/whisper-tiny}"
    done = label(
        videos,
        tmp_path / "out",
        "--set",
        speech,
        "--set",
        "experts=[{kind: internvl, model: /m, gpus: 8}]",
        env=cluster,
    )
    assert done.returncode == 2, done.stderr
    assert "expert internvl: a worker needs 1 CPUs and 8 GPUs on one node" in done.stderr
    assert "its autoscaler can add no node that has them" in done.stderr


def test_the_bound_of_the_user_is_said_where_it_leaves_no_room(cluster, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    make_clip(videos / "0.mp4", seconds=1.0, size=(160, 120))
    bound = ("--set", "ray.grows_to.cpus=2", "--set", "ray.grows_to.gpus=0")
    done = label(
        videos, tmp_path / "out", "--set", "experts=[{kind: internvl, model: /m}]", *bound, env=cluster
    )
    assert done.returncode != 0
    assert "ray.grows_to allows 2 CPUs and 0 GPUs" in done.stderr
