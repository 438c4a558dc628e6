"""`emo finetune` as a user runs it: real processes, Ray Train, DeepSpeed, tiny models, faces, voices."""

import asyncio
import contextlib
import errno
import inspect
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest
import torch
from ray import cloudpickle
from safetensors.torch import load_file

import checkpoints
import drawn_faces
from clips import ffmpeg
from conftest import REPOSITORY
from emo.finetuning import prepared
from emo.finetuning.settings import Finetune
from emo.store.runs import load_runs
from emo.store.s3 import S3Settings
from emo.store.storage import Storage
from emo.store.tables import CAPTIONS, JUDGMENTS
from labelling import EMO, by_id, emo, rows
from small_disk import small_disk

STEPS = 10
LEARNT = ("happy", "angry", "surprised", "sad")
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
VOICE_LORA = {**LORA, "family": "qwen-audio", "epochs": 5, "tensorboard": "true"}
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


def workers_of(ray_cluster: dict[str, str], title: str) -> list[psutil.Process]:
    """The processes of this cluster with that in their title; `RayTrainWorker`: those that hold a model."""
    found = []
    port = ray_cluster["RAY_ADDRESS"].rpartition(":")[2]
    for process in psutil.process_iter(["cmdline"]):
        if title in " ".join(process.info["cmdline"] or []):
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


@pytest.fixture(scope="module")
def proof(tmp_path_factory, ray_cluster):
    """LoRA on the language part of a model that knows three of six voices; base and hearing stay frozen."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("proof")
    drawn_faces.make_voice_base(folder / "base", range(2000, 2100))
    drawn_faces.write_voices(folder, "train.jsonl", range(150))
    drawn_faces.write_voices(folder, "held_out.jsonl", range(1000, 1016))
    done = finetuned(folder, "voices", ray_cluster, VOICE_LORA)
    return folder, done


def test_lora_learns_voices_that_its_base_does_not_know_and_label_then_labels_new_clips_right(
    proof, ray_cluster
):
    folder, done = proof
    before, after = f1_before_and_after(folder, "voices", done)
    assert 0.3 < before < 0.6, "the base knows half of them"
    assert after >= 0.95
    promoted = emo("adapters", "promote", "voices", "--out", folder / "out")
    assert promoted.returncode == 0, promoted.stderr
    truth = {f"{n:02d}": expression for n, expression in enumerate(list(drawn_faces.EXPRESSIONS) * 3)}
    (folder / "clips").mkdir()
    for number, expression in truth.items():
        write_spoken_clip(folder / "clips" / f"{number}.mkv", 5000 + int(number), expression)
    adapted = {"model": folder / "base", "adapter": folder / "out" / "adapters" / "voices"}
    assert labelled_right(folder, "qwen-audio", adapted, truth, ray_cluster) >= 0.9 * len(truth)


def test_a_run_leaves_an_adapter_with_its_manifest_a_card_a_curve_and_a_page(proof):
    folder, done = proof
    run = folder / "out" / "finetune" / "voices"
    curve = losses(folder / "out", "voices")
    assert len(curve) == json.loads(done.stdout)["steps"] == 145
    assert curve[-1] < curve[0]
    for where in ("best", "last"):
        about = json.loads((run / where / "emo_adapter.json").read_text())
        assert about["family"] == "qwen-audio"
        assert about["base"]["revision"].startswith("local-")
        assert len(about["target_modules"]) == 14
        assert all(name.startswith("model.language_model.") for name in about["target_modules"])
        assert about["weights"] == 28
        assert about["data"]["train"] == 900
        assert (run / where / "adapter_model.safetensors").stat().st_size > 10_000
        assert "It fits no other base" in (run / where / "README.md").read_text()
    [told] = load_runs(Storage(str(folder / "out")), trainings=True)
    preparing, training = told["steps"]
    assert (told["outcome"], preparing["ok"], training["ok"], training["rows"]) == ("done", 996, 145, 145)
    assert [loss for _, loss, _ in training["curve"]] == curve
    assert training["figures"]["f1"] == json.loads(done.stdout)["metrics"]["f1"]
    assert json.loads((run / "run.json").read_text())["trained"] is True
    names = [entry.sample_id for entry in prepared.read_entries(Storage(str(run)))]
    assert names == sorted(names), "whatever the order in which they were prepared"
    assert not list((run / "data").glob("listed-*")), "what only the preparation reads is gone"
    page = (run / "index.html").read_text()
    assert "<polyline" in page
    assert "«The person feels" in page
    assert "900 samples to train on" in done.stderr
    assert "adapter: " in done.stderr.splitlines()[-1]


def test_the_name_of_a_run_that_is_done_stands_for_that_run(proof, ray_cluster):
    folder, _ = proof
    name = ("--out", folder / "out", "--name", "voices")
    given = {**VOICE_LORA, "held_out": folder / "held_out.jsonl"}
    same = emo("finetune", *name, *settings(folder, **given), "--json", env=ray_cluster)
    assert same.returncode == 0, same.stderr
    assert json.loads(same.stdout)["already"] is True
    other = emo("finetune", *name, *settings(folder, **{**given, "seed": 5, "learning_rate": "1e-3"}))
    assert other.returncode == 2
    assert "seed was 0 and is 5" in other.stderr
    assert "learning_rate was 0.002 and is 0.001" in other.stderr


def test_tensorboard_reads_the_curve_back(proof):
    from tensorboardX.proto.event_pb2 import Event

    out = proof[0] / "out"
    [path] = (out / "finetune" / "voices" / "tensorboard").glob("events.out.tfevents.*")
    data, at, found = path.read_bytes(), 0, {}
    # A record is its length, a checksum of that, the event, a checksum of that.
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = Event.FromString(data[at + 12 : at + 12 + length])
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = value.simple_value
        at += 16 + length
    assert list(found["loss"]) == list(range(1, 146))
    assert list(found["loss"].values()) == pytest.approx(losses(out, "voices"), rel=1e-6)
    assert list(found["held_out_loss"]) == [145]
    assert found["rate"].keys() == found["tokens_per_s"].keys() == found["loss"].keys()


@pytest.mark.long
def test_a_killed_worker_a_killed_command_and_another_number_of_workers_change_no_loss(
    folder, undisturbed, ray_cluster
):
    run = folder / "out" / "finetune" / "wounded"
    process = start(folder, "wounded", ray_cluster, workers=2)
    wait_for_checkpoint(run, process, 3)
    victims = workers_of(ray_cluster, "RayTrainWorker")
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


def test_duplex_attention_goes_on_after_a_kill_and_is_kept_with_the_adapter(folder, ray_cluster):
    out, run, moda = folder / "out", folder / "out" / "finetune" / "duplex", {"attention_module": "moda"}
    calm = ("finetune", "--out", out, "--name", "duplex-calm")
    done = emo(*calm, *settings(folder, **moda, held_out=folder / "held_out.jsonl"), env=ray_cluster)
    assert done.returncode == 0, done.stderr
    # Stage 3 partitions its weights too, and gathers them where a layer is entered.
    changes = {**moda, "zero": 3, "held_out": folder / "held_out.jsonl"}
    process = start(folder, "duplex", ray_cluster, **changes)
    before = wait_for_checkpoint(run, process, 6)
    process.kill()
    process.communicate()
    again = emo(
        "finetune", *("--out", out, "--name", "duplex"), *settings(folder, **changes), env=ray_cluster
    )
    assert again.returncode == 0, again.stderr
    curve = losses(out, "duplex")
    assert curve[:6] == before, "steps that a checkpoint holds are not made again"
    assert curve == pytest.approx(losses(out, "duplex-calm"), abs=1e-3)
    for where in ("best", "last"):
        weights = load_file(run / where / "adapter_model.safetensors")
        added = [value for name, value in weights.items() if ".self_attn.duplex." in name]
        assert len(added) == 4
        assert all(value.abs().max() > 0 for value in added), "it was trained, and gathered"
        about = json.loads((run / where / "emo_adapter.json").read_text())
        assert about["attention_module"]["kind"] == "moda"
    merged = emo("adapters", "merge", "duplex", "--out", out, "--to", folder / "merged")
    assert merged.returncode == 2
    assert "cannot be merged" in merged.stderr
    promoted = emo(
        *("adapters", "promote", "duplex", "--out", out, "--set", "finetune.gate.better_than_base=false"),
        *("--set", "finetune.gate.max_parse_failures=1"),
    )
    # Without answers there is no figure to promote by; the best folder itself is what an expert names.
    assert promoted.returncode == 2
    expert = {
        "kind": "internvl", "model": str(folder / "base"), "adapter": str(run / "best"), "device": "cpu",
        "max_frames": 8, "max_new_tokens": 4, "workers": 1,
    }  # fmt: skip
    line_up = ("--set", f"experts=[{json.dumps(expert)}]", "--set", "ingest.workers=1")
    (folder / "one").mkdir()
    write_clip(folder / "one" / "clip.mp4", 5000, "happy")
    labelled = emo("label", folder / "one", "--out", folder / "one-out", *line_up, env=ray_cluster)
    assert labelled.returncode == 0, labelled.stderr


@pytest.mark.long
def test_a_run_goes_on_without_the_process_that_watches_it_and_without_those_that_read_ahead(
    folder, undisturbed, ray_cluster
):
    run = folder / "out" / "finetune" / "unwatched"
    process = start(folder, "unwatched", ray_cluster)
    wait_for_checkpoint(run, process, 3)
    for title in ("ray::Monitor", "ray::_Feeder"):
        [victim] = workers_of(ray_cluster, title)
        victim.send_signal(signal.SIGKILL)
    _, said = process.communicate(timeout=250)
    assert process.returncode == 0, said
    assert losses(folder / "out", "unwatched") == pytest.approx(undisturbed[1], abs=1e-6)
    assert len(list(run.glob("train/checkpoint-*-*"))) > 0
    attempts = {path.name.rpartition("-")[2] for path in run.glob("train/checkpoint-*-*")}
    assert len(attempts) == 1, "no worker had to start again"


@pytest.mark.long
def test_a_night_that_merges_the_files_which_a_finetuning_is_about_to_read_costs_it_no_sample(
    folder, tmp_path, ray_cluster
):
    source, out = REPOSITORY / "samples" / "manifest.csv", tmp_path / "out"
    options = ["--set", "experts=[{kind: face}]", "--set", "ingest.frames=4", "--set", "ingest.shard_rows=1"]
    for command in (["ingest", source], ["caption"]):
        done = emo(*command, "--out", out, *options, env=ray_cluster)
        assert done.returncode == 0, done.stderr
    planned = Storage(str(out)).names("clips")
    assert len(planned) > 5
    (tmp_path / "base").symlink_to(folder / "base")
    changes = {"data": "captions", "batch_tokens": 8192, "max_steps": 2}
    process = start(tmp_path, "by-night", ray_cluster, **changes)
    try:
        deadline = time.monotonic() + 200
        while not (preparers := workers_of(ray_cluster, "_Preparer")):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for preparer in preparers:
            preparer.suspend()
        run = Storage(str(out / "finetune" / "by-night"))
        read = [name for name in run.names("data") if name.startswith("data/clips-")]
        assert not read, "it was too quick to be stopped before it read"
        night = emo("nightly", source, "--out", out, *options, env=ray_cluster)
        assert night.returncode == 0, night.stderr
        assert not set(planned) & set(Storage(str(out)).names("clips")), "the night merged nothing"
        for preparer in preparers:
            preparer.resume()
        _, said = process.communicate(timeout=250)
        assert process.returncode == 0, said
    finally:
        process.kill()
        process.wait()
    captions = [row for row in rows(out, CAPTIONS, "status", "split") if row["status"] == "ok"]
    entries = prepared.read_entries(run)
    assert {entry.error for entry in entries} == {None}
    assert len(entries) == sum(row["split"] in ("train", "validation") for row in captions) > 3


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


def held_by(folder: Path, secrets: Iterable[str]) -> list[tuple[Path, str]]:
    """The files below a folder that hold a secret."""
    texts = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert texts
    return [(path, secret) for path, text in texts.items() for secret in secrets if secret.encode() in text]


def test_no_file_of_a_run_and_none_of_rays_logs_holds_the_keys_of_its_storage(proof, ray_cluster):
    folder, done = proof
    assert held_by(folder / "out", PLANTED.values()) == []
    port = ray_cluster["RAY_ADDRESS"].rpartition(":")[2]
    [session] = Path(f"/tmp/emo-test-ray-{port}").glob("session_2*")
    assert held_by(session / "logs", PLANTED.values()) == []
    assert not [secret for secret in PLANTED.values() if secret in done.stdout + done.stderr]


def test_what_ray_writes_of_a_checkpoint_whose_answers_are_due_holds_no_secret(tmp_path):
    from pyarrow.fs import LocalFileSystem
    from ray.train import Checkpoint, CheckpointConfig
    from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import CheckpointManager
    from ray.train.v2._internal.execution.context import StorageContext
    from ray.train.v2._internal.execution.training_report import _TrainingReport

    from emo.run.training_answers import answers_beside, answers_wanted
    from emo.run.training_checkpoints import SNAPSHOT, TRAINING

    place = Storage("s3://bucket/run", S3Settings(**PLANTED))
    storage = StorageContext(str(tmp_path), TRAINING)
    folder = Path(storage.build_checkpoint_path_from_name("checkpoint-0000003-a"))
    folder.mkdir(parents=True)
    report = _TrainingReport(
        checkpoint=Checkpoint(str(folder), LocalFileSystem()),
        metrics={"step": 3},
        validation=answers_wanted(3),
    )

    async def registered() -> dict:
        CheckpointManager(CheckpointConfig(num_to_keep=1), storage).register_checkpoint(report)
        # As the next run reads it.
        manager = CheckpointManager(CheckpointConfig(num_to_keep=1), storage)
        [(_, due)] = manager.get_pending_training_results().values()
        return due.fn_kwargs

    due = asyncio.run(registered())
    assert '"pending_validation_specs"' in (tmp_path / SNAPSHOT).read_text()
    assert held_by(tmp_path, PLANTED.values()) == []
    beside = cloudpickle.loads(cloudpickle.dumps(answers_beside(place, Finetune(model="base"))))
    given = inspect.signature(beside.fn).bind("the checkpoint", **due).arguments
    assert given["step"] == 3
    assert beside.fn.keywords["place"].s3 == place.s3, "it can still write the answers"


def make_checkpoint(place: Storage, name: str, workers: int = 2) -> Path:
    """A checkpoint as that many workers leave it, the tensors aside."""
    from emo.finetuning.batching import Cursor
    from emo.finetuning.state import State
    from emo.run.training_checkpoints import TRAINING, list_part

    folder = Path(place.full(TRAINING)) / name
    for rank in range(workers):
        part = folder.parent / f"worker-{rank}"
        (part / "ds" / "step").mkdir(parents=True)
        (part / "ds" / "step" / f"rank_{rank}.pt").write_bytes(b"x" * 1000)
        if rank == 0:
            (part / "adapter").mkdir()
            (part / "adapter" / "emo_adapter.json").write_text("{}")
            State(Cursor(), workers, 1.0, []).write(part)
        list_part(part, rank)
        shutil.copytree(part, folder, dirs_exist_ok=True)
        shutil.rmtree(part)
    return folder


@pytest.mark.parametrize(
    "lost",
    ["state.json", "adapter/emo_adapter.json", "ds/step/rank_1.pt", "files-00000.json", "files-00001.json"],
)
@pytest.mark.parametrize("what", ["missing", "half", "empty"])
@pytest.mark.parametrize("of_the_list", ["", '{"ray_ver', None])
def test_where_rays_list_is_torn_the_newest_whole_checkpoint_is_gone_on_from(
    tmp_path, lost, what, of_the_list
):
    from emo.run.training_checkpoints import SNAPSHOT, TRAINING, drop_half_written, find_checkpoint

    place = Storage(str(tmp_path))
    older, whole, torn = (make_checkpoint(place, f"checkpoint-{step:07d}-a") for step in (10, 20, 30))
    if what == "missing":
        (torn / lost).unlink()
    else:
        os.truncate(torn / lost, (torn / lost).stat().st_size // 2 if what == "half" else 0)
    if of_the_list is not None:
        (tmp_path / SNAPSHOT).write_text(of_the_list)
    for _ in range(2):  # a second command that is killed before Ray has a list again
        drop_half_written(place)
        assert find_checkpoint(place) == f"{TRAINING}/{whole.name}"
    assert whole.exists()
    assert older.exists(), "nothing whole goes before there is a list again"
    assert not torn.exists()
    # Ray has a list again: of that checkpoint, saved anew.
    again = make_checkpoint(place, "checkpoint-0000020-b")
    place.write(SNAPSHOT, json.dumps({"checkpoint_results": [again.name]}).encode())
    drop_half_written(place)
    assert find_checkpoint(place) is None
    assert [path.name for path in (tmp_path / TRAINING).glob("checkpoint-*/")] == [again.name]


def test_without_a_whole_checkpoint_a_run_starts_over(tmp_path):
    from emo.run.training_checkpoints import SNAPSHOT, drop_half_written, find_checkpoint

    place = Storage(str(tmp_path))
    assert find_checkpoint(place) is None
    torn = make_checkpoint(place, "checkpoint-0000010-a")
    (torn / "state.json").unlink()
    (tmp_path / SNAPSHOT).write_text("")
    assert find_checkpoint(place) is None
    assert not (tmp_path / SNAPSHOT).exists()
    drop_half_written(place)
    assert not torn.exists()


def test_a_full_disk_is_not_tried_again_and_other_faults_are():
    from emo.run.training_worker import _hopeless

    full = OSError(errno.ENOSPC, "No space left on device", "/somewhere")
    assert "no space left on the device (/somewhere)" in _hopeless(full)
    assert "no space left" in _hopeless(OSError("[Errno 28] Error writing bytes: No space left on device"))
    assert _hopeless(OSError(errno.EIO, "Input/output error")) is None


def pages(folder: Path) -> int:
    """The bytes that a folder takes on a disk of pages of 4 KiB."""
    return sum(-(-path.stat().st_size // 4096) * 4096 + 4096 for path in folder.rglob("*"))


@pytest.fixture
def disk(tmp_path, folder, undisturbed):
    """A disk with room for one and a half checkpoints of such a run; a function that makes it larger."""
    calm = folder / "out" / "finetune" / "calm"
    [checkpoint] = (calm / "train").glob("checkpoint-*/")
    size = pages(calm / "data") + pages(checkpoint) * 3 // 2 + 100_000
    with small_disk(tmp_path / "disk", str(size)) as made:
        yield made


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_disk_that_fills_up_stops_the_run_in_one_line_and_space_is_all_that_it_takes_to_go_on(
    folder, undisturbed, disk, ray_cluster
):
    disk, enlarge = disk
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

    from emo.run.training_checkpoints import telling_of_space
    from emo.run.training_worker import _hopeless

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


def write_spoken_clip(path: Path, person: int, expression: str) -> None:
    """A video of one second with a voice and nothing to see."""
    sound = path.with_suffix(".flac")
    sound.write_bytes(drawn_faces.voice(drawn_faces.identity(person), expression, person))
    ffmpeg(
        *("-f", "lavfi", "-i", "color=gray:size=64x64:rate=10:duration=1", "-i", sound),
        *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "copy", path),
    )
    sound.unlink()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_model_learns_what_faces_show_and_label_then_labels_new_clips_right(tmp_path, ray_cluster):
    drawn_faces.make_base(tmp_path / "base")
    drawn_faces.write_messages(tmp_path, "train.jsonl", range(150), LEARNT)
    drawn_faces.write_messages(tmp_path, "held_out.jsonl", range(1000, 1016), LEARNT)
    done = finetuned(tmp_path, "faces", ray_cluster, {**WHOLE_MODEL, "epochs": 7})
    before, after = f1_before_and_after(tmp_path, "faces", done)
    assert before < 0.3
    assert after >= 0.95
    promoted = emo("adapters", "promote", "faces", "--out", tmp_path / "out")
    assert promoted.returncode == 0, promoted.stderr
    truth = {f"{n:02d}": expression for n, expression in enumerate(list(LEARNT) * 4)}
    (tmp_path / "clips").mkdir()
    for number, expression in truth.items():
        write_clip(tmp_path / "clips" / f"{number}.mp4", 5000 + int(number), expression)
    model = {"model": tmp_path / "out" / "adapters" / "faces"}
    assert labelled_right(tmp_path, "internvl", model, truth, ray_cluster) >= 0.9 * len(truth)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_model_learns_what_pitch_and_pace_of_a_voice_tell(tmp_path, ray_cluster):
    drawn_faces.make_voice_base(tmp_path / "base")
    drawn_faces.write_voices(tmp_path, "train.jsonl", range(150))
    drawn_faces.write_voices(tmp_path, "held_out.jsonl", range(1000, 1016))
    changes = {**WHOLE_MODEL, "family": "qwen-audio", "epochs": 4, "validation.samples": 96}
    done = finetuned(tmp_path, "voices", ray_cluster, changes)
    before, after = f1_before_and_after(tmp_path, "voices", done)
    assert before < 0.3
    assert after >= 0.95


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_lora_learns_faces_that_its_base_does_not_know(tmp_path, ray_cluster):
    torch.set_num_threads(1)
    drawn_faces.make_base(tmp_path / "base", range(2000, 2400))
    drawn_faces.write_messages(tmp_path, "train.jsonl", range(500))
    drawn_faces.write_messages(tmp_path, "held_out.jsonl", range(1000, 1016))
    done = finetuned(tmp_path, "faces", ray_cluster, {**LORA, "epochs": 7})
    before, after = f1_before_and_after(tmp_path, "faces", done)
    assert before < 0.6
    assert after >= 0.95
