"""Checkpoints of a finetuning: which of them count, and what is said where one cannot be written."""

import asyncio
import errno
import inspect
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from ray import cloudpickle

from emo.finetuning.settings import Finetune
from emo.store.s3 import S3Settings
from emo.store.storage import Storage
from finetuning_runs import (
    PLANTED,
    held_by,
)


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
