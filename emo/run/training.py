"""A training with Ray Train, its base and its checkpoints answering beside it."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from emo.engines.adapters import MANIFEST
from emo.errors import EmoError
from emo.finetuning.live import Live
from emo.finetuning.result import RESULT, Kept
from emo.finetuning.task import Task
from emo.run.training_answers import answers_beside, ask_base
from emo.run.training_checkpoints import (
    TRAINING,
    checkpoint_folder,
    drop_half_written,
    find_checkpoint,
    train_storage,
    whole_checkpoints,
)
from emo.run.training_monitor import reason_to_stop, started_monitor, telling_line, watched


def train(task: Task, live: Live, go_on: Callable[[], None]) -> tuple[Kept, Sequence[Kept]]:
    """Train, or go on with a training, to its end; the last checkpoint, and all that were kept.

    go_on: called again and again meanwhile; the training stops where it raises EmoError. Raises EmoError
    where it stopped, or a base could not be asked. What was saved before stays.
    """
    ask_base(task, live)
    with started_monitor() as monitor:
        with watched(monitor, live, go_on):
            result = _fit(task, monitor)
        stopped = reason_to_stop(monitor)
    if stopped:
        raise EmoError(f"{stopped}; the last good checkpoint stays, the same command goes on from it")
    if result.checkpoint is None:
        raise EmoError("the run ended without a checkpoint")
    kept = [_kept(*pair) for pair in result.best_checkpoints or []]
    return _kept(result.checkpoint, result.metrics or {}), kept


def saved_so_far(task: Task) -> list[Kept]:
    """The whole checkpoints of a training that stopped, the newest last."""
    place = task.place
    found = []
    for name in whole_checkpoints(place):
        about = json.loads(place.read(f"{TRAINING}/{name}/{RESULT}/{MANIFEST}"))
        found.append(Kept(about["metrics"], partial(checkpoint_folder, place, name)))
    return found


def _kept(checkpoint: Any, metrics: dict[str, Any]) -> Kept:
    return Kept(dict(metrics), checkpoint.as_directory)


def _fit(task: Task, monitor: Any) -> Any:
    """Ray's result of the training."""
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    from emo.run.training_worker import train

    settings, place = task.settings, task.place
    fewest, most = settings.worker_range
    on_gpu = settings.device == "cuda"
    measure = {"checkpoint_score_attribute": "f1"} if task.asks else {}
    if not task.asks and task.data["held_out"]:
        measure = {"checkpoint_score_attribute": "held_out_loss", "checkpoint_score_order": "min"}
    drop_half_written(place)
    found = find_checkpoint(place)
    path, filesystem = train_storage(place)
    trainer = TorchTrainer(
        partial(train, task, monitor, found),
        torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=fewest if fewest == most else (fewest, most),
            use_gpu=on_gpu,
            resources_per_worker={"CPU": 1, "GPU": 1} if on_gpu else {"CPU": 1},
        ),
        run_config=RunConfig(
            name=TRAINING,
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=settings.max_failures),
            # The best one; Ray keeps the last beside it, because a run goes on from there.
            checkpoint_config=CheckpointConfig(num_to_keep=1, **measure),
        ),
        validation_config=answers_beside(place, settings) if task.asks else None,
    )
    try:
        return trainer.fit()
    except TrainingFailedError as error:
        raise EmoError(f"training failed: {telling_line(error)}") from error
    finally:
        with suppress(EmoError, OSError):  # what the training ended with matters more
            drop_half_written(place)
