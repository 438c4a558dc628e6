"""`emo finetune` as a user runs it: real processes, Ray Train, DeepSpeed, a tiny InternVL, drawn faces."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

import checkpoints
import drawn_faces
from labelling import EMO, emo

STEPS = 10


def settings(folder: Path, **changes: object) -> list[str]:
    """A small run: a LoRA without dropout, so that its losses depend on nothing but its steps."""
    values = {
        "model": folder / "base",
        "data": folder / "train.jsonl",
        "device": "cpu",
        "batch": 6,
        "batch_tokens": 130,
        "max_steps": STEPS,
        "epochs": 4,
        "learning_rate": "1e-2",
        "lora.rank": 4,
        "lora.dropout": 0,
        "gradient_checkpointing": "false",
        "save_every": 3,
        "validation.samples": 0,
        **changes,
    }
    return [part for key, value in values.items() for part in ("--set", f"finetune.{key}={value}")]


def losses(out: Path, name: str) -> list[float]:
    """The curve of a run that is done; every step once."""
    history = json.loads((out / "finetune" / name / "curve.json").read_text())
    assert [row["step"] for row in history] == list(range(1, len(history) + 1))
    return [row["loss"] for row in history]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finetune")
    checkpoints.make_internvl(folder / "base")
    drawn_faces.write_messages(folder, "train.jsonl", range(5))
    drawn_faces.write_messages(folder, "held_out.jsonl", range(100, 102))
    return folder


@pytest.fixture(scope="module")
def undisturbed(folder, ray_cluster):
    """A run of two workers that nothing happens to."""
    out = folder / "out"
    done = emo("finetune", "--out", out, "--name", "calm", *settings(folder, workers=2), env=ray_cluster)
    assert done.returncode == 0, done.stderr
    return done, losses(out, "calm")


def training_workers() -> list[psutil.Process]:
    """The processes of Ray Train that hold a model."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if "RayTrainWorker" in " ".join(process.info["cmdline"] or []):
            found.append(process)
    return found


def wait_for_checkpoint(run: Path, process: subprocess.Popen, step: int) -> None:
    deadline = time.monotonic() + 150
    while not list(run.glob(f"train/checkpoint-{step:07d}-*/state.json")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "no checkpoint came"
        time.sleep(0.05)


def start(folder: Path, name: str, ray_cluster, **changes: object) -> subprocess.Popen:
    return subprocess.Popen(
        [EMO, "finetune", "--out", str(folder / "out"), "--name", name, *settings(folder, **changes)],
        env={**os.environ, **ray_cluster},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_run_leaves_an_adapter_with_its_manifest_a_card_a_curve_and_a_page(folder, undisturbed):
    done, curve = undisturbed
    run = folder / "out" / "finetune" / "calm"
    assert len(curve) == STEPS
    assert curve[-1] < curve[0]
    for where in ("best", "last"):
        about = json.loads((run / where / "emo_adapter.json").read_text())
        assert about["family"] == "internvl"
        assert about["base"]["revision"].startswith("local-")
        assert len(about["target_modules"]) == 14
        assert about["weights"] == 28
        assert about["data"]["train"] == 30
        assert (run / where / "adapter_model.safetensors").stat().st_size > 10_000
        assert "It fits no other base" in (run / where / "README.md").read_text()
    page = (run / "index.html").read_text()
    assert "<polyline" in page
    assert "«The person feels" in page
    assert "30 samples to train on" in done.stderr
    assert "adapter: " in done.stderr.splitlines()[-1]


def test_a_killed_worker_costs_the_steps_since_the_last_checkpoint_and_changes_no_loss(
    folder, undisturbed, ray_cluster
):
    run = folder / "out" / "finetune" / "wounded"
    process = start(folder, "wounded", ray_cluster, workers=2)
    wait_for_checkpoint(run, process, 3)
    victims = training_workers()
    assert len(victims) == 2
    victims[1].send_signal(signal.SIGKILL)
    _, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert losses(folder / "out", "wounded") == pytest.approx(undisturbed[1], abs=1e-6)


def test_a_killed_command_goes_on_with_another_number_of_workers(folder, undisturbed, ray_cluster):
    run = folder / "out" / "finetune" / "killed"
    process = start(folder, "killed", ray_cluster, workers=2)
    wait_for_checkpoint(run, process, 3)
    process.kill()
    process.communicate()
    name = ("--out", folder / "out", "--name", "killed")
    again = emo("finetune", *name, *settings(folder, workers=1), env=ray_cluster)
    assert again.returncode == 0, again.stderr
    curve = losses(folder / "out", "killed")
    assert curve == pytest.approx(undisturbed[1], abs=1e-3)
    assert curve[:3] == undisturbed[1][:3], "the steps before the kill are not made again"


def test_the_name_of_a_run_that_is_done_stands_for_that_run(folder, undisturbed, ray_cluster):
    name = ("--out", folder / "out", "--name", "calm")
    same = emo("finetune", *name, *settings(folder, workers=2), "--json", env=ray_cluster)
    assert same.returncode == 0, same.stderr
    assert json.loads(same.stdout)["already"] is True
    other = emo("finetune", *name, *settings(folder, workers=2, seed=5, learning_rate="1e-3"))
    assert other.returncode == 2
    assert "seed was 0 and is 5" in other.stderr
    assert "learning_rate was 0.01 and is 0.001" in other.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "/nowhere"}, "no such folder"),
        ({"family": "qwen-audio"}, "not of the family 'qwen-audio'"),
        ({"data": "/nowhere.jsonl"}, "does not exist"),
        ({"zero": 7}, "finetune.zero"),
        ({"devise": "cpu"}, "finetune.devise: unknown key"),
    ],
)
def test_what_cannot_be_is_said_in_one_line_before_anything_starts(folder, changes, said):
    done = emo("finetune", "--out", folder / "other", "--name", "bad", *settings(folder, **changes))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "other" / "finetune" / "bad" / "run.json").exists()


def test_data_without_a_sample_to_train_on_are_refused_with_the_reason(folder):
    empty = folder / "empty.jsonl"
    chat = [{"role": "user", "content": "<image><image>?"}, {"role": "assistant", "content": "Yes."}]
    empty.write_text(json.dumps({"messages": chat, "images": ["one.jpg"]}) + "\n")
    done = emo("finetune", "--out", folder / "other", "--name", "none", *settings(folder, data=empty))
    assert done.returncode == 2
    assert "no sample that can be trained on (1 in all)" in done.stderr
    assert "line 1: 2 <image> in the text and 1 images" in done.stderr
