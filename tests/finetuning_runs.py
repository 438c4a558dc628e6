"""Runs of `emo finetune` as a user starts them: small settings, small data, and how their processes do."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

import checkpoints
import drawn_faces
from clips import ffmpeg
from emo.store.tables import JUDGMENTS
from labelling import EMO, by_id, emo, of_cluster, rows

STEPS = 10
# Runs that really learn.
LEARNING = {
    "max_steps": "null",
    "batch": 32,
    "batch_tokens": 8192,
    "warmup_share": 0.1,
    "save_every": 1000,
    "validation.samples": 96,
    "validation.max_new_tokens": 12,
}
LORA = {**LEARNING, "lora.rank": 16, "lora.alpha": 32, "learning_rate": "2e-3"}
PLANTED = {"key": "AKIAPLANTEDOFS3", "secret": "planted-secret-of-s3", "token": "planted-token-of-s3"}
WHOLE_MODEL = {
    **LEARNING,
    "lora": "null",
    "lora.rank": None,
    "lora.dropout": None,
    "freeze": "{vision: false, projector: false, language: false}",
    "learning_rate": "1e-3",
}


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
    given = {key: value for key, value in values.items() if value is not None}
    return [part for key, value in given.items() for part in ("--set", f"finetune.{key}={value}")]


def losses(out: Path, name: str) -> list[float]:
    """The curve of a run that is done; every step once."""
    history = json.loads((out / "finetune" / name / "curve.json").read_text())
    assert [row["step"] for row in history] == list(range(1, len(history) + 1))
    return [row["loss"] for row in history]


def finetuned(folder: Path, name: str, ray_cluster, changes: dict[str, object]):
    """A run that is judged on held-out samples; the finished process."""
    options = settings(folder, **{"held_out": folder / "held_out.jsonl", **changes})
    config = folder / "emo.yaml"
    config.write_text(json.dumps({"s3": PLANTED, "experts": [{"kind": "words"}]}))
    done = emo(
        *("finetune", "--out", folder / "out", "--name", name, "--json", "--config", config, *options),
        env=ray_cluster,
    )
    assert done.returncode == 0, done.stderr
    return done


def f1_before_and_after(folder: Path, name: str, done) -> tuple[float, float]:
    """Label F1 on held-out samples: of the base, and of the best checkpoint."""
    run = folder / "out" / "finetune" / name
    before = json.loads((run / "answers" / "base.json").read_text())["metrics"]["f1"]
    result = json.loads(done.stdout)
    after, steps, seconds = result["metrics"]["f1"], result["steps"], result["seconds"]
    print(f"label F1 of {name}: {before:.3f} before, {after:.3f} after {steps} steps, {seconds:.0f} s")
    return before, after


def labelled_right(
    folder: Path, kind: str, model: dict[str, Path], truth: dict[str, str], ray_cluster
) -> int:
    """How many of the clips in folder/clips `emo label` labels right with a finetuned model."""
    (folder / "question.txt").write_text(drawn_faces.QUESTION)
    expert = {
        "kind": kind, **{key: str(value) for key, value in model.items()}, "device": "cpu",
        "prompt": str(folder / "question.txt"), "max_new_tokens": 12, "workers": 1,
    }  # fmt: skip
    if kind == "internvl":
        expert["max_frames"] = 1
    out = folder / "labelled"
    done = emo(
        *("label", folder / "clips", "--out", out, "--set", f"experts=[{json.dumps(expert)}]"),
        *("--set", "ingest.workers=1"),
        env=ray_cluster,
    )
    assert done.returncode == 0, done.stderr
    found = by_id(rows(out, JUDGMENTS, "labels"), "labels")
    return sum(found[name] == [expression] for name, expression in truth.items())


def small_set(folder: Path) -> Path:
    """The folder, with a base and drawn faces that settings() name."""
    checkpoints.make_internvl(folder / "base")
    drawn_faces.write_messages(folder, "train.jsonl", range(5))
    drawn_faces.write_messages(folder, "held_out.jsonl", range(100, 102))
    return folder


def workers_of(ray_cluster: dict[str, str], title: str) -> list[psutil.Process]:
    """The processes of this cluster with that in their title; `RayTrainWorker`: those that hold a model."""
    return of_cluster(ray_cluster, lambda line: title in line)


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


def held_by(folder: Path, secrets: Iterable[str]) -> list[tuple[Path, str]]:
    """The files below a folder that hold a secret."""
    texts = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert texts
    return [(path, secret) for path, text in texts.items() for secret in secrets if secret.encode() in text]


def write_clip(path: Path, person: int, expression: str) -> None:
    """A video of half a second that shows one drawn face."""
    picture = path.with_suffix(".jpg")
    picture.write_bytes(drawn_faces.face(drawn_faces.identity(person), expression, person, pixels=112))
    ffmpeg(
        *("-loop", "1", "-i", picture, "-t", "0.5", "-r", "10", "-c:v", "libx264", "-crf", "12"),
        *("-preset", "ultrafast", "-pix_fmt", "yuv444p", path),
    )
    picture.unlink()
