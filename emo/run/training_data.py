"""Preparing the samples of a finetuning run with Ray Data, and feeding each training worker.

listed samples  →  read their clips, encode each once  →  data/*.parquet and data/samples.parquet
steps from the cursor on  →  read, encode, collate ahead of the training  →  batches of one worker
"""

import pickle
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from emo.clips import ingested
from emo.errors import EmoError
from emo.finetuning import batching, prepared
from emo.finetuning.batching import Cursor
from emo.finetuning.collate import Batch
from emo.finetuning.collator import Collator
from emo.finetuning.listing import Listed
from emo.finetuning.prepared import Entry
from emo.finetuning.preparing import Preparer, shards
from emo.finetuning.settings import Finetune
from emo.store.storage import Storage

# Steps whose batches wait, encoded, for their worker.
AHEAD = 4
# How often a process that reads starts again; a step that kills it each time ends an attempt of the training.
_TRIES = 3


def prepare(
    run: Storage, out: Storage, settings: Finetune, listed: Sequence[Listed], workers: int
) -> list[Entry]:
    """Read every clip once, encode every sample once, and write what training reads; all entries."""
    import ray.data

    refused = [one.entry for one in listed if one.entry.error is not None]
    usable = [one for one in listed if one.entry.error is None]
    files: dict[str, str] = {}
    if any(one.clip for one in usable):
        clips = ingested(out)
        files = dict(zip(clips.column("video_id").to_pylist(), clips.column("file").to_pylist(), strict=True))
    rows = [
        {
            "file": f"{prepared.FOLDER}/clips-{number:05d}.parquet",
            "shard": pickle.dumps((shard, {one.clip: files.get(one.clip) for one in shard if one.clip})),
        }
        for number, shard in enumerate(shards(usable))
    ]
    entries = refused
    if rows:
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _Preparer,
            fn_constructor_args=(run, out, settings),
            # A process for each CPU that the cluster has; nothing else of the run works meanwhile.
            compute=ray.data.ActorPoolStrategy(size=max(1, min(workers, len(rows)))),
            num_cpus=0.5,
        )
        for row in dataset.iter_rows():
            entries += pickle.loads(row["entries"])
    if len(entries) != len(listed):
        raise EmoError(f"{len(listed) - len(entries)} samples were lost in the preparation")
    entries.sort(key=lambda entry: entry.sample_id)
    prepared.write_entries(run, entries)
    return entries


class _Preparer:
    """A worker of Ray Data: prepares the samples of one shard."""

    def __init__(self, run: Storage, out: Storage, settings: Finetune) -> None:
        self._preparer = Preparer(run, out, settings)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        shard, files = pickle.loads(row["shard"])
        return {"entries": pickle.dumps(self._preparer.prepare(shard, files, row["file"]))}


def feed(
    run: Storage,
    settings: Finetune,
    model: Path,
    entries: prepared.Stored,
    start: Cursor,
    rank: int,
    workers: int,
) -> Iterator[tuple[batching.StepPlan, list[Batch]]]:
    """The steps from `start` on, each with the batches of this worker, encoded ahead of the training.

    Never more than AHEAD steps wait, or one for each process that reads, whatever the number of steps.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    plans = batching.steps(
        len(entries),
        settings.batch,
        settings.epochs,
        settings.seed,
        settings.max_steps,
        start,
        entries.weights,
    )
    # On the worker's own node, and beside the CPUs that Ray counts: the training may hold all of them.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_restarts": _TRIES, "max_task_retries": _TRIES, "scheduling_strategy": here}
    feeders = cycle(
        [
            ray.remote(_Feeder).options(**options).remote(run, settings, model)
            for _ in range(settings.data_workers)
        ]
    )
    waiting: deque[tuple[batching.StepPlan, Any]] = deque()

    def ask() -> None:
        for plan in islice(plans, 1):
            shared = batching.micro_batches(plan.samples, entries.tokens, workers, settings.batch_tokens)
            waiting.append((plan, next(feeders).batches.remote(shared[rank])))

    for _ in range(max(AHEAD, settings.data_workers)):
        ask()
    while waiting:
        plan, batches = waiting.popleft()
        found = ray.get(batches)
        ask()
        yield plan, pickle.loads(found)


class _Feeder:
    """A process beside a training worker: makes the batches of its steps."""

    def __init__(self, run: Storage, settings: Finetune, model: Path) -> None:
        import torch

        torch.set_num_threads(1)
        self._collator = Collator(run, settings, model, prepared.Stored(run, prepared.TRAIN))

    def batches(self, places: Sequence[Sequence[int]]) -> bytes:
        return pickle.dumps([self._collator.batch(part) for part in places], protocol=5)
