"""One worker of a training: model, data, loop, checkpoints.

Only these workers import it, and `emo finetune` once it trains: Ray and torch take seconds to load.
"""

import errno
import math
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import ray
import ray.train
import torch
import torch.distributed as dist

from emo.engines.models import resolve_model
from emo.errors import EmoError, PlaceError, StorageError
from emo.finetuning import adapter, batching, engine, model, prepared
from emo.finetuning.collator import Collator
from emo.finetuning.engine import NotANumberError
from emo.finetuning.parts import summary
from emo.finetuning.record import as_json
from emo.finetuning.result import RESULT, TRAINED
from emo.finetuning.schedule import learning_rate
from emo.finetuning.state import State, read_state
from emo.finetuning.task import Task
from emo.run.training_answers import answers_wanted
from emo.run.training_checkpoints import list_part, telling_of_space, train_storage
from emo.run.training_data import feed
from emo.run.training_monitor import reason_to_stop
from emo.store.s3 import use_s3

# Samples of the probe that tells whether a checkpoint was restored.
PROBE_SAMPLES = 4


def train(task: Task, monitor: Any, found: str | None) -> None:
    """What every worker of Ray Train runs.

    monitor: the handle of a Monitor; found: see `find_checkpoint`.
    """
    if reason_to_stop(monitor):
        # A worker met what no repetition heals; Ray has started all of them again.
        return
    try:
        _Worker(task, monitor, found).run()
    except (EmoError, OSError) as error:
        reason = _hopeless(error)
        if reason:
            with suppress(ray.exceptions.RayActorError):
                ray.get(monitor.stop.remote(reason))
        raise


def _hopeless(error: Exception) -> str | None:
    """What to tell of an error that repeating would only repeat, else None."""
    if isinstance(error, StorageError) and not isinstance(error, PlaceError):
        return None  # a bucket that is busy now may answer the next attempt
    if isinstance(error, EmoError):
        return str(error)
    if isinstance(error, OSError) and (error.errno == errno.ENOSPC or "No space left" in str(error)):
        return f"a checkpoint could not be saved: no space left on the device ({error.filename or 'storage'})"
    return None


class _Worker:
    """One worker: model, data, loop."""

    def __init__(self, task: Task, monitor: Any, found: str | None) -> None:
        self.task, self.monitor, self.found = task, monitor, found
        self.settings = settings = task.settings
        self.place = task.place
        context = ray.train.get_context()
        self.rank, self.workers = context.get_world_rank(), context.get_world_size()
        self.local_rank, self.node = context.get_local_rank(), context.get_node_rank()
        if settings.device == "cpu":
            torch.set_num_threads(1)
        engine.initialise_communication(settings.device)
        assert settings.model is not None
        use_s3(self.place.s3)
        self.base = resolve_model(settings.model, settings.revision, settings.trust_remote_code)
        self.entries = prepared.Stored(self.place, prepared.TRAIN)
        self.held_out = prepared.Stored(self.place, prepared.HELD_OUT)
        self.model = model.prepare(settings, self.base)
        self.collator = Collator(self.place, settings, self.base, self.entries)
        self.measured = Collator(self.place, settings, self.base, self.held_out or self.entries)
        self.probe = [self.measured.batch(places) for places in self._share(PROBE_SAMPLES)]
        self.history: list[dict[str, Any]] = []

    def _share(self, count: int) -> list[list[int]]:
        """This worker's batches of the first samples that the run is measured on."""
        measured = self.held_out or self.entries
        places = range(min(count, len(measured)))
        return batching.micro_batches(places, measured.tokens, self.workers, self.settings.batch_tokens)[
            self.rank
        ]

    def run(self) -> None:
        start = self._start()
        # Files of one checkpoint come from one attempt: what a broken one left must not be among them.
        attempt = [f"{time.time_ns():x}"]
        dist.broadcast_object_list(attempt, src=0)
        self.attempt = attempt[0]
        if self.rank == 0 and start.step == 0:
            self._tell_targets()
        if ray.train.get_checkpoint() is None and start.step:
            # Ray does not know the checkpoint that was found; from now on it does.
            self._save(start)
        self._train_from(start)

    def _train_from(self, start: batching.Cursor) -> None:
        settings = self.settings
        last_end = time.perf_counter()
        steps = feed(self.place, settings, self.base, self.entries, start, self.rank, self.workers)
        for plan, batches in steps:
            waited = time.perf_counter() - last_end
            self._step(plan, batches, waited, last_end)
            if plan.after.step % settings.save_every == 0 or plan.after.step == self.task.steps:
                self._save(plan.after)
            last_end = time.perf_counter()

    def _start(self) -> batching.Cursor:
        """Make the engine, load the newest checkpoint if there is one, and say where to go on."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None and self.found is not None:
            where, filesystem = train_storage(self.place)
            checkpoint = ray.train.Checkpoint(f"{where}/{self.found}", filesystem)
        if checkpoint is None:
            self.engine = engine.TrainingEngine(
                self.model.model, self.collator.encoder.preprocessor, self.settings
            )
            return batching.Cursor()
        with checkpoint.as_directory() as path:
            folder = Path(path)
            state = read_state(folder)
            other = state.workers != self.workers
            self.engine = engine.TrainingEngine(
                self.model.model,
                self.collator.encoder.preprocessor,
                self.settings,
                universal=other and self.settings.zero > 0,
            )
            if other:
                mine = [""]
                if self.local_rank == 0:
                    mine = [tempfile.mkdtemp(prefix="emo-universal-")]
                    engine.to_universal(folder, Path(mine[0]), self.settings.zero)
                found: list[Any] = [None] * self.workers
                dist.all_gather_object(found, (self.node, mine[0]))
                folder = Path(next(where for node, where in found if node == self.node and where))
            self.engine.load(folder)
            dist.barrier()
            if other and self.local_rank == 0:
                shutil.rmtree(folder, ignore_errors=True)
        self.engine.check_probe(self.probe, state.probe)
        self.history = state.history
        return state.cursor

    def _step(self, plan: batching.StepPlan, batches: Sequence[Any], waited: float, last_end: float) -> None:
        settings, step = self.settings, plan.after.step
        rate = learning_rate(step, self.task.steps, settings.learning_rate, settings.warmup_share)
        try:
            result = self.engine.step(batches, rate, settings.seed * 1_000_003 + step)
        except NotANumberError as error:
            names: list[Any] = [None] * self.workers
            dist.all_gather_object(names, [name for batch in batches for name in batch.names])
            samples = ", ".join(sorted({name for part in names for name in part}))
            raise NotANumberError(f"{error} at step {step}; its samples: {samples}") from error
        seconds = time.perf_counter() - last_end
        record = {
            "step": step,
            "loss": result.loss,
            "norm": result.norm,
            "rate": rate,
            "tokens": result.tokens,
            "trained": result.trained,
            "tokens_per_s": result.tokens / seconds,
            "waited_share": waited / seconds,
            "memory_gib": _memory_gib(settings.device),
            "workers": self.workers,
            "held_out_loss": None,
        }
        self.history.append(record)
        if self.rank == 0:
            self.monitor.add.remote(record)

    def _save(self, cursor: batching.Cursor) -> None:
        settings = self.settings
        probe = self.engine.evaluate(self.probe)
        if not math.isfinite(probe):
            raise NotANumberError(f"the weights are not numbers after step {cursor.step}")
        metrics: dict[str, Any] = {"step": cursor.step, "loss": self.history[-1]["loss"]}
        if self.held_out:
            share = self._share(settings.validation.loss_samples)
            loss = self.engine.evaluate(self.measured.batch(places) for places in share)
            metrics["held_out_loss"] = self.history[-1]["held_out_loss"] = loss
            if self.rank == 0:
                self.monitor.add.remote(self.history[-1])
        with tempfile.TemporaryDirectory(prefix="emo-checkpoint-") as path, telling_of_space(path):
            folder = Path(path)
            self.engine.save(folder)
            weights = self.engine.weights(all_of_them=settings.lora is None)
            if self.rank == 0:
                self._write_result(folder / RESULT, weights, cursor, metrics)
                State(cursor, self.workers, probe, self.history).write(folder)
            list_part(folder, self.rank)
            ray.train.report(
                metrics,
                checkpoint=ray.train.Checkpoint.from_directory(folder),
                checkpoint_dir_name=f"checkpoint-{cursor.step:07d}-{self.attempt}",
                validation=answers_wanted(cursor.step)
                if self.held_out and settings.validation.samples
                else False,
            )

    def _write_result(
        self, folder: Path, weights: dict[str, Any], cursor: batching.Cursor, metrics: dict[str, Any]
    ) -> None:
        about = adapter.manifest(
            self.task.name,
            self.settings,
            self.base,
            targets=self.model.targets,
            template=str(self.collator.encoder.preprocessor.processor.chat_template),
            data=self.task.data,
            step=cursor.step,
            metrics=metrics,
            attention=self.model.attention,
        )
        if self.settings.lora is None:
            adapter.write_model(folder, self.model.model, weights, self.base, about)
        else:
            adapter.write_adapter(folder, self.model.model, weights, about)

    def _tell_targets(self) -> None:
        lines = summary(self.model.targets) if self.settings.lora else ["all weights of the unfrozen parts"]
        sample = self.collator.encoder.show(
            self.collator.encoder.encode(
                self.entries[0].sample, prepared.ClipReader(self.place).clip(self.entries[0])
            )
        )
        about = {
            "trained": self.model.trained,
            "total": self.model.total,
            "layers": lines,
            "sample": sample,
        }
        self.place.write(TRAINED, as_json(about))


def _memory_gib(device: str) -> float:
    if device == "cuda":
        return float(torch.cuda.max_memory_allocated()) / 1024**3
    return float(psutil.Process().memory_info().rss) / 1024**3
