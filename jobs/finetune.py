"""captions → adapter: prepare the samples, train with Ray Train and DeepSpeed, judge, keep best and last.

list samples  →  prepare (Ray Data)  →  train (Ray Train), held-out answers beside it  →  best, last, page
"""

import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any

from emo.config import Config
from emo.errors import EmoError, InputError, TooManyFailedError
from emo.finetuning import held_out, prepared, record
from emo.finetuning.checks import base_here
from emo.finetuning.listed import Listing
from emo.finetuning.listing import list_samples
from emo.finetuning.live import Live
from emo.finetuning.result import NOT_ANSWERED, Outcome, finish
from emo.finetuning.task import Task
from emo.finetuning.trackers import check_trackers, tracked
from emo.run import nodes
from emo.run.connection import cluster
from emo.run.training import saved_so_far, train
from emo.run.training_answers import ask_test
from emo.run.training_data import prepare
from emo.run.training_nodes import base_on_node, check_resources
from emo.run.training_run import TrainingRun, training_run
from emo.store.lease import Lease
from emo.store.runs import StepRecord, training_place
from emo.store.storage import Storage


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
    place = training_place(out, name)
    check_trackers(settings)
    with Lease(place, f"finetune {name}") as lease:
        listing, fingerprint = list_samples(out, settings)
        begun = record.begin(place, settings, fingerprint, base, listing.earlier_fingerprint)
        if begun["outcome"] == "done":
            return Outcome(**begun["result"], seconds=0.0, already=True)
        try:
            with training_run(config, out, name, lease) as told:
                if starts is not None:
                    starts.enter_context(cluster(config.ray.address, config.ray.num_cpus))
                result = _train_and_judge(told, config, out, place, name, listing, begun)
        except BaseException as error:
            refused = isinstance(error, InputError | TooManyFailedError) and begun.get("trained") is False
            outcome = record.REFUSED if refused else "failed"
            record.note(place, begun, outcome, error=str(error) or type(error).__name__)
            raise
        record.note(place, begun, "done", result=result)
        return Outcome(**result, seconds=time.monotonic() - started)


def _train_and_judge(
    told: TrainingRun,
    config: Config,
    out: Storage,
    place: Storage,
    name: str,
    listing: Listing,
    begun: dict[str, Any],
) -> dict[str, Any]:
    """The fields of the Outcome but for its seconds. begun: the record of the run."""
    settings = config.finetune
    check_resources(settings)
    preparing = StepRecord(f"prepare {name}")
    with told.doing(preparing):
        try:
            entries = prepared.read_outlines(place)
            preparing.skipped = len(entries)
        except FileNotFoundError:
            preparing.rows = len(listing)
            cpus = sum(node.get("CPU", 0.0) for node in nodes.alive())
            entries = prepare(place, out, settings, listing, int(cpus))
            preparing.error_codes = prepared.counts(entries)["refused"]
            preparing.failed = sum(preparing.error_codes.values())
            preparing.ok = len(entries) - preparing.failed
    task = Task(name, settings, place, prepared.about(entries, begun["data"]))
    training = StepRecord(f"finetune {name}", rows=task.steps, workers=settings.worker_range[0])
    training.cpus = training.workers
    training.gpus = training.workers if settings.device == "cuda" else 0
    live = Live(name, task.steps, training)
    for line in prepared.refusals(entries):
        live.note(f"finetune {name}: {line}")
    train_on, refused = task.data["train"], task.data["refused"]
    if not train_on:
        raise InputError(f"no sample can be trained on, all {len(entries)} were refused: {refused}")
    live.note(f"finetune {name}: {train_on} samples to train on, {task.data['held_out']} held out")
    prepared.check_refused(entries, config.max_failed_share)
    if task.asks:
        held_out.check(place, settings)
    with tracked(task, live.note) as trackers:

        def also(step: Mapping[str, Any]) -> None:
            record.note_first_step(place, begun)
            trackers.add(step)

        live.also = also
        try:
            with told.doing(training):
                last, kept = train(task, live, told.go_on)
        except EmoError:
            _keep_what_is_there(task, live)
            raise
        result = finish(task, last, kept, lambda best: ask_test(task, best, live))
        trackers.end(result["metrics"])
    training.figures |= {name: value for name, value in result["metrics"].items() if name == "f1"}
    if why := result["metrics"].get(NOT_ANSWERED):
        live.note(f"finetune {name}: the best checkpoint has no figures of answers: {why}")
    return result


def _keep_what_is_there(task: Task, live: Live) -> None:
    """Best and last of the checkpoints of a training that stopped, as folders that can be used."""
    with suppress(EmoError, OSError):  # what the training ended with matters more
        saved = saved_so_far(task)
        if saved:
            finish(task, saved[-1], saved)
            live.note(f"finetune {task.name}: best and last so far: {task.place.full('best')}, .../last")
