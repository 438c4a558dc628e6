"""captions → adapter: prepare the samples, train with Ray Train and DeepSpeed, judge, keep best and last.

list samples  →  prepare (Ray Data)  →  train (Ray Train), held-out answers beside it  →  best, last, page
"""

import errno
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from emo.config import Config
from emo.engines.models import content_of, resolve_model, weight_files
from emo.errors import EmoError, InputError, RowError
from emo.experts.protocol import Resources
from emo.finetuning import adapter, batching, prepared, validation
from emo.finetuning.live import Live
from emo.finetuning.model import check_family
from emo.finetuning.page import page
from emo.finetuning.settings import Finetune, differences
from emo.jobs import finetune_data
from emo.run import nodes
from emo.run.connection import cluster
from emo.store.lease import Lease
from emo.store.storage import S3_PREFIX, S3Settings, Storage, use_s3

FOLDER = "finetune"
RUN, BASE_ANSWERS = "run.json", "answers/base.json"
RESULT = "adapter"
# Where Ray Train keeps checkpoints, and its list of them.
TRAINING, SNAPSHOT = "train", "train/checkpoint_manager_snapshot.json"
# In a checkpoint, for each worker: the sizes of the files that it wrote.
PARTS = "files-{:05d}.json"
# Samples of the probe that tells whether a checkpoint was restored.
PROBE_SAMPLES = 4
# Lines about samples that cannot be trained on, for each reason.
REFUSALS_SHOWN = 20
# A disk with less room is full: pieces of a checkpoint may be larger.
_FULL_BYTES = 1 << 20
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class Outcome:
    """What a run came to: `metrics` of the best checkpoint, `already` where there was nothing left to do."""

    name: str
    best: str
    page: str
    steps: int
    metrics: dict[str, Any]
    counts: dict[str, Any]
    seconds: float
    already: bool = False


def run(config: Config, out_url: str, name: str) -> Outcome:
    """Finetune as the configuration's section says, or go on with the run of that name.

    Raises InputError, before anything is started, where the section, the base or the data cannot be used or
    the name belongs to a run of other settings, data or base; EmoError where training stopped.
    """
    started = time.monotonic()
    settings = config.finetune
    if settings.model is None:
        raise InputError("finetune.model is not set: name the base, a folder or a hub id")
    with ExitStack() as stack:
        joined = nodes.joined(config.ray.address)
        if joined:
            # The machine that sends a run may have no GPU and no model folder.
            stack.enter_context(cluster(config.ray.address, config.ray.num_cpus))
            base = _base_on_node(settings, config.s3)
        else:
            base = base_here(settings)
        return _run(config, out_url, name, base, started, stack if not joined else None)


def _run(
    config: Config, out_url: str, name: str, base: str, started: float, starts: ExitStack | None
) -> Outcome:
    """base: the mark of its content; starts: where a Ray of this machine is entered; None: one is joined."""
    settings = config.finetune
    out = Storage(out_url, config.s3)
    out.check()
    place = Storage(f"{out.url}/{FOLDER}/{name}", config.s3)
    if settings.tensorboard:
        check_tensorboard(place)
    with Lease(place, f"finetune {name}"):
        listed, fingerprint = finetune_data.list_samples(out, settings)
        record = _begin(place, settings, fingerprint, base)
        if record["outcome"] == "done":
            return Outcome(**record["result"], seconds=0.0, already=True)
        try:
            if starts is not None:
                starts.enter_context(cluster(config.ray.address, config.ray.num_cpus))
            result = _train_and_judge(config, out, place, name, listed, fingerprint)
        except BaseException as error:
            _note(place, record, "failed", error=str(error) or type(error).__name__)
            raise
        _note(place, record, "done", result=result)
        return Outcome(**result, seconds=time.monotonic() - started)


def base_here(settings: Finetune) -> str:
    """The mark of the base's content, on this machine; raises InputError with what is missing here."""
    assert settings.model is not None
    if settings.device == "cuda":
        import torch

        if settings.worker_range[1] == 1 and not torch.cuda.is_available():
            raise InputError(
                "finetune.device is 'cuda', but torch sees no CUDA device; set it to 'cpu' to run without one"
            )
    folder = resolve_model(settings.model, settings.revision, settings.trust_remote_code)
    check_family(settings.family, folder)
    weight_files(folder)
    return content_of(folder)


@dataclass(frozen=True)
class _LookAtBase:
    """Asks a node for the base; content: the mark of what it holds, or None, and then fault."""

    settings: Finetune
    s3: S3Settings

    def __call__(self) -> tuple[str | None, str]:
        use_s3(self.s3)
        try:
            return base_here(self.settings), ""
        except EmoError as error:
            return None, str(error)


def _base_on_node(settings: Finetune, s3: S3Settings) -> str:
    """The same, on a node that a training worker fits on; the fault names the node."""
    needed = Resources(cpus=1.0, gpus=1.0 if settings.device == "cuda" else 0.0)
    question = nodes.Question("finetune", needed, _LookAtBase(settings, s3))
    [reply] = nodes.ask([question], lambda line: print(line, file=sys.stderr, flush=True), lambda: None)
    if isinstance(reply, str):
        raise InputError(reply)
    content, fault = reply.answer
    if content is None:
        raise InputError(f"finetune: on node {reply.node}: {fault}")
    return content


def check_tensorboard(place: Storage) -> None:
    """Raise InputError where no TensorBoard files can be written."""
    if place.on_s3:
        raise InputError("finetune.tensorboard writes local files, and OUT is on S3; leave it out")
    try:
        import tensorboardX  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        raise InputError(
            "finetune.tensorboard needs the package tensorboardX: pip install 'emo[tensorboard]'"
        ) from None


def _begin(place: Storage, settings: Finetune, fingerprint: str, base: str) -> dict[str, Any]:
    """The record of a new run, or of the one that goes on; raises InputError where that is another one."""
    now: dict[str, Any] = {"settings": settings.model_dump(mode="json"), "data": fingerprint, "base": base}
    try:
        record = json.loads(place.read(RUN))
    except FileNotFoundError:
        record = {**now, "outcome": "running", "started": datetime.now(UTC).isoformat(timespec="seconds")}
        place.write(RUN, finetune_data.as_json(record))
        return record
    except ValueError:
        raise InputError(f"{place.full(RUN)} is not JSON; remove the folder or use another name") from None
    changed = differences(record["settings"], now["settings"])
    if record["base"] != base:
        changed.append("the weights of the base are others")
    if record["data"] != fingerprint:
        changed.append("the data are others")
    if changed:
        raise InputError(
            f"{place.url} holds a run of that name with other settings or data: {'; '.join(changed)}; "
            "use those or another name"
        )
    return dict(record)


def _note(place: Storage, record: dict[str, Any], outcome: str, **more: Any) -> None:
    record |= {"outcome": outcome, "finished": datetime.now(UTC).isoformat(timespec="seconds"), **more}
    with suppress(EmoError):  # what the run ended with matters more
        place.write(RUN, finetune_data.as_json(record))


def _train_and_judge(
    config: Config,
    out: Storage,
    place: Storage,
    name: str,
    listed: Sequence[finetune_data.Listed],
    fingerprint: str,
) -> dict[str, Any]:
    import ray

    settings = config.finetune
    _check_resources(settings)
    try:
        entries = prepared.read_entries(place)
    except FileNotFoundError:
        workers = settings.worker_range[1] * settings.data_workers
        entries = finetune_data.prepare(place, out, settings, listed, workers)
    about = finetune_data.about_data(entries, fingerprint)
    live = Live(name, _steps(settings, about["train"]))
    for line in refusals(entries):
        live.note(f"finetune {name}: {line}")
    if not about["train"]:
        raise InputError(f"no sample can be trained on, all {len(entries)} were refused: {about['refused']}")
    live.note(f"finetune {name}: {about['train']} samples to train on, {about['held_out']} held out")
    monitor = ray.remote(num_cpus=0)(_Monitor).remote()
    task = {
        "name": name,
        "settings": settings.model_dump(mode="json"),
        "run": place,
        "about": about,
        "steps": _steps(settings, about["train"]),
        "monitor": monitor,
    }
    asks = settings.validation.samples > 0 and about["held_out"] > 0
    before = None
    if asks and not place.has(BASE_ANSWERS):
        options = {"num_cpus": 0, "num_gpus": settings.validation.gpus}
        before = ray.remote(_validate_base).options(**options).remote(task)
    with _watched(monitor, live):
        result = _fit(task, settings, place, asks)
    stopped = ray.get(monitor.stopped.remote())
    if stopped:
        raise EmoError(f"{stopped}; the last good checkpoint stays, the same command goes on from it")
    if before is not None:
        try:
            ray.get(before)
        except ray.exceptions.RayTaskError as error:
            raise EmoError(f"the base could not be asked: {_telling_line(error)}") from error
    return _finish(task, settings, place, result)


def refusals(entries: Sequence[prepared.Entry]) -> list[str]:
    """What a person reads of the samples that cannot be trained on: how many, and the first of each kind."""
    by_code: dict[str, list[str]] = {}
    for entry in entries:
        if entry.error is not None:
            by_code.setdefault(entry.error, []).append(str(entry.error_message))
    lines = []
    for code, messages in sorted(by_code.items()):
        more = f"; the first {REFUSALS_SHOWN}, the others are in {prepared.SAMPLES}"
        lines.append(f"{len(messages)} samples refused as {code}{more * (len(messages) > REFUSALS_SHOWN)}:")
        lines += [f"  {message}" for message in messages[:REFUSALS_SHOWN]]
    return lines


def _steps(settings: Finetune, count: int) -> int:
    return batching.steps_in(count, settings.batch, settings.epochs, settings.max_steps)


def _check_resources(settings: Finetune) -> None:
    import ray

    total = ray.cluster_resources()
    kind, per_worker = ("GPU", 1) if settings.device == "cuda" else ("CPU", 1)
    fewest = settings.worker_range[0]
    # Where an autoscaler is there, the training's own demand brings the nodes.
    if nodes.autoscaler() is None and total.get(kind, 0) < fewest * per_worker:
        raise InputError(
            f"finetune.workers is {fewest} and the cluster has {total.get(kind, 0):g} {kind}s; each worker "
            "needs one"
        )


class _Monitor:
    """Where workers leave their records for the command, and why all of them have to stop."""

    def __init__(self) -> None:
        self._records: list[dict[str, Any]] = []
        self._reason: str | None = None

    def add(self, record: dict[str, Any]) -> None:
        self._records.append(record)

    def take(self) -> list[dict[str, Any]]:
        taken, self._records = self._records, []
        return taken

    def stop(self, reason: str) -> None:
        self._reason = self._reason or reason

    def stopped(self) -> str | None:
        return self._reason


@contextmanager
def _watched(monitor: Any, live: Live) -> Iterator[None]:
    import ray

    ended = threading.Event()

    def watch() -> None:
        while True:
            last = ended.wait(_LOOK_EVERY_S)
            with suppress(ray.exceptions.RayError):
                for record in ray.get(monitor.take.remote()):
                    live.add(record)
            if last:
                return

    thread = threading.Thread(target=watch, name="emo-finetune-live", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _fit(task: dict[str, Any], settings: Finetune, place: Storage, asks: bool) -> Any:
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    fewest, most = settings.worker_range
    on_gpu = settings.device == "cuda"
    measure = {"checkpoint_score_attribute": "f1"} if asks else {}
    if not asks and task["about"]["held_out"]:
        measure = {"checkpoint_score_attribute": "held_out_loss", "checkpoint_score_order": "min"}
    drop_half_written(place)
    task = {**task, "found": find_checkpoint(place)}
    path, filesystem = _train_storage(place)
    trainer = TorchTrainer(
        _train,
        train_loop_config=task,
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
        validation_config=answers_beside(place, settings) if asks else None,
    )
    try:
        return trainer.fit()
    except TrainingFailedError as error:
        raise EmoError(f"training failed: {_telling_line(error)}") from error
    finally:
        with suppress(EmoError, OSError):  # what the training ended with matters more
            drop_half_written(place)


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


def drop_half_written(place: Storage) -> None:
    """Delete checkpoints that were being written when a disk was full or a worker died.

    Those are the ones that Ray's list does not name; where the list is torn, those that are not whole.
    Nothing else may be writing: that is while no worker runs.
    """
    taken = _listed(place)
    files = _checkpoint_files(place)
    kept = {name for name in files if (name in taken if taken is not None else _is_whole(place, name, files))}
    for name in files.keys() - kept:
        for path in files[name]:
            place.delete(f"{TRAINING}/{name}/{path}")
    if not place.on_s3:
        for folder in Path(place.full(TRAINING)).glob("checkpoint-*/"):
            if folder.name not in kept:
                shutil.rmtree(folder)


def find_checkpoint(place: Storage) -> str | None:
    """The checkpoint (below `place`) to go on from where Ray's list of them is torn or missing, else None.

    Ray overwrites its list in place, when a checkpoint is there and when one is judged: what is killed, or
    has no space left, just then leaves half of it, perhaps while the next checkpoint is half there too.
    """
    if _listed(place) is not None:
        return None
    place.delete(SNAPSHOT)  # Ray refuses to start from half of one
    files = _checkpoint_files(place)
    whole = (name for name in sorted(files, reverse=True) if _is_whole(place, name, files))
    newest = next(whole, None)
    return newest and f"{TRAINING}/{newest}"


def _listed(place: Storage) -> str | None:
    """Ray's list, a text that names the checkpoints to be kept; None where there is none or half of one."""
    try:
        text = place.read(SNAPSHOT).decode()
        json.loads(text)
    except (FileNotFoundError, ValueError):
        return None
    return text


def _checkpoint_files(place: Storage) -> dict[str, dict[str, int]]:
    """Name of a checkpoint -> path of a file in it -> bytes."""
    found: dict[str, dict[str, int]] = {}
    for entry in place.entries(TRAINING):
        name, _, path = entry.path.removeprefix(f"{TRAINING}/").partition("/")
        if name.startswith("checkpoint-"):
            found.setdefault(name, {})[path] = entry.size
    return found


def _is_whole(place: Storage, name: str, files: dict[str, dict[str, int]]) -> bool:
    """Whether all that every worker wrote of a checkpoint is there."""
    from emo.finetuning.engine import STATE

    try:
        state = json.loads(place.read(f"{TRAINING}/{name}/{STATE}"))
        lists = [
            json.loads(place.read(f"{TRAINING}/{name}/{PARTS.format(rank)}"))
            for rank in range(state["workers"])
        ]
    except (FileNotFoundError, ValueError):
        return False
    return all(files[name].get(path) == size for part in lists for path, size in part.items())


def list_part(folder: Path, rank: int) -> None:
    """Write which files of which size a worker adds to a checkpoint; they may arrive in any order."""
    sizes = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    (folder / PARTS.format(rank)).write_bytes(finetune_data.as_json(sizes))


def _train_storage(place: Storage) -> tuple[str, Any]:
    """Where Ray Train keeps its checkpoints; on S3 through Arrow's client, which pickles."""
    if not place.on_s3:
        return place.url, None
    from pyarrow.fs import S3FileSystem

    values = _s3_values(place)
    options: dict[str, Any] = {"anonymous": True} if values["anonymous"] else {}
    if values["key"] and values["secret"]:
        options = {
            "access_key": values["key"],
            "secret_key": values["secret"],
            "session_token": values["token"],
        }
    if values["region"]:
        options["region"] = values["region"]
    if values["endpoint_url"]:
        scheme, _, address = values["endpoint_url"].partition("://")
        options |= {"scheme": scheme, "endpoint_override": address}
    return place.url.removeprefix(S3_PREFIX), S3FileSystem(**options)


def _telling_line(error: BaseException) -> str:
    """The last line that says something; Ray's errors carry whole tracebacks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line and not line.startswith(("File ", "raise "))]
    return (telling or lines or [type(error).__name__])[-1]


# --- On the training workers ---------------------------------------------------------------------------


def _train(task: dict[str, Any]) -> None:
    """What every worker of Ray Train runs."""
    import ray

    monitor = task["monitor"]
    if ray.get(monitor.stopped.remote()):
        # A worker met what no repetition heals; Ray has started all of them again.
        return
    try:
        _Worker(task).run()
    except (EmoError, OSError) as error:
        reason = _hopeless(error)
        if reason:
            ray.get(monitor.stop.remote(reason))
        raise


def _hopeless(error: Exception) -> str | None:
    """What to tell of an error that repeating would only repeat, else None."""
    if isinstance(error, EmoError):
        return str(error)
    if isinstance(error, OSError) and (error.errno == errno.ENOSPC or "No space left" in str(error)):
        return f"a checkpoint could not be saved: no space left on the device ({error.filename or 'storage'})"
    return None


@contextmanager
def telling_of_space(folder: str) -> Iterator[None]:
    """Turn what writing into a folder raises into OSError ENOSPC where its disk is full."""
    try:
        yield
    except Exception as error:
        # PyTorch then tells of positions in its file, and is no OSError.
        if isinstance(error, OSError) or shutil.disk_usage(folder).free >= _FULL_BYTES:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder) from error


class _Worker:
    """One worker: model, data, loop."""

    def __init__(self, task: dict[str, Any]) -> None:
        import ray.train
        import torch

        from emo.finetuning import engine, model

        self.task = task
        self.settings = settings = Finetune(**task["settings"])
        self.place: Storage = task["run"]
        context = ray.train.get_context()
        self.rank, self.workers = context.get_world_rank(), context.get_world_size()
        self.local_rank, self.node = context.get_local_rank(), context.get_node_rank()
        if settings.device == "cpu":
            torch.set_num_threads(1)
        engine.initialise_communication(settings.device)
        assert settings.model is not None
        use_s3(self.place.s3)
        self.base = resolve_model(settings.model, settings.revision, settings.trust_remote_code)
        entries = prepared.read_entries(self.place)
        self.entries = finetune_data.training_entries(entries)
        self.held_out = finetune_data.held_out_entries(entries)
        self.lengths = [entry.tokens for entry in self.entries]
        self.model = model.prepare(settings, self.base)
        self.collator = finetune_data.Collator(self.place, settings, self.base, self.entries)
        self.measured = finetune_data.Collator(self.place, settings, self.base, self.held_out or self.entries)
        self.probe = [self.measured.batch(places) for places in self._share(PROBE_SAMPLES)]
        self.history: list[dict[str, Any]] = []

    def _share(self, count: int) -> list[list[int]]:
        """This worker's batches of the first samples that the run is measured on."""
        measured = self.held_out or self.entries
        places = range(min(count, len(measured)))
        lengths = [entry.tokens for entry in measured]
        return batching.micro_batches(places, lengths, self.workers, self.settings.batch_tokens)[self.rank]

    def run(self) -> None:
        import ray.train
        import torch.distributed as dist

        start = self._start()
        # Files of one checkpoint come from one attempt: what a broken one left must not be among them.
        attempt = [f"{time.time_ns():x}"]
        dist.broadcast_object_list(attempt, src=0)
        self.attempt = attempt[0]
        if self.rank == 0 and start.step == 0:
            self._tell_targets()
        with self._tensorboard(start.step) as self._board:
            if ray.train.get_checkpoint() is None and start.step:
                # Ray does not know the checkpoint that was found; from now on it does.
                self._save(start)
            self._train_from(start)

    def _train_from(self, start: batching.Cursor) -> None:
        settings = self.settings
        last_end = time.perf_counter()
        steps = finetune_data.feed(
            self.place, settings, self.base, self.lengths, start, self.rank, self.workers
        )
        for plan, batches in steps:
            waited = time.perf_counter() - last_end
            self._step(plan, batches, waited, last_end)
            if plan.after.step % settings.save_every == 0 or plan.after.step == self.task["steps"]:
                self._save(plan.after)
            last_end = time.perf_counter()

    def _start(self) -> batching.Cursor:
        """Make the engine, load the newest checkpoint if there is one, and say where to go on."""
        import ray.train
        import torch.distributed as dist

        from emo.finetuning import engine

        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None and self.task["found"] is not None:
            where, filesystem = _train_storage(self.place)
            checkpoint = ray.train.Checkpoint(f"{where}/{self.task['found']}", filesystem)
        if checkpoint is None:
            self.engine = engine.TrainingEngine(
                self.model.model, self.collator.encoder.preprocessor, self.settings
            )
            return batching.Cursor()
        with checkpoint.as_directory() as path:
            folder = Path(path)
            state = engine.read_state(folder)
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
        import torch.distributed as dist

        from emo.finetuning.engine import NotANumberError
        from emo.finetuning.schedule import learning_rate

        settings, step = self.settings, plan.after.step
        rate = learning_rate(step, self.task["steps"], settings.learning_rate, settings.warmup_share)
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
            "held_out_loss": None,
        }
        self.history.append(record)
        if self.rank == 0:
            self.task["monitor"].add.remote(record)
            if self._board is not None:
                for key in ("loss", "rate", "tokens_per_s", "memory_gib"):
                    self._board.add_scalar(key, record[key], step)

    def _save(self, cursor: batching.Cursor) -> None:
        import math

        import ray.train

        from emo.finetuning.engine import NotANumberError, State

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
                self.task["monitor"].add.remote(self.history[-1])
                if self._board is not None:
                    self._board.add_scalar("held_out_loss", loss, cursor.step)
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
            self.task["name"],
            self.settings,
            self.base,
            targets=self.model.targets,
            template=str(self.collator.encoder.preprocessor.processor.chat_template),
            data=self.task["about"],
            step=cursor.step,
            metrics=metrics,
        )
        if self.settings.lora is None:
            adapter.write_model(folder, self.model.model, weights, self.base, about)
        else:
            adapter.write_adapter(folder, self.model.model, weights, about)

    def _tell_targets(self) -> None:
        from emo.finetuning.parts import summary

        lines = summary(self.model.targets) if self.settings.lora else ["all weights of the unfrozen parts"]
        sample = self.collator.encoder.show(
            self.collator.encoder.encode(
                self.entries[0].sample, finetune_data.ClipReader(self.place).clip(self.entries[0])
            )
        )
        about = {
            "trained": self.model.trained,
            "total": self.model.total,
            "layers": lines,
            "sample": sample,
        }
        self.place.write("trained.json", finetune_data.as_json(about))

    @contextmanager
    def _tensorboard(self, done: int) -> Iterator[Any]:
        """The writer of TensorBoard files where they are asked for; done: steps that stand already."""
        if self.rank or not self.settings.tensorboard:
            yield None
            return
        from tensorboardX import SummaryWriter

        # What an earlier attempt wrote of later steps is made again.
        with SummaryWriter(f"{self.place.url}/tensorboard", purge_step=done + 1) as board:
            yield board


def _s3_values(place: Storage) -> dict[str, Any]:
    values = place.s3.model_dump()
    return {
        key: value.get_secret_value() if hasattr(value, "get_secret_value") else value
        for key, value in values.items()
    }


def _memory_gib(device: str) -> float:
    if device == "cuda":
        import torch

        return float(torch.cuda.max_memory_allocated()) / 1024**3
    import psutil

    return float(psutil.Process().memory_info().rss) / 1024**3


# --- Beside the training ------------------------------------------------------------------------------


def _asked(place: Storage, settings: Finetune) -> list[validation.Asked]:
    """The held-out samples that are answered: one per clip where there are enough, always the same ones."""
    entries = finetune_data.held_out_entries(prepared.read_entries(place))
    reader = finetune_data.ClipReader(place)
    seen: set[Any] = set()
    first: list[Any] = []
    more: list[Any] = []
    for entry in entries:
        key = (entry.file, entry.place)
        (more if key in seen and entry.file is not None else first).append(entry)
        seen.add(key)
    order = batching.order(len(first), settings.seed, 0)
    chosen = [*(first[number] for number in order), *more][: settings.validation.samples]
    return [validation.Asked(entry.sample, reader.clip(entry), entry.labels) for entry in chosen]


def _judge(
    place: Storage, settings: Finetune, model: Path, result: Path | None, target: str
) -> dict[str, float]:
    asked = _asked(place, settings)
    written = validation.answers(settings, model, result, asked)
    metrics = validation.score(asked, written, settings.validation.extract)
    rows = [
        {
            "sample": one.sample.sample_id,
            "reference": one.reference,
            "answer": f"{text.code}: {text.message}" if isinstance(text, RowError) else text,
        }
        for one, text in zip(asked, written, strict=True)
    ]
    place.write(target, finetune_data.as_json({"metrics": metrics, "rows": rows}))
    return metrics


def _validate(checkpoint: Any, *, step: int, settings: Finetune, place: Storage) -> dict[str, float]:
    """A Ray task beside the training: let the checkpoint answer held-out samples and score the answers."""
    _one_thread()
    assert settings.model is not None
    with checkpoint.as_directory() as path:
        result = Path(path) / RESULT
        use_s3(place.s3)
        base = resolve_model(settings.model, settings.revision, settings.trust_remote_code)
        target = f"answers/step-{step:07d}.json"
        if settings.lora is None:
            return _judge(place, settings, result, None, target)
        return _judge(place, settings, base, result, target)


def _validate_base(task: dict[str, Any]) -> None:
    """The same for the base, which is what an adapter has to be better than."""
    _one_thread()
    settings = Finetune(**task["settings"])
    assert settings.model is not None
    use_s3(task["run"].s3)
    base = resolve_model(settings.model, settings.revision, settings.trust_remote_code)
    _judge(task["run"], settings, base, None, BASE_ANSWERS)


def _one_thread() -> None:
    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(1)


# --- At the end ---------------------------------------------------------------------------------------


def _finish(task: dict[str, Any], settings: Finetune, place: Storage, result: Any) -> dict[str, Any]:
    """Keep best and last as folders, and write the page."""
    from emo.finetuning.engine import read_state

    if result.checkpoint is None:
        raise EmoError("the run ended without a checkpoint")
    kept = list(result.best_checkpoints or [])
    best, best_metrics = max(kept, key=lambda pair: _rank(pair[1]))
    history: list[dict[str, Any]] = []
    metrics: dict[str, Any] = {}
    for where, checkpoint, figures in (
        ("last", result.checkpoint, dict(result.metrics or {})),
        ("best", best, dict(best_metrics)),
    ):
        figures = _with_answers(place, figures)
        with checkpoint.as_directory() as path:
            _keep(place, Path(path) / RESULT, where, figures)
            if where == "last":
                history = read_state(Path(path)).history
            else:
                metrics = figures
    place.write("curve.json", finetune_data.as_json(history))
    before = json.loads(place.read(BASE_ANSWERS)) if place.has(BASE_ANSWERS) else None
    after_path = f"answers/step-{int(metrics['step']):07d}.json"
    after = json.loads(place.read(after_path)) if place.has(after_path) else None
    trained = json.loads(place.read("trained.json")) if place.has("trained.json") else {}
    text = page(task["name"], task["settings"], task["about"], history, metrics, before, after, trained)
    place.write("index.html", text.encode())
    return {
        "name": task["name"],
        "best": place.full("best"),
        "page": place.full("index.html"),
        "steps": task["steps"],
        "metrics": metrics,
        "counts": task["about"],
    }


def _rank(metrics: dict[str, Any]) -> tuple[float, float, float]:
    """Best last: by label F1, then by held-out loss, then the later one."""
    return (
        metrics.get("f1", -1.0),
        -metrics.get("held_out_loss", float("inf")),
        metrics.get("step", 0),
    )


def _with_answers(place: Storage, figures: dict[str, Any]) -> dict[str, Any]:
    path = f"answers/step-{int(figures['step']):07d}.json"
    if not place.has(path):
        return figures
    return {**figures, **json.loads(place.read(path))["metrics"]}


def _keep(place: Storage, folder: Path, where: str, metrics: dict[str, Any]) -> None:
    """Copy a result with its figures into its manifest and card; the manifest comes last."""
    about = {**adapter.read_manifest(folder), "metrics": metrics}
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
    files["README.md"] = adapter.card(about).encode()
    files.pop(adapter.MANIFEST)
    for name, data in files.items():
        place.write(f"{where}/{name}", data)
    place.write(f"{where}/{adapter.MANIFEST}", finetune_data.as_json(about))
