"""captions → adapter: prepare the samples, train with Ray Train and DeepSpeed, judge, keep best and last.

list samples  →  prepare (Ray Data)  →  train (Ray Train), held-out answers beside it  →  best, last, page
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any

from emo.config import Config
from emo.errors import EmoError, InputError, TooManyFailedError
from emo.finetuning import held_out, prepared, record
from emo.finetuning.checks import base_here, check_tensorboard
from emo.finetuning.listing import Listed, list_samples
from emo.finetuning.live import Live
from emo.finetuning.result import NOT_ANSWERED, Outcome, finish
from emo.finetuning.task import Task
from emo.run import nodes
from emo.run.connection import cluster
from emo.run.session import Session, session
from emo.run.training import saved_so_far, train
from emo.run.training_data import prepare
from emo.run.training_nodes import base_on_node, check_resources
from emo.store.lease import Lease
from emo.store.runs import StepRecord, load_runs
from emo.store.storage import Storage


def run(config: Config, out_url: str, name: str) -> Outcome:
    """Finetune as the configuration's section says, or go on with the run of that name.

    Raises InputError, before anything is started, where the section, the base or the data cannot be used or
    the name belongs to a run of other settings, data or base; LeaseHeldError where another run holds OUT;
    EmoError where training stopped.
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
            base = base_on_node(settings, config.s3)
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
    place = Storage(f"{out.url}/{record.FOLDER}/{name}", config.s3)
    if settings.tensorboard:
        check_tensorboard(place)
    # Before the run: an OUT that cannot be trained on gets no run file.
    list_samples(out, settings)
    shown = _shown(config, out)
    # The lease of OUT keeps other runs out, that of its folder also a finetuning of an earlier version.
    with (
        session(config, out_url, "finetune", None, shown=shown) as current,
        Lease(place, f"finetune {name}"),
    ):
        listed, fingerprint = list_samples(out, settings)
        begun = record.begin(place, settings, fingerprint, base)
        if begun["outcome"] == "done":
            steps = begun["result"]["steps"]
            current.run.steps.append(StepRecord(f"finetune {name}", skipped=steps))
            return Outcome(**begun["result"], seconds=0.0, already=True)
        try:
            if starts is not None:
                starts.enter_context(cluster(config.ray.address, config.ray.num_cpus))
            result = _train_and_judge(current, place, name, listed, fingerprint)
        except BaseException as error:
            never_began = isinstance(error, InputError | TooManyFailedError)
            outcome = record.REFUSED if never_began else "failed"
            record.note(place, begun, outcome, error=str(error) or type(error).__name__)
            raise
        record.note(place, begun, "done", result=result)
        return Outcome(**result, seconds=time.monotonic() - started)


def _shown(config: Config, out: Storage) -> dict[str, Any]:
    """What the run file says of the configuration: that of OUT, of which only the section finetune is new."""
    own = config.model_dump(mode="json")
    for earlier in load_runs(out, last=1):
        return {**earlier["config"], "finetune": own["finetune"]}
    return own


def _train_and_judge(
    current: Session, place: Storage, name: str, listed: Sequence[Listed], fingerprint: str
) -> dict[str, Any]:
    """The fields of the Outcome but for its seconds."""
    config, settings = current.config, current.config.finetune
    check_resources(settings)
    entries = _prepared(current, place, name, listed)
    task = Task(name, settings, place, prepared.about(entries, fingerprint))
    step = StepRecord(f"finetune {name}", rows=task.steps)
    step.workers = step.cpus = settings.worker_range[0]
    step.gpus = step.workers if settings.device == "cuda" else 0
    live = Live(name, task.steps, step)
    for line in prepared.refusals(entries):
        live.note(f"finetune {name}: {line}")
    train_on, refused = task.data["train"], task.data["refused"]
    if not train_on:
        raise InputError(f"no sample can be trained on, all {len(entries)} were refused: {refused}")
    live.note(f"finetune {name}: {train_on} samples to train on, {task.data['held_out']} held out")
    prepared.check_refused(entries, config.max_failed_share)
    if task.asks:
        held_out.check(place, settings)
    try:
        with current.doing(step) as go_on:
            last, kept = train(task, live, go_on)
    except EmoError:
        _keep_what_is_there(task, live)
        raise
    result = finish(task, last, kept)
    if why := result["metrics"].get(NOT_ANSWERED):
        live.note(f"finetune {name}: the best checkpoint has no figures of answers: {why}")
    return result


def _prepared(current: Session, place: Storage, name: str, listed: Sequence[Listed]) -> list[prepared.Entry]:
    """The samples with their media read, by this run or by the one that it goes on from."""
    step = StepRecord(f"prepare {name}", rows=len(listed))
    with current.doing(step):
        try:
            entries = prepared.read_entries(place)
            step.rows, step.skipped = 0, len(entries)
        except FileNotFoundError:
            cpus = sum(node.get("CPU", 0.0) for node in nodes.alive())
            entries = prepare(place, current.storage, current.config.finetune, listed, int(cpus))
            step.error_codes = prepared.counts(entries)["refused"]
            step.failed = sum(step.error_codes.values())
            step.ok = len(entries) - step.failed
    return entries


def _keep_what_is_there(task: Task, live: Live) -> None:
    """Best and last of the checkpoints of a training that stopped, as folders that can be used."""
    with suppress(EmoError, OSError):  # what the training ended with matters more
        saved = saved_so_far(task)
        if saved:
            finish(task, saved[-1], saved)
            live.note(f"finetune {task.name}: best and last so far: {task.place.full('best')}, .../last")
