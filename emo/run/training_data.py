"""Preparing the samples of a finetuning run with Ray Data, and feeding each training worker.

listed samples  →  read their clips, encode each once  →  data/*.parquet and data/samples.parquet
steps from the cursor on  →  read, encode, collate ahead of the training  →  batches of one worker
"""

import io
import pickle
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, cycle, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from emo.clips import ingested
from emo.errors import EmoError
from emo.finetuning import batching, prepared
from emo.finetuning.batching import Cursor
from emo.finetuning.collate import Batch
from emo.finetuning.collator import Collator
from emo.finetuning.listed import SCHEMA, Listing, listed_of
from emo.finetuning.prepared import Entry
from emo.finetuning.preparing import Preparer
from emo.finetuning.settings import Finetune
from emo.finetuning.spool import sorted_by
from emo.store import planning
from emo.store.storage import Storage

# Shards in one file, of which the samples of about 500 clips are a megabyte; and in one of its row groups:
# each of these costs who writes it.
LISTED_SHARDS, GROUP_SHARDS = 256, 8
LISTED = SCHEMA.append(pa.field("clip_file", pa.string()))  # the file of the clips table
# Steps whose batches wait, encoded, for their worker.
AHEAD = 4
# How often a process that reads starts again; a step that kills it each time ends an attempt of the training.
_TRIES = 3


def prepare(run: Storage, out: Storage, settings: Finetune, listing: Listing, workers: int) -> list[Entry]:
    """Read every clip once, encode every sample once, and write what training reads; outlines of all samples.

    No process holds more than some thousand of them.
    """
    import ray.data

    shards = _write_shards(run, out, listing)
    refused = listing.refused()
    if not shards:
        return _write_list(run, listing, refused)
    dataset = ray.data.from_items(shards, override_num_blocks=len(shards)).map(
        _Preparer,
        fn_constructor_args=(run, out, settings),
        # A process for each CPU that the cluster has; nothing else of the run works meanwhile.
        compute=ray.data.ActorPoolStrategy(size=max(1, min(workers, len(shards)))),
        num_cpus=0.5,
    )

    def done() -> Iterator[pa.Table]:
        for row in dataset.iter_rows():
            yield pickle.loads(row["entries"])
        # Nobody reads them any more.
        for path in sorted({shard["listed"] for shard in shards}):
            run.delete(path)

    return _write_list(run, listing, chain(refused, done()))


def _write_shards(run: Storage, out: Storage, listing: Listing) -> list[dict[str, Any]]:
    """Write the samples that can be prepared where every node reads them.

    A shard is where its samples are (`listed`: the file, `group`: the row group, `start` and `count`: its
    rows) and the file for its clips (`file`).
    """
    clips = ingested(out)
    shards: list[dict[str, Any]] = []
    left = listing.shards()
    for number, some in enumerate(iter(lambda: list(islice(left, LISTED_SHARDS)), [])):
        rows = pa.concat_tables(some).combine_chunks()
        files = clips.column("file").take(planning.place(rows, clips, ("video_id",)))
        rows = rows.append_column("clip_file", files).cast(LISTED)
        path = f"{prepared.FOLDER}/listed-{number:05d}.parquet"
        sink = io.BytesIO()
        with pq.ParquetWriter(sink, LISTED, **prepared.WRITTEN) as writer:
            for group, sizes in enumerate(_batches([shard.num_rows for shard in some], GROUP_SHARDS)):
                of_group, rows = rows.slice(0, sum(sizes)), rows.slice(sum(sizes))
                writer.write_table(of_group, row_group_size=of_group.num_rows)
                for start, count in zip(accumulate([0, *sizes]), sizes, strict=False):
                    file = f"{prepared.FOLDER}/clips-{len(shards):05d}.parquet"
                    place = {"group": group, "start": start, "count": count}
                    shards.append({"listed": path, **place, "file": file})
        run.write(path, sink.getvalue())
    return shards


def _batches(values: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def _write_list(run: Storage, listing: Listing, parts: Iterable[pa.Table]) -> list[Entry]:
    """Write the list of samples by their ids, whatever the order in which the shards were done."""
    written = 0

    def counted() -> Iterator[pa.Table]:
        nonlocal written
        for rows in sorted_by(parts, "sample_id"):
            written += rows.num_rows
            if written > len(listing):
                break
            yield rows
        if written != len(listing):
            raise EmoError(f"{len(listing) - written} samples were lost in the preparation")

    prepared.write_entries(run, counted())
    return prepared.read_outlines(run)


class _Preparer:
    """A worker of Ray Data: prepares the samples of one shard."""

    def __init__(self, run: Storage, out: Storage, settings: Finetune) -> None:
        self._run = run
        self._preparer = Preparer(run, out, settings)

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        file = pq.ParquetFile(self._run.open(shard["listed"]), pre_buffer=False)
        rows = file.read_row_group(shard["group"]).slice(shard["start"], shard["count"])
        names, files = rows.column("video_id").to_pylist(), rows.column("clip_file").to_pylist()
        of_clips = {name: file for name, file in zip(names, files, strict=True) if name is not None}
        entries = self._preparer.prepare(listed_of(rows), of_clips, shard["file"])
        return {"entries": pickle.dumps(prepared.table_of(entries))}


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
