"""Ray tasks beside a training: its base and each checkpoint answer held-out samples."""

from functools import partial
from pathlib import Path
from typing import Any

from emo.errors import EmoError
from emo.finetuning.held_out import base_answers, judge_base, judge_result, judge_test
from emo.finetuning.live import Live
from emo.finetuning.result import NOT_ANSWERED, RESULT
from emo.finetuning.settings import Finetune
from emo.finetuning.task import Task
from emo.run.training_monitor import telling_line
from emo.store.storage import Storage


def answers_beside(place: Storage, settings: Finetune) -> Any:
    """Ray's ValidationConfig: what answers held-out samples beside the training.

    The place, which knows the S3 key, is bound here: Ray sends this to its workers and writes it nowhere.
    """
    from ray.train import ValidationConfig

    return ValidationConfig(
        fn=partial(_validate, place=place, settings=settings),
        # It only waits for a task of its own, see there.
        ray_remote_kwargs={"num_cpus": 0, "num_gpus": 0},
    )


def answers_wanted(step: int) -> Any:
    """Ray's ValidationTaskConfig of one checkpoint, which Ray writes into OUT as clear text."""
    from ray.train import ValidationTaskConfig

    return ValidationTaskConfig(fn_kwargs={"step": step})


def _validate(checkpoint: Any, *, step: int, settings: Finetune, place: Storage) -> dict[str, Any]:
    """The figures of a checkpoint's answers, or why there are none: a training does not end with them.

    Ray ends the training where the process of a validation dies, so the model is loaded in another one.
    """
    import ray

    task = ray.remote(_judge).options(**_options(settings)).remote(checkpoint, step, settings, place)
    try:
        return dict(ray.get(task))
    except ray.exceptions.TaskCancelledError:
        raise
    except ray.exceptions.RayError as error:
        return {NOT_ANSWERED: telling_line(error)}


def _judge(checkpoint: Any, step: int, settings: Finetune, place: Storage) -> dict[str, float]:
    with checkpoint.as_directory() as path:
        return judge_result(place, settings, Path(path) / RESULT, step)


def ask_test(task: Task, best: str, live: Live) -> dict[str, Any]:
    """The figures of base and best on the split `test`, or why there are none; best: its folder.

    The training is over: nothing that fails here costs it.
    """
    import ray

    if not task.tests:
        return {}
    live.note(f"finetune {task.name}: base and best answer samples of the split test")
    try:
        asked = ray.remote(judge_test).options(**_options(task.settings))
        return dict(ray.get(asked.remote(task.place, task.settings, best)))
    except ray.exceptions.RayError as error:
        why = telling_line(error)
        live.note(f"finetune {task.name}: there are no figures of the split test: {why}")
        return {f"test_{NOT_ANSWERED}": why}


def _options(settings: Finetune) -> dict[str, Any]:
    return {"num_cpus": 0, "num_gpus": settings.answer_gpus, "max_retries": 1}


def ask_base(task: Task, live: Live) -> None:
    """Let the base answer, if answers are wanted and it has not done so before.

    That is before the first step: no worker holds a GPU yet, and a base that cannot be asked is found out
    while nothing is lost by it. Raises EmoError where it cannot.
    """
    import ray

    if not task.asks or base_answers(task.place, task.settings) is not None:
        return
    live.note(f"finetune {task.name}: the base answers the held-out samples")
    try:
        ray.get(ray.remote(judge_base).options(**_options(task.settings)).remote(task.place, task.settings))
    except ray.exceptions.RayError as error:
        raise EmoError(f"the base could not be asked: {telling_line(error)}") from error
