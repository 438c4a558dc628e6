"""`emo finetune` as a user runs it: real processes, Ray Train, DeepSpeed, a tiny InternVL, drawn faces."""

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

import checkpoints
import drawn_faces
from clips import ffmpeg
from emo.tables import JUDGMENTS
from labelling import EMO, by_id, emo, rows

STEPS = 10
LEARNT = ("happy", "angry", "surprised", "sad")


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
    """A run that nothing happens to."""
    out = folder / "out"
    done = emo("finetune", "--out", out, "--name", "calm", *settings(folder), env=ray_cluster)
    assert done.returncode == 0, done.stderr
    return done, losses(out, "calm")


def training_workers(ray_cluster: dict[str, str]) -> list[psutil.Process]:
    """The processes of Ray Train that hold a model, in this cluster."""
    found = []
    port = ray_cluster["RAY_ADDRESS"].rpartition(":")[2]
    for process in psutil.process_iter(["cmdline"]):
        if "RayTrainWorker" in " ".join(process.info["cmdline"] or []):
            raylet = process.parent()
            # Other tests' clusters may train on this machine at the same time.
            if raylet is not None and f":{port}" in " ".join(raylet.cmdline()):
                found.append(process)
    return found


def wait_for_checkpoint(run: Path, process: subprocess.Popen, step: int) -> list[float]:
    """The losses up to a step, once Ray Train has taken its checkpoint as one to go on from."""
    deadline = time.monotonic() + 200
    while True:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "no checkpoint came"
        with contextlib.suppress(OSError, ValueError):
            taken = (run / "train" / "checkpoint_manager_snapshot.json").read_text()
            for state in run.glob(f"train/checkpoint-{step:07d}-*/state.json"):
                if state.parent.name in taken:
                    return [row["loss"] for row in json.loads(state.read_text())["history"]]
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


@pytest.mark.long
def test_a_killed_worker_a_killed_command_and_another_number_of_workers_change_no_loss(
    folder, undisturbed, ray_cluster
):
    run = folder / "out" / "finetune" / "wounded"
    process = start(folder, "wounded", ray_cluster, workers=2)
    wait_for_checkpoint(run, process, 3)
    victims = training_workers(ray_cluster)
    assert len(victims) == 2
    victims[1].send_signal(signal.SIGKILL)
    # Ray starts both again, they go on from step 3 and reach the next checkpoint.
    before = wait_for_checkpoint(run, process, 6)
    process.kill()
    process.communicate()
    name = ("--out", folder / "out", "--name", "wounded")
    again = emo("finetune", *name, *settings(folder, workers=1), env=ray_cluster)
    assert again.returncode == 0, again.stderr
    curve = losses(folder / "out", "wounded")
    assert curve == pytest.approx(undisturbed[1], abs=1e-3)
    assert curve[:6] == before, "steps that a checkpoint holds are not made again"


def test_the_name_of_a_run_that_is_done_stands_for_that_run(folder, undisturbed, ray_cluster):
    name = ("--out", folder / "out", "--name", "calm")
    same = emo("finetune", *name, *settings(folder), "--json", env=ray_cluster)
    assert same.returncode == 0, same.stderr
    assert json.loads(same.stdout)["already"] is True
    other = emo("finetune", *name, *settings(folder, seed=5, learning_rate="1e-3"))
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


def test_published_captions_without_a_usable_row_are_refused_with_their_line(folder):
    (folder / "videos").mkdir()
    write_clip(folder / "videos" / "a.mp4", 1, "happy")
    (folder / "plus.csv").write_text("name,openset\na,[happy, calm]\n")
    wanted = settings(folder, data=folder / "plus.csv", videos=folder / "videos")
    done = emo("finetune", "--out", folder / "other", "--name", "plus", *wanted)
    assert done.returncode == 2
    assert "plus.csv line 2: 3 cells, expected 2 (name, openset)" in done.stderr.splitlines()[-1]


@pytest.mark.long
def test_a_loss_that_is_no_number_stops_the_run_names_its_samples_and_keeps_the_last_checkpoint(
    folder, undisturbed, ray_cluster
):
    wild = settings(folder, learning_rate="1e25", clip="1e9", warmup_share=0, save_every=1)
    done = emo("finetune", "--out", folder / "out", "--name", "wild", *wild, env=ray_cluster)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert re.search(r"not a number at step \d+; its samples: [0-9a-f]+-\d+, ", last) or (
        "the weights are not numbers after step" in last
    )
    assert "the last good checkpoint stays" in last
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_not_tried_again_and_other_faults_are():
    from jobs.finetune import _hopeless

    full = OSError(errno.ENOSPC, "No space left on device", "/somewhere")
    assert "no space left on the device (/somewhere)" in _hopeless(full)
    assert "no space left" in _hopeless(OSError("[Errno 28] Error writing bytes: No space left on device"))
    assert _hopeless(OSError(errno.EIO, "Input/output error")) is None


def pages(folder: Path) -> int:
    """The bytes that a folder takes on a disk of pages of 4 KiB."""
    return sum(-(-path.stat().st_size // 4096) * 4096 + 4096 for path in folder.rglob("*"))


@pytest.fixture
def small_disk(tmp_path, folder, undisturbed):
    """A disk with room for one and a half checkpoints of such a run; a function that makes it larger."""
    calm = folder / "out" / "finetune" / "calm"
    [checkpoint] = (calm / "train").glob("checkpoint-*/")
    size = pages(calm / "data") + pages(checkpoint) * 3 // 2 + 100_000
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk]
    done = subprocess.run(mount, capture_output=True) if shutil.which("mount") else None
    if done is None or done.returncode:
        pytest.skip("no file system can be mounted here (it takes root)")
    try:
        yield disk, lambda: subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_disk_that_fills_up_stops_the_run_in_one_line_and_space_is_all_that_it_takes_to_go_on(
    folder, undisturbed, small_disk, ray_cluster
):
    disk, enlarge = small_disk
    command = ("finetune", "--out", disk, "--name", "full", *settings(folder))
    full = emo(*command, env=ray_cluster)
    assert full.returncode == 1, full.stderr
    last = full.stderr.splitlines()[-1]
    assert "a checkpoint could not be saved: no space left on the device" in last
    assert "the last good checkpoint stays, the same command goes on from it" in last
    assert "Traceback" not in full.stderr
    run = disk / "finetune" / "full"
    [kept] = (run / "train").glob("checkpoint-*/")
    before = [row["loss"] for row in json.loads((kept / "state.json").read_text())["history"]]
    # Ray overwrites its list in place: what a disk without space can leave of it.
    (run / "train" / "checkpoint_manager_snapshot.json").write_text('{"ray_ver')
    enlarge()
    again = emo(*command, env=ray_cluster)
    assert again.returncode == 0, again.stderr
    curve = losses(disk, "full")
    assert curve == pytest.approx(undisturbed[1], abs=1e-3)
    assert curve[: len(before)] == before, "steps that a checkpoint holds are not made again"
    assert len(list((run / "train").glob("checkpoint-*/"))) == 1


def test_what_a_full_disk_makes_pytorch_say_becomes_no_space_left(tmp_path):
    import torch

    from jobs.finetune import _hopeless, telling_of_space

    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path]
    done = subprocess.run(mount, capture_output=True) if shutil.which("mount") else None
    if done is None or done.returncode:
        pytest.skip("no file system can be mounted here (it takes root)")
    try:
        with pytest.raises(OSError, match="No space left") as full, telling_of_space(str(tmp_path)):
            torch.save(torch.zeros(100_000), tmp_path / "weights.pt")
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)
    assert f"no space left on the device ({tmp_path})" in _hopeless(full.value)
    with pytest.raises(RuntimeError, match="another"), telling_of_space(str(tmp_path)):
        raise RuntimeError("another fault")


def write_clip(path: Path, person: int, expression: str) -> None:
    """A video of half a second that shows one drawn face."""
    picture = path.with_suffix(".jpg")
    picture.write_bytes(drawn_faces.face(drawn_faces.identity(person), expression, person, pixels=112))
    ffmpeg(
        *("-loop", "1", "-i", picture, "-t", "0.5", "-r", "10", "-c:v", "libx264", "-crf", "12"),
        *("-preset", "ultrafast", "-pix_fmt", "yuv444p", path),
    )
    picture.unlink()


def test_a_model_learns_what_faces_show_and_label_then_labels_new_clips_right(tmp_path, ray_cluster):
    drawn_faces.make_base(tmp_path / "base")
    drawn_faces.write_messages(tmp_path, "train.jsonl", range(150), LEARNT)
    drawn_faces.write_messages(tmp_path, "held_out.jsonl", range(1000, 1016), LEARNT)
    done = emo(
        *("finetune", "--out", tmp_path / "out", "--name", "faces", "--json"),
        *settings(
            tmp_path,
            held_out=tmp_path / "held_out.jsonl",
            lora="null",
            freeze="{vision: false, projector: false, language: false}",
            max_steps="null",
            epochs=7,
            batch=32,
            batch_tokens=8192,
            learning_rate="1e-3",
            warmup_share=0.1,
            save_every=1000,
            **{"validation.samples": 64, "validation.max_new_tokens": 12},
        ),
        env=ray_cluster,
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)["metrics"]
    run = tmp_path / "out" / "finetune" / "faces"
    before = json.loads((run / "answers" / "base.json").read_text())["metrics"]
    print(f"label F1 on held-out faces: {before['f1']:.3f} before, {metrics['f1']:.3f} after")
    assert before["f1"] < 0.3
    assert metrics["f1"] >= 0.95
    promoted = emo("adapters", "promote", "faces", "--out", tmp_path / "out")
    assert promoted.returncode == 0, promoted.stderr
    clips = tmp_path / "clips"
    clips.mkdir()
    truth = {}
    for number, expression in enumerate(list(LEARNT) * 4):
        write_clip(clips / f"{number:02d}.mp4", 5000 + number, expression)
        truth[f"{number:02d}"] = expression
    prompt = tmp_path / "question.txt"
    prompt.write_text(drawn_faces.QUESTION)
    expert = {
        "kind": "internvl", "model": str(tmp_path / "out" / "adapters" / "faces"), "device": "cpu",
        "prompt": str(prompt), "max_frames": 1, "max_new_tokens": 12, "workers": 1,
    }  # fmt: skip
    labelled = emo(
        *("label", clips, "--out", tmp_path / "labelled", "--set", f"experts=[{json.dumps(expert)}]"),
        *("--set", "ingest.workers=1"),
        env=ray_cluster,
    )
    assert labelled.returncode == 0, labelled.stderr
    found = by_id(rows(tmp_path / "labelled", JUDGMENTS, "labels"), "labels")
    right = sum(labels == [truth[name]] for name, labels in found.items())
    assert right >= 0.9 * len(truth), found
