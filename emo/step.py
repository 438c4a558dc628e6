"""A step of the data flow: one arrow between two tables, as a value.

What runs over steps (`emo label`, the night, the plan, the list of failures, a retry) is a loop over a list
of them: `emo.jobs.label.steps`. A new step is one new file with one class.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any, ClassVar, Protocol

import pyarrow as pa

from emo.errors import RowError
from emo.estimates import Expected
from emo.experts.protocol import Resources
from emo.needs import Need
from emo.store import committed, planning
from emo.store.storage import Storage
from emo.store.tables import Table


class Worker(Protocol):
    """Made once per worker process; called with the rows of a shard, returns rows of the pass's table."""

    def __call__(self, rows: pa.Table) -> pa.Table: ...


@dataclass(frozen=True)
class Pass:
    """What a pass needs to know.

    rows: what is left to do, told apart by the columns `key`; where: the folder that the results go to;
    worker: makes a Worker inside the worker process; read: runs ahead of the workers and turns the rows of a
    shard into what the worker wants (large columns); failed: rows of the table for rows that no worker
    survived; answers: the numbers of the answers that it gives, where other passes of the run give others to
    the same rows; together: rows that follow one another with the same value in this column go into one
    shard, as far as its size allows.
    """

    step: str
    table: Table
    where: str
    rows: pa.Table
    key: tuple[str, ...]
    worker: Callable[[], Worker]
    failed: Callable[[pa.Table, RowError], pa.Table]
    resources: Resources
    shard_rows: int
    workers: int | None = None
    read: Callable[[pa.Table], pa.Table] | None = None
    answers: range | None = None
    together: str | None = None

    def of_it(self, rows: pa.Table) -> pa.Table:
        """Of rows of its table those that this pass may have made."""
        return rows if self.answers is None else rows.filter(planning.numbered(rows, self.answers))


class Step(ABC):
    """One step: what it can do, what is left of it, and how it is done.

    name: as in run files, such as `describe voice`; table: what it writes; key: the columns that tell apart
    the rows that it does; did: what happened to its good rows, for a person; group: steps of one group that
    follow one another run side by side where there is room.
    """

    table: ClassVar[Table]
    key: ClassVar[tuple[str, ...]]
    did: ClassVar[str]

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    def group(self) -> str:
        return self.name.partition(" ")[0]

    @property
    def follows(self) -> bool:
        """Whether a redo of the steps before it leaves all that it has to redo: then it does what is left."""
        return False

    @property
    def where(self) -> str:
        """The folder of its results."""
        return committed.folder(self.table)

    @abstractmethod
    def given(self, storage: Storage) -> pa.Table:
        """Every row that the step could do, one per key, with `video_id` and `run_id` of its newest input."""

    @abstractmethod
    def made(self, storage: Storage) -> pa.Table:
        """The newest row of each key that the step has made, with `status` and `run_id`."""

    @abstractmethod
    def left(self, storage: Storage, given: pa.Table, retry: bool = False) -> pa.Table:
        """Of the given rows those that are new or changed; retry: those that failed in this step too."""

    @abstractmethod
    def work(self, storage: Storage, run_id: str, rows: pa.Table) -> Pass:
        """The pass over some of the given rows."""

    def settle(self, storage: Storage, run_id: str) -> str | None:
        """Write what follows of what the step has made so far; a line for a person. For whoever holds the
        lease, whenever a run has come through the step, and of no use twice.
        """
        return None

    @abstractmethod
    def arriving(self, storage: Storage, planned: Mapping[str, int]) -> int:
        """How many rows of a plan come to this step beside those that are given now.

        planned: how many rows each step before it is about to do, taken for rows that all come out well.
        """

    def expected(self, storage: Storage, planned: Mapping[str, int]) -> Expected | None:
        """How many more rows are likely to come, where what the steps before it find decides; None: none."""
        return None

    @property
    @abstractmethod
    def assumed_seconds(self) -> float:
        """Seconds of one worker per row, until a run has been measured."""

    def rate(self, storage: Storage, left: pa.Table, measured: tuple[float, int] | None) -> tuple[float, int]:
        """Seconds of one worker per row that is left, and on how many rows this was measured (0: assumed).

        measured: the same of the rows of earlier runs, None where there are none.
        """
        return measured or (self.assumed_seconds, 0)

    def resources(self) -> Resources:
        """What one worker holds."""
        return Resources(cpus=1)

    def settings(self) -> dict[str, Any] | None:
        """The settings that decide what comes out, nested keys as `a.b`; None: rows say it themselves."""
        return None

    def needs(self) -> list[Need]:
        """What a worker needs of the machine that it runs on."""
        return []

    def failed(self, storage: Storage, given: pa.Table | None = None) -> pa.Table:
        """The newest rows that failed in this step itself, with `error`, `error_message` and `run_id`.

        Rows that failed because an earlier step did are that step's failures. given: as of `given`; read
        where it is wanted and not at hand.
        """
        given = self.given(storage) if given is None else given
        return planning.in_both(self.all_failed(storage), given, self.key)

    def all_failed(self, storage: Storage) -> pa.Table:
        """The newest rows that failed, also those that failed because an earlier step did."""
        columns = ["status", "error", "error_message"]
        return planning.failed_rows(committed.read_newest(storage, self.where, self.table, columns))


@dataclass(frozen=True)
class Mode:
    """Which rows a run does: those that are left; redo: all; retry: those that failed too; only: of these
    clips (`video_id`).
    """

    redo: bool = False
    retry: bool = False
    only: pa.Table | None = None


@dataclass(frozen=True)
class Todo:
    """The rows that a run does of a step, and how many it skips because they were done before."""

    rows: pa.Table
    skipped: int


def todo(step: Step, storage: Storage, mode: Mode, redo_since: Callable[[str], str]) -> Todo:
    """What a run does of a step; redo_since: the run from which on the rows of a step count as made anew."""
    given = step.given(storage)
    if mode.only is not None:
        given = planning.in_both(given, mode.only, ("video_id",))
    if mode.redo and not step.follows:
        rows = planning.older(given, step.made(storage), redo_since(step.name), step.key)
    else:
        rows = step.left(storage, given, mode.retry)
    return Todo(rows, given.num_rows - rows.num_rows)


def groups(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Steps in their order, those that may run side by side together."""
    return (list(group) for _, group in groupby(steps, key=attrgetter("group")))


def failures(storage: Storage, steps: Sequence[Step]) -> list[dict[str, str]]:
    """The clips that failed, by the step in which they did; where a step has experts, by expert too."""
    found = []
    for step in steps:
        rows = committed.newest(step.failed(storage), _told_by(step))
        for row in rows.to_pylist():
            name = step.name if len(_told_by(step)) == 1 else f"{step.name} {row['expert']}"
            found.append({key: row[key] for key in ("video_id", "error", "error_message")} | {"step": name})
    return found


def _told_by(step: Step) -> tuple[str, ...]:
    return ("expert", "video_id") if "expert" in step.key else ("video_id",)
