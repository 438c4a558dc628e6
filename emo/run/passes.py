"""Passes of a job over what is left to do: shards out to workers, results committed by them.

A shard is visible or not, as a whole. What a pass did not commit (a worker died of it) is tried again one row
at a time; what is then still missing is committed as failed.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import pyarrow as pa

from emo.errors import EmoError, RowError
from emo.run import nodes
from emo.run.attempts import ATTEMPTS
from emo.run.committing import commit
from emo.run.running import Part, Running
from emo.step import Pass
from emo.store import committed, planning
from emo.store.runs import StepRecord
from emo.store.storage import Storage


class Engine(Protocol):
    """Where passes run."""

    def room(self) -> Sequence[Mapping[str, float]]:
        """What each node holds for workers, by name: CPU, GPU, memory in bytes."""

    def begin(self, plan: Pass, step: StepRecord, alone: bool, stop: Callable[[], None]) -> Running:
        """The pass as there is room for it; alone: no other runs beside it. Raises EmoError where there never
        is; stop: called while it waits for room, raises to end that.
        """

    def run(self, parts: list[Part], storage: Storage, run_id: str, stop: Callable[[], None]) -> None:
        """Do the shards, but those that workers die of, and count them; raises what `stop` raises once what
        is under way is committed where that is BoundReached, at once else.
        """


def fit_together(plans: Sequence[Pass], engine: Engine) -> bool:
    """Whether there is room for all the workers that these passes can use, beside each other."""
    room = engine.room()
    pools = []
    for plan in plans:
        rows = plan.rows.num_rows
        held = nodes.needed(plan.resources, room)
        pools.append((held, planning.pool_size(rows, plan.workers or rows, plan.shard_rows)))
    return planning.fit_together(room, pools)


def run_passes(
    passes: Sequence[tuple[Pass, StepRecord]],
    storage: Storage,
    run_id: str,
    stop: Callable[[], None],
    engine: Engine,
) -> None:
    """Run passes side by side to their end, counting in the step of each; raises EmoError where one cannot
    go on, and ends the others.

    stop: called between results; raises to end the passes early. What was committed stays.
    """
    running = [engine.begin(plan, step, alone=len(passes) == 1, stop=stop) for plan, step in passes]
    try:
        for one in running:
            one.metrics.begin(one.left)
        parts = []
        for one in running:
            rows, shard_rows = one.plan.rows.num_rows, one.plan.shard_rows
            size = planning.shard_size(rows, one.grows_to or one.workers, shard_rows)
            shards = planning.shards(one.plan.rows, size, one.plan.together)
            most = planning.pool_size(rows, one.plan.workers or len(shards), shard_rows)
            parts.append(Part(one, shards, one.workers, min(most, one.grows_to or most)))
        engine.run(parts, storage, run_id, stop)
        parts = []
        for one in running:
            missing = _missing(one, storage, run_id)
            if missing.num_rows:
                one.progress.note(f"{missing.num_rows} rows were lost with their worker; trying each alone")
                one.metrics.retried(missing.num_rows)
                few = min(one.workers, missing.num_rows)
                parts.append(Part(one, list(committed.batched(missing, 1)), few, few))
        if parts:
            engine.run(parts, storage, run_id, stop)
        for part in parts:
            one = part.of
            missing = _missing(one, storage, run_id)
            if missing.num_rows:
                error = RowError("worker_died", f"the worker died {ATTEMPTS} times on this row alone")
                one.metrics.lost(missing.num_rows)
                one.files += commit(storage, one.plan.table, run_id, one.plan.failed(missing, error))
                one.await_listed(storage)
                one.count(0, missing.num_rows, {error.code: missing.num_rows})
    finally:
        for one in running:
            with suppress(EmoError, OSError):  # what ended the passes matters more
                one.count_again(storage, run_id)
            one.end()


def _missing(one: Running, storage: Storage, run_id: str) -> pa.Table:
    """Rows of the pass that this run did not commit, by the table itself."""
    plan = one.plan
    if one.left() <= 0:
        return plan.rows.slice(0, 0)
    done = plan.of_it(committed.read_newest(storage, plan.where, plan.table, []))
    return planning.not_in_run(plan.rows, done, run_id, plan.key)
