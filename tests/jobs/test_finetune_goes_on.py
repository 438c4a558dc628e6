"""A finetuning goes on whose processes die, whose data move, or whose disk fills up."""

import json
import re
import signal
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from conftest import REPOSITORY
from emo.finetuning import prepared
from emo.store.storage import Storage
from emo.store.tables import CAPTIONS
from finetuning_runs import (
    losses,
    settings,
    small_set,
    start,
    wait_for_checkpoint,
    workers_of,
    write_clip,
)
from labelling import emo, rows
from small_disk import small_disk


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_set(tmp_path_factory.mktemp("finetune"))


@pytest.fixture(scope="module")
def undisturbed(folder, ray_cluster):
    """A run that nothing happens to."""
    out = folder / "out"
    done = emo("finetune", "--out", out, "--name", "calm", *settings(folder), env=ray_cluster)
    assert done.returncode == 0, done.stderr
    return done, losses(out, "calm")


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
    out, run = folder / "out", folder / "out" / "finetune" / "duplex"
    moda = {"attention_module": "moda", "max_steps": 7, "held_out": folder / "held_out.jsonl"}
    calm = ("finetune", "--out", out, "--name", "duplex-calm")
    done = emo(*calm, *settings(folder, **moda), env=ray_cluster)
    assert done.returncode == 0, done.stderr
    # Stage 3 partitions its weights too, and gathers them where a layer is entered.
    changes = {**moda, "zero": 3}
    process = start(folder, "duplex", ray_cluster, **changes)
    before = wait_for_checkpoint(run, process, 3)
    process.kill()
    process.communicate()
    again = emo(
        "finetune", *("--out", out, "--name", "duplex"), *settings(folder, **changes), env=ray_cluster
    )
    assert again.returncode == 0, again.stderr
    curve = losses(out, "duplex")
    assert curve[:3] == before, "steps that a checkpoint holds are not made again"
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
