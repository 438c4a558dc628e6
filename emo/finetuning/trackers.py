"""The curve of a run for trackers: TensorBoard, Weights and Biases, MLflow.

They run in the process of the command: a person's key for a tracker stays there, and a tracker that fails
costs no training.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from emo.errors import InputError, one_line
from emo.finetuning.settings import Finetune
from emo.finetuning.task import Task
from emo.marks import deciding
from emo.store.storage import Storage

# The figures of a step that are drawn.
FIGURES = ("loss", "held_out_loss", "rate", "tokens_per_s", "waited_share", "memory_gib")
TENSORBOARD = "tensorboard"
# Where event files cannot grow in place they are written whole this often.
_UPLOAD_EVERY_S = 60.0
_MLFLOW_RUN = "mlflow.json"
# Setting -> the module that it needs, and the extra that brings it.
_NEEDED = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}


def check_trackers(settings: Finetune) -> None:
    """Raise InputError where the package of a tracker that is asked for is not installed."""
    for key, module in _NEEDED.items():
        if getattr(settings, key) and not _installed(module):
            raise InputError(f"finetune.{key} needs the package {module}: pip install 'emo[{key}]'")


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # a module that cannot be imported
        return False


class Tracked:
    """Hands the records of a run to the trackers that it has.

    Of a tracker that fails it is said once, and it is given nothing more.
    """

    def __init__(self, trackers: Mapping[str, Any], say: Callable[[str], None]) -> None:
        """trackers: with `log(step, figures)`, by name; say: tells a person."""
        self._trackers, self._say = dict(trackers), say
        self._last = 0

    def add(self, record: Mapping[str, Any]) -> None:
        """Take the record of a step; a step that was repeated after a failure comes again."""
        figures = {key: float(record[key]) for key in FIGURES if record.get(key) is not None}
        self._last = int(record["step"])
        self._log(self._last, figures)

    def end(self, metrics: Mapping[str, Any]) -> None:
        """Take the figures of the best checkpoint; they stand at the last step."""
        figures = {
            f"best/{key}": float(value)
            for key, value in metrics.items()
            if key != "step" and isinstance(value, int | float)
        }
        self._log(self._last or int(metrics["step"]), figures)

    def _log(self, step: int, figures: Mapping[str, float]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                tracker.log(step, figures)
            except Exception as error:  # whatever a library for a server raises
                del self._trackers[name]
                self._say(f"{name} is given nothing more: {one_line(error)}")


@contextmanager
def tracked(task: Task, say: Callable[[str], None]) -> Iterator[Tracked]:
    """The trackers that the settings of a run ask for; one that cannot be opened is said, and left out."""
    settings = task.settings
    opening: list[tuple[str, Callable[[], Any]]] = []
    if settings.tensorboard:
        opening.append(("tensorboard", lambda: _TensorBoard(task.place)))
    if settings.wandb is not None:
        opening.append(("wandb", lambda: _Wandb(task)))
    if settings.mlflow is not None:
        opening.append(("mlflow", lambda: _Mlflow(task)))
    with ExitStack() as stack:
        trackers = {}
        for name, make in opening:
            try:
                trackers[name] = make()
            except Exception as error:  # whatever a library for a server raises
                say(f"{name} is given nothing: {one_line(error)}")
                continue
            stack.callback(_closed, name, trackers[name], say)
        yield Tracked(trackers, say)


def _closed(name: str, tracker: Any, say: Callable[[str], None]) -> None:
    try:
        tracker.close()
    except Exception as error:  # the run is done, or ends with something that matters more
        say(f"{name} could not be closed: {one_line(error)}")


class _TensorBoard:
    """Event files in OUT/finetune/NAME/tensorboard; on S3 written whole, again and again."""

    def __init__(self, place: Storage) -> None:
        self._place = place
        self._folder = TemporaryDirectory(prefix="emo-tensorboard-") if place.on_s3 else None
        self._path = self._folder.name if self._folder else place.full(TENSORBOARD)
        self._writer: Any = None
        self._step = 0
        self._written_at = time.monotonic()

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        from tensorboardX import SummaryWriter  # type: ignore[import-untyped]

        if self._writer is None or step < self._step:
            # What an earlier attempt wrote of later steps is made again.
            self._end()
            # Its files are named by the second, and two of one second would be one.
            part = f".{time.time_ns() % 10**9:09d}"
            self._writer = SummaryWriter(self._path, purge_step=step, filename_suffix=part)
        self._step = step
        for key, value in figures.items():
            self._writer.add_scalar(key, value, step)
        if self._folder and time.monotonic() - self._written_at > _UPLOAD_EVERY_S:
            self._writer.flush()
            self._upload()

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._upload()

    def _upload(self) -> None:
        self._written_at = time.monotonic()
        if self._folder:
            for path in sorted(Path(self._path).iterdir()):
                self._place.write(f"{TENSORBOARD}/{path.name}", path.read_bytes())

    def close(self) -> None:
        self._end()
        if self._folder:
            self._folder.cleanup()


class _Wandb:
    """A run of Weights and Biases; one that goes on is the same run there."""

    def __init__(self, task: Task) -> None:
        import wandb

        settings = task.settings.wandb
        assert settings is not None
        self._run = wandb.init(
            project=settings.project,
            entity=settings.entity,
            name=task.name,
            id=hashlib.sha256(f"{task.place.url}\0{task.data['fingerprint']}".encode()).hexdigest()[:16],
            resume="allow",
            config=_config(task),
        )
        # By emo's steps: those that are made again after a failure replace what stood there.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self._run.log({**figures, "step": step})

    def close(self) -> None:
        self._run.finish()


class _Mlflow:
    """A run of MLflow; one that goes on is the same run there."""

    def __init__(self, task: Task) -> None:
        from mlflow.tracking import MlflowClient

        settings = task.settings.mlflow
        assert settings is not None
        self._client = MlflowClient(tracking_uri=settings.uri)
        self._run = ""
        with suppress(FileNotFoundError, ValueError, KeyError):
            self._run = json.loads(task.place.read(_MLFLOW_RUN))["run"]
        if self._run:
            self._client.update_run(self._run, status="RUNNING")
            return
        found = self._client.get_experiment_by_name(settings.experiment)
        experiment = found.experiment_id if found else self._client.create_experiment(settings.experiment)
        self._run = self._client.create_run(experiment, run_name=task.name).info.run_id
        for key, value in deciding(_config(task), None).items():
            self._client.log_param(self._run, key, value)
        task.place.write(_MLFLOW_RUN, json.dumps({"run": self._run}).encode())

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, step) for key, value in figures.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def close(self) -> None:
        self._client.set_terminated(self._run)


def _config(task: Task) -> dict[str, Any]:
    """What a tracker shows of a run besides its curve."""
    data = {key: value for key, value in task.data.items() if key != "refused"}
    return {**task.settings.model_dump(mode="json"), "samples": data}
