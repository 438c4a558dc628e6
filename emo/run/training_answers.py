"""Ray tasks beside a training: its base and each checkpoint answer held-out samples."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from emo.errors import EmoError
from emo.finetuning.held_out import BASE_ANSWERS, judge_base, judge_result
from emo.finetuning.result import RESULT
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
        ray_remote_kwargs={"num_cpus": 0, "num_gpus": settings.validation.gpus},
    )


def answers_wanted(step: int) -> Any:
    """Ray's ValidationTaskConfig of one checkpoint, which Ray writes into OUT as clear text."""
    from ray.train import ValidationTaskConfig

    return ValidationTaskConfig(fn_kwargs={"step": step})


def _validate(checkpoint: Any, *, step: int, settings: Finetune, place: Storage) -> dict[str, float]:
    with checkpoint.as_directory() as path:
        return judge_result(place, settings, Path(path) / RESULT, step)


@contextmanager
def base_asked(task: Task) -> Iterator[None]:
    """While the block runs, the base answers, if answers are wanted and it has not done so before.

    Raises EmoError where it cannot; a block that raises does not wait for it.
    """
    import ray

    if not task.asks or task.place.has(BASE_ANSWERS):
        yield
        return
    options = {"num_cpus": 0, "num_gpus": task.settings.validation.gpus}
    answers = ray.remote(judge_base).options(**options).remote(task.place, task.settings)
    yield
    try:
        ray.get(answers)
    except ray.exceptions.RayTaskError as error:
        raise EmoError(f"the base could not be asked: {telling_line(error)}") from error
