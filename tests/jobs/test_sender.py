"""A machine without a GPU and without the models sends a run to a cluster that has them."""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

import affectgpt_checkpoint
import checkpoints
from clips import make_clip
from conftest import REPOSITORY
from emo.store.tables import DESCRIPTIONS, JUDGMENTS
from labelling import emo, last_run, rows
from ray_nodes import Nodes
from standing import Asking, Standing
from warm_workers import AT_START


@pytest.fixture(scope="module")
def cluster():
    """A head for drivers alone, and a node with a GPU that is only claimed."""
    nodes = Nodes()
    try:
        env = {AT_START: str(REPOSITORY / "tests/claimed_gpus.py")}
        nodes.start(0, head=True, env=env)
        nodes.start(4, gpus=1, env=env)
        _wait_for_nodes(nodes.address, 2)
        yield nodes
    finally:
        nodes.stop()


def _wait_for_nodes(address, count):
    import ray

    ray.init(address=address, log_to_driver=False)
    try:
        deadline = time.monotonic() + 90
        while sum(node["Alive"] for node in ray.nodes()) < count:
            assert time.monotonic() < deadline, "the node did not join"
            time.sleep(0.2)
    finally:
        ray.shutdown()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The models of the preset, small; the folder is there for the nodes alone."""
    folder = tmp_path_factory.mktemp("models")
    checkpoints.make_internvl(folder / "internvl", end_bias=1.0)
    checkpoints.make_text(folder / "text", end_bias=1.0)
    files = affectgpt_checkpoint.make(folder / "affectgpt")
    settings = {
        "experts.internvl.model": folder / "internvl",
        "experts.internvl.max_new_tokens": 8,
        "experts.affectgpt.model": files.llm,
        "experts.affectgpt.vision": files.vision,
        "experts.affectgpt.audio": files.audio,
        "experts.affectgpt.checkpoint": files.checkpoint,
        "experts.affectgpt.max_new_tokens": 8,
        "extract.model": folder / "text",
        "extract.max_new_tokens": 16,
    }
    return folder, settings


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    make_clip(folder / "one.mp4", seconds=1.0, size=(160, 120))
    return folder


class Apart(Standing):
    """A process that stands there for commands on a cluster, for which a folder is empty."""

    def __init__(self, address, folder):
        # A file system of its own covers the folder for this process and its children.
        apart = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none "{folder}" && exec "$@"', "sh"]
        if subprocess.run([*apart, "true"], capture_output=True).returncode:
            pytest.skip("a folder cannot be hidden from a process here (it takes root)")
        super().__init__(address, before=apart)
        self._folder = folder

    def run(self, *arguments):
        done = super().run(*arguments)
        # The folders as this very process has them.
        seen = Path(f"/proc/{self._process.pid}/root", *self._folder.parts[1:])
        assert not list(seen.iterdir())
        return done


@pytest.fixture(scope="module")
def sender(cluster, models):
    """What leads to the cluster, and to a process that sees neither the models nor a GPU."""
    folder, _ = models
    with Asking({"RAY_ADDRESS": cluster.address}, Apart(cluster.address, folder)) as made:
        yield made


def options(settings):
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def send(sender, out, videos, settings, *more):
    """`emo label` with the paper's preset."""
    asked = ["label", videos, "--out", out, "--preset", "mer2024-ov", *options(settings), *more]
    return emo(*asked, env=sender)


def test_a_sender_without_gpu_and_models_runs_the_paper_s_preset_on_nodes_that_have_them(
    sender, models, videos, tmp_path
):
    _, settings = models
    out = tmp_path / "out"
    done = send(sender, out, videos, settings)
    steps = {step["name"]: step for step in last_run(out)["steps"]}
    assert list(steps) == ["ingest", "describe internvl", "describe affectgpt", "extract", "judge"], (
        done.stderr
    )
    assert [steps[name]["failed"] for name in list(steps)[:3]] == [0, 0, 0]
    assert steps["describe internvl"]["gpus"] == 1
    # The text model ran too; what one of random weights answers is no list of labels.
    assert steps["extract"]["gpus"] == 1
    assert set(steps["extract"]["error_codes"]) <= {"unparsable"}
    assert len(rows(out, DESCRIPTIONS, "status")) == 2
    assert len(rows(out, JUDGMENTS, "status")) == 1


def test_all_that_a_node_lacks_is_said_in_one_list_with_its_name_before_the_first_pass(
    sender, models, videos, tmp_path
):
    folder, settings = models
    wrong = {
        **settings,
        "experts.internvl.model": folder / "text",
        "experts.affectgpt.checkpoint": folder / "nowhere.pth",
        "extract.model": folder / "nowhere",
        "ingest.transcribe": json.dumps({"model": str(folder / "no-whisper")}),
    }
    done = send(sender, tmp_path / "out", videos, wrong)
    assert done.returncode == 2, done.stderr
    [said] = [line for line in done.stderr.splitlines() if line.startswith("emo: ")]
    assert re.findall(r"([a-z.]+(?: [a-z]+)?): on node \S+: ", said) == [
        "ingest.transcribe",
        "expert internvl",
        "expert affectgpt",
        "extract",
    ]
    assert "no-whisper: no such folder" in said
    assert "config.json names the architecture Qwen2ForCausalLM" in said
    assert "nowhere.pth': no such file" in said
    assert "nowhere: no such folder" in said
    assert not (tmp_path / "out" / "clips").exists()


def test_a_worker_that_no_node_can_hold_is_said_at_once(sender, models, videos, tmp_path):
    _, settings = models
    done = send(sender, tmp_path / "out", videos, settings, "--set", "experts.internvl.gpus=4")
    assert done.returncode == 2, done.stderr
    assert (
        "expert internvl: a worker needs 3 CPUs and 4 GPUs on one node; the cluster has 4 CPUs and 1 GPUs on "
        "2 nodes"
    ) in done.stderr


def test_the_base_of_a_finetuning_is_looked_for_where_it_is_trained(sender, models, tmp_path):
    folder, _ = models
    data = tmp_path / "data.jsonl"
    data.write_text('{"messages": []}\n')

    def tune(model):
        settings = {"finetune.model": model, "finetune.data": data, "finetune.device": "cpu"}
        return emo("finetune", "--out", tmp_path / "out", "--name", "calm", *options(settings), env=sender)

    absent = tune(folder / "nowhere")
    assert absent.returncode == 2, absent.stderr
    assert "emo: finetune: on node " in absent.stderr
    assert "no such folder" in absent.stderr
    # The base is there; what stops the run is the data.
    found = tune(folder / "internvl")
    assert found.returncode == 2, found.stderr
    assert "holds no sample that can be trained on" in found.stderr
