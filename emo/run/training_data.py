"""What Ray Data does of a finetuning run: preparing the samples, and feeding each training worker.

listed samples  →  read their clips, encode each once  →  data/*.parquet and data/samples.parquet
steps from the cursor on  →  read, encode, collate ahead of the training  →  batches of one worker
"""

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from emo.clips import ingested
from emo.errors import EmoError
from emo.finetuning import batching, prepared
from emo.finetuning.batching import Cursor
from emo.finetuning.collate import Batch
from emo.finetuning.collator import Collator
from emo.finetuning.listing import Listed
from emo.finetuning.prepared import Entry, training_entries
from emo.finetuning.preparing import Preparer, shards
from emo.finetuning.settings import Finetune
from emo.store.storage import Storage

# Batches that wait, encoded, for their worker.
AHEAD = 4


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
    lengths: Sequence[int],
    start: Cursor,
    rank: int,
    workers: int,
) -> Iterator[tuple[batching.StepPlan, list[Batch]]]:
    """The steps from `start` on, each with the batches of this worker, encoded ahead by Ray Data."""
    import ray.data

    plans = list(
        batching.steps(
            len(lengths), settings.batch, settings.epochs, settings.seed, settings.max_steps, start
        )
    )
    if not plans:
        return
    rows = [
        {
            "step": plan.after.step,
            "places": pickle.dumps(
                batching.micro_batches(plan.samples, lengths, workers, settings.batch_tokens)[rank]
            ),
        }
        for plan in plans
    ]
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    # The training workers may hold every CPU that Ray counts.
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        _Feeder,
        fn_constructor_args=(run, settings, model),
        compute=ray.data.ActorPoolStrategy(size=settings.data_workers),
        num_cpus=0,
    )
    batches = dataset.iter_batches(batch_size=None, prefetch_batches=AHEAD, batch_format="pyarrow")
    found = (row for batch in batches for row in batch.to_pylist())
    for plan, row in zip(plans, found, strict=True):
        if row["step"] != plan.after.step:
            raise EmoError(f"step {row['step']} came in the place of step {plan.after.step}")
        yield plan, pickle.loads(row["batches"])


class _Feeder:
    """A worker of Ray Data: makes the batches of one step of one training worker."""

    def __init__(self, run: Storage, settings: Finetune, model: Path) -> None:
        import torch

        torch.set_num_threads(1)
        entries = training_entries(prepared.read_entries(run))
        self._collator = Collator(run, settings, model, entries)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        batches = [self._collator.batch(places) for places in pickle.loads(row["places"])]
        return {"step": row["step"], "batches": pickle.dumps(batches, protocol=5)}
