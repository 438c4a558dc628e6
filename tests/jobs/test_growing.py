"""A cluster that begins without nodes gets them, from Ray's own autoscaler."""

import os
import subprocess

import pytest

from autoscaled import autoscaled
from clips import make_clip
from emo.store.tables import JUDGMENTS
from labelling import EMO, WORDS_ONLY, last_run, rows


@pytest.fixture(scope="module")
def cluster():
    with autoscaled({"cpu": {"CPU": 1}, "gpu": {"CPU": 2, "GPU": 1}}, most=2) as variables:
        yield variables


def label(videos, out, *more, env):
    command = [EMO, "label", videos, "--out", out, *WORDS_ONLY[:2], *more]
    return subprocess.run(
        list(map(str, command)), env={**os.environ, **env}, capture_output=True, text=True, timeout=280
    )


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
