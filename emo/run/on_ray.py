"""Passes on a Ray cluster: shards out to a pool of workers.

A worker commits what it made and returns a line of counts, so clips never travel through the engine's
object store.

Several passes may run side by side, each with a pool and shards of its own: to the engine they are branches
of one graph, so that whatever stops one of them stops them all.
"""

import gc
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from typing import Any

from emo.errors import EmoError, one_line
from emo.run import nodes
from emo.run.attempts import ByActor, attempts_of_connection
from emo.run.committing import Committing, Reading, Sharing
from emo.run.growing import growing
from emo.run.metrics import PassMetrics
from emo.run.running import BoundReached, Part, Running
from emo.run.settings import GrowsTo
from emo.run.waiting import told
from emo.step import Pass
from emo.store import planning
from emo.store.runs import StepRecord
from emo.store.storage import Storage
from emo.terminal.progress import Progress

# A reader holds a shard as it is stored, as it is read, and as it is handed on: some times 50 MB.
_READER_BYTES = 256 * 2**20
# Of the memory of all nodes, readers may hold this share; the rest is the workers'.
_READERS_SHARE = 0.25


@dataclass(frozen=True)
class OnRay:
    """The cluster that this process is connected to.

    grows_to: the bound of what passes may make an autoscaling cluster become. Where nodes can come, a pool
    starts with the workers that fit, at least one, and grows with the nodes.
    """

    grows_to: GrowsTo | None = None

    def room(self) -> Sequence[Mapping[str, float]]:
        """What each node holds, or all of them may hold together."""
        return [nodes.bound(self.grows_to)] if self.grows_to else nodes.alive()

    def begin(self, plan: Pass, step: StepRecord, alone: bool, stop: Callable[[], None]) -> Running:
        """The pass as this cluster can run it; waits for a node where none has room and one can come.

        Raises EmoError where a worker never can start.
        """
        grows_to = self.grows_to
        progress = Progress(plan.step, plan.rows.num_rows, bar=alone)
        there = nodes.alive()
        held: Mapping[str, float] = nodes.needed(plan.resources, there)
        # Without an autoscaler, who says how far the cluster may grow lets nodes join by hand.
        grows = nodes.autoscaler() is not None or grows_to is not None
        if not nodes.fits(held, there):
            if line := nodes.beyond(plan.step, plan.resources, grows_to):
                raise EmoError(line)
            held = nodes.await_node(
                plan.step, plan.resources, progress.note, stop, joining=grows_to is not None
            )
            there = nodes.alive()
        rows = plan.rows.num_rows
        fit = planning.workers_that_fit(there, held)
        workers = planning.pool_size(rows, min(plan.workers or fit, max(fit, 1)), plan.shard_rows)
        most = None
        if grows:
            wanted = plan.workers or rows
            allowed = planning.workers_that_fit([nodes.bound(grows_to)], held) if grows_to else wanted
            most = max(workers, planning.pool_size(rows, min(wanted, allowed), plan.shard_rows))
        step.workers = workers
        step.cpus, step.gpus = workers * held["CPU"], workers * held["GPU"]
        return Running(plan, step, workers, held, most, progress, PassMetrics(plan.step))

    def run(self, parts: list[Part], storage: Storage, run_id: str, stop: Callable[[], None]) -> None:
        """read → map (and commit) → counts, one block per shard."""
        import ray

        attempts = attempts_of_connection()
        branches = [_branch(part, storage, run_id, attempts) for part in parts]
        done = branches[0].union(*branches[1:]) if len(branches) > 1 else branches[0]
        by_name = {part.name: part for part in parts}
        ending: BoundReached | None = None
        whole = False
        results = iter(done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
        try:
            with ExitStack() as stack:
                first_result = {part.name: stack.enter_context(_told(part, attempts)) for part in parts}
                for part in parts:
                    if part.most > part.workers:
                        stack.enter_context(_growing(part, attempts))
                for batch in results:
                    for counts in batch.to_pylist():
                        part = by_name[counts["of_pass"]]
                        first_result[part.name].set()
                        part.take(counts, beside=len(parts) > 1)
                    if ending is None:
                        try:
                            stop()
                        except BoundReached as bound:
                            ending = bound
                            for part in parts:
                                part.most = part.workers  # nothing grows any more
                    if ending is not None:
                        # Once every shard that was started has been counted, the other results hold no rows.
                        states = ray.get([attempts.end.remote(part.name) for part in parts])
                        if states == [(0, part.counted) for part in parts]:
                            break
            for part in parts:
                part.of.await_listed(storage)
            if ending is not None:
                raise ending
            whole = True
        except ray.exceptions.RayError as error:
            steps = ", ".join(part.of.plan.step for part in parts)
            raise EmoError(f"{steps}: {_root(error)}") from error
        finally:
            if not whole:
                _note_under_way(parts, attempts)
            results.close()
            _wait_for_readers()
            if not whole:
                # Ray Data keeps workers of such a pass in a cycle, and with them their places in the cluster.
                gc.collect()
            for part in parts:
                attempts.close.remote(part.name)


def _note_under_way(parts: list[Part], attempts: Any) -> None:
    """Start no other shard of passes that are cut short, and note how many may still be committed."""
    import ray

    try:
        states = ray.get([attempts.end.remote(part.name) for part in parts], timeout=10)
    except ray.exceptions.RayError:
        # Nobody is left to say so: there may be one.
        states = [(1, 0)] * len(parts)
    for part, (under_way, _) in zip(parts, states, strict=True):
        part.of.step.under_way += under_way


def _told(part: Part, attempts: Any) -> AbstractContextManager[threading.Event]:
    # A step with a model is named after its expert.
    what = part.of.plan.step.partition(" ")[2] or "what it needs"
    return told(part.of.progress, what, part.of.held, lambda: attempts.workers.remote(part.name))


def _growing(part: Part, attempts: Any) -> AbstractContextManager[None]:
    def more(started: int, seconds: float) -> int:
        part.of.held_more(max(0, started - part.workers), seconds)
        # Twice as many at the most: who asks for all nodes at once pays for what the last shards leave idle.
        return min(started, part.most - started, len(part.shards) - part.counted - started)

    return growing(part.of.held, lambda: attempts.workers.remote(part.name), more)


def _branch(part: Part, storage: Storage, run_id: str, attempts: Any) -> Any:
    """The shards of a part through its readers and workers, to counts: a data set that nothing runs yet."""
    import ray
    from ray.data import ActorPoolStrategy, TaskPoolStrategy

    plan, held = part.of.plan, part.of.held
    # A block, a task and a commit per shard; readers would merge small files, and `from_arrow` would first
    # start a process to measure the blocks.
    shards_out = ray.data.from_blocks(part.shards)
    # For workers with a GPU the engine insists on a number. It fills small shards up to that.
    batch_size = max(shard.num_rows for shard in part.shards) if plan.resources.gpus else None
    bare = replace(plan, rows=plan.rows.schema.empty_table())
    if plan.resources.light and part.most == part.workers:
        # Only a pool of workers grows with its cluster.
        return shards_out.map_batches(
            Sharing(bare, storage, run_id, ByActor(attempts), part.name),
            batch_size=batch_size,
            batch_format="pyarrow",
            zero_copy_batch=True,
            compute=TaskPoolStrategy(size=part.workers),
            **nodes.options(held),
        )
    if plan.read is not None:
        # No CPU of its own: the workers may hold all there are, and a read would wait for one for ever. So
        # nothing else bounds how many processes read at once.
        shards_out = shards_out.map_batches(
            Reading(plan.read),
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
            num_cpus=0,
            compute=TaskPoolStrategy(size=_readers(part)),
        )
    return shards_out.map_batches(
        Committing,
        # Each worker gets its rows shard by shard.
        fn_constructor_args=(bare, storage, run_id, ByActor(attempts), part.name),
        batch_size=batch_size,
        batch_format="pyarrow",
        zero_copy_batch=True,
        compute=ActorPoolStrategy(
            min_size=part.workers,
            max_size=max(part.workers, part.most),
            # The shard under way, and for a model the next one beside it: the engine would queue more, and a
            # worker that is slow or stands still would hold them from the others.
            max_tasks_in_flight_per_actor=2 if plan.resources.gpus else 1,
        ),
        **nodes.options(held),
    )


def _readers(part: Part) -> int:
    """How many processes read ahead of the workers at once: as many as are needed, and as memory allows."""
    memory = sum(node.get("memory", 0.0) for node in nodes.alive())
    allowed = int(_READERS_SHARE * memory / _READER_BYTES)
    return max(1, min(part.workers * (2 if part.of.plan.resources.gpus else 1), allowed))


def _wait_for_readers() -> None:
    """Wait for the threads in which Ray Data reads results: closing its iterator does not.

    One that still asks Ray for a block when the connection has been closed ends the whole process. They are
    found by their names, because Ray Data hands out no other sign of them.
    """
    for thread in threading.enumerate():
        if thread.name == "iter_threaded" or thread.name.startswith("StreamingExecutor"):
            thread.join(timeout=60)


def _root(error: Exception) -> str:
    """What happened in a worker, in one line, rather than what the engine says of it."""
    # The engine wraps the error, and of what it wrapped only the printed stack arrives here.
    printed, _, rest = str(error).partition("\n\nThe above exception was the direct cause of")
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    return lines[-1] if rest and lines else one_line(getattr(error, "cause", None) or error)
