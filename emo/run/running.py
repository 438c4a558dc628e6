"""A pass that is on: what it counts, and its shards."""

import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from emo.errors import EmoError
from emo.run.committing import outcome_of
from emo.run.metrics import Metrics
from emo.step import Pass
from emo.store import committed, planning
from emo.store.runs import StepRecord
from emo.store.storage import Storage
from emo.terminal.progress import Progress


class BoundReached(EmoError):
    """A bound on hours or GPU-hours: the pass ends between shards, those under way are committed first."""


@dataclass
class Running:
    """A pass that is on, as there is room for it.

    workers: that there is room for; held: what each of them holds; grows_to: so many there may be where an
    autoscaler adds nodes, or None.
    """

    plan: Pass
    step: StepRecord
    workers: int
    held: Mapping[str, float]
    grows_to: int | None
    progress: Progress
    metrics: Metrics
    ended: bool = False
    began: float = field(default_factory=time.monotonic)
    # Seconds of all the workers that came later.
    more_s: float = 0.0
    # Of counted shards, until a listing has shown them.
    files: list[str] = field(default_factory=list)

    def count(self, ok: int, failed: int, codes: dict[str, int]) -> None:
        self.step.ok += ok
        self.step.failed += failed
        self.step.error_codes = dict(Counter(self.step.error_codes) + Counter(codes))
        self.progress.add(ok, failed)
        if self.left() <= 0:
            self.end()

    def held_more(self, workers: int, seconds: float) -> None:
        """Count workers beside those of the beginning in what the step held on average."""
        self.more_s += workers * seconds
        on_average = self.workers + self.more_s / (time.monotonic() - self.began)
        self.step.workers = on_average
        self.step.cpus, self.step.gpus = on_average * self.held["CPU"], on_average * self.held["GPU"]

    def count_again(self, storage: Storage, run_id: str) -> None:
        """Count by the table what was committed by a worker that then died, or had not answered yet."""
        if self.left() <= 0:
            return
        plan = self.plan
        columns = ["status", "error", *(["labels"] if "labels" in plan.table.schema.names else [])]
        done = planning.of_run(committed.read_newest(storage, plan.where, plan.table, columns), run_id)
        done = plan.of_it(done)
        outcome = outcome_of(planning.in_both(done, plan.rows, plan.key), plan.key)
        if outcome.ok + outcome.failed > self.step.ok + self.step.failed:
            self.step.ok, self.step.failed, self.step.empty = outcome.ok, outcome.failed, outcome.empty
            self.step.error_codes = outcome.codes

    def await_listed(self, storage: Storage) -> None:
        """What was counted is there for whoever lists the table next."""
        committed.await_listed(storage, self.files, self.progress.note)
        self.files.clear()

    def left(self) -> int:
        return self.plan.rows.num_rows - self.step.ok - self.step.failed

    def end(self) -> None:
        """Once: a pass may end before those beside it."""
        if not self.ended:
            self.ended = True
            self.step.seconds = self.progress.finish()
            self.metrics.end()


@dataclass
class Part:
    """Shards of a pass that go through its pool in one go.

    workers: that are there; most: so many there may be where nodes join meanwhile.
    """

    of: Running
    shards: list[pa.Table]
    workers: int
    most: int
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    # Shards whose counts have arrived.
    counted: int = 0

    def take(self, counts: Mapping[str, Any], beside: bool) -> None:
        """Count what a worker says of a shard; beside: other passes run beside this one.

        Raises EmoError where the worker says that the pass cannot go on.
        """
        one = self.of
        if counts["stop"]:
            whose = f"{one.plan.step}: " if beside else ""
            raise EmoError(f"{whose}{counts['stop']}")
        one.count(
            counts["ok"], counts["failed"], dict(zip(counts["codes"], counts["code_counts"], strict=True))
        )
        one.step.empty += counts["empty"]
        one.files += counts["files"]
        self.counted += counts["ok"] + counts["failed"] > 0
        one.metrics.shard(counts)
