"""Light passes in processes of this machine, without Ray: it takes longer to start than most of them take.

A process does a shard at a time and says what it made of it. One that dies costs its shard an attempt and is
replaced. All of them end with the run.
"""

import tempfile
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import IO, Any

import cloudpickle
import pyarrow as pa

from emo import children
from emo.errors import MachineError, one_line
from emo.machine import cpus, machine_fault
from emo.run import nodes
from emo.run.attempts import ATTEMPTS, Unwatched
from emo.run.committing import Sharing
from emo.run.metrics import Metrics
from emo.run.running import BoundReached, Part, Running
from emo.step import Pass
from emo.store import planning
from emo.store.runs import StepRecord
from emo.store.storage import Storage
from emo.terminal.progress import Progress, say

# Bounds are looked at this often where no shard ends.
_LOOK_S = 1.0
# After so many processes that end before they can begin no other would.
_STILLBORN = 3


@dataclass
class _Process(children.Child):
    """One of the processes; shard: that it works on, of which part; known: the parts that it was told of."""

    ready: bool = False
    shard: "tuple[Part, int] | None" = None
    known: set[str] = field(default_factory=set)


class Here:
    """The processes of one run. The first pass starts them, those that follow use them too."""

    def __init__(self, num_cpus: int | None) -> None:
        self._cpus = num_cpus or cpus()
        self._processes: list[_Process] = []
        self._said: IO[bytes] | None = None
        # How many processes one after the other ended before they could begin.
        self._stillborn = 0

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        if self._said is not None:
            self._said.close()
            log = Path(self._said.name)
            with suppress(OSError):
                if log.stat().st_size:
                    say(f"what the workers said is in {log}")
                else:
                    log.unlink()

    def room(self) -> Sequence[Mapping[str, float]]:
        """This machine; light passes say nothing of memory."""
        return [{"CPU": float(self._cpus), "memory": float("inf")}]

    def begin(self, plan: Pass, step: StepRecord, alone: bool, stop: Callable[[], None]) -> Running:
        """The pass with as many processes as it can use."""
        held = nodes.needed(plan.resources, self.room())
        workers = planning.pool_size(plan.rows.num_rows, plan.workers or self._cpus, plan.shard_rows)
        workers = min(workers, self._cpus)
        step.workers, step.cpus = workers, workers * held["CPU"]
        progress = Progress(plan.step, plan.rows.num_rows, bar=alone)
        return Running(plan, step, workers, held, None, progress, Metrics())

    def run(self, parts: list[Part], storage: Storage, run_id: str, stop: Callable[[], None]) -> None:
        """Give out the shards and count them; a shard that processes die of is left out.

        Whatever ends it early ends the processes, but a bound: then what is under way is counted first.
        """
        work = _Work(parts, storage, run_id)
        ending: BoundReached | None = None
        try:
            while True:
                self._give(work, ending is not None)
                busy = [one for one in self._processes if one.shard is not None]
                if not busy:
                    break
                for one in _who_speaks(busy):
                    self._hear(one, work)
                if ending is None:
                    try:
                        stop()
                    except BoundReached as bound:
                        ending = bound
        except BaseException:
            self.stop()
            raise
        for part in parts:
            part.of.await_listed(storage)
        if ending is not None:
            raise ending

    def _give(self, work: "_Work", ending: bool) -> None:
        """Give idle processes something to do, and start as many as can be used."""
        idle = [one for one in self._processes if one.shard is None]
        while not ending and (idle or len(self._processes) < self._cpus):
            shard = work.next()
            if shard is None:
                return
            # One that has been told of the part has made its worker.
            one = next((one for one in idle if shard[0].name in one.known), idle[0] if idle else None)
            if one is None:
                one = self._start()
            else:
                idle.remove(one)
            one.shard = shard
            with suppress(OSError):  # one that is dead is heard of next
                self._tell(one, work)

    def _tell(self, one: _Process, work: "_Work") -> None:
        assert one.shard is not None
        part, number = one.shard
        if part.name not in one.known:
            one.known.add(part.name)
            one.connection.send_bytes(work.sent(part))
        one.connection.send((part.name, part.shards[number]))

    def _hear(self, one: _Process, work: "_Work") -> None:
        """What a process that works has to say: that it is ready, what it made of its shard, or nothing."""
        assert one.shard is not None
        part, number = one.shard
        try:
            said = one.connection.recv()
        except (EOFError, OSError):
            self._processes.remove(one)
            one.stop()
            self._stillborn += not one.ready
            if self._stillborn == _STILLBORN:
                words = self._last_words() or "no word from it"
                raise MachineError(f"a worker process does not start: {words}") from None
            work.again(part, number, tried=one.ready)
            return
        if said is None:
            one.ready, self._stillborn = True, 0
            return
        one.shard = None
        work.done(part)
        for counts in said.to_pylist():
            part.take(counts, beside=work.beside)

    def _start(self) -> _Process:
        try:
            if self._said is None:
                self._said = tempfile.NamedTemporaryFile(  # noqa: SIM115
                    "a+b", prefix="emo-workers-", suffix=".log", delete=False
                )
            started = _Process(*children.start(serve, said=self._said))
        except OSError as error:
            raise MachineError(
                f"a worker process does not start: {machine_fault(error) or one_line(error)}"
            ) from error
        self._processes.append(started)
        return started

    def _last_words(self) -> str:
        return children.last_words(self._said) if self._said else ""

    def stop(self) -> None:
        """End the processes; another pass would start new ones."""
        while self._processes:
            self._processes.pop().stop()


def _who_speaks(busy: Sequence[_Process]) -> list[_Process]:
    """Those that have something to say, once there is one or a moment has gone by."""
    speaking = set(wait([one.connection for one in busy], timeout=_LOOK_S))
    return [one for one in busy if one.connection in speaking]


class _Work:
    """The shards of parts that run beside each other: which are left, and under way."""

    def __init__(self, parts: Sequence[Part], storage: Storage, run_id: str) -> None:
        self._left = {part.name: deque(range(len(part.shards))) for part in parts}
        self._parts = parts
        self._under_way: Counter[str] = Counter()
        self._started: Counter[tuple[str, int]] = Counter()
        self._storage, self._run_id = storage, run_id
        self.beside = len(parts) > 1

    def next(self) -> tuple[Part, int] | None:
        """The shard to start next; no part has more under way than it has workers."""
        for part in self._parts:
            left = self._left[part.name]
            if left and self._under_way[part.name] < part.workers:
                self._under_way[part.name] += 1
                number = left.popleft()
                self._started[part.name, number] += 1
                return part, number
        return None

    def done(self, part: Part) -> None:
        """One that was under way no longer is."""
        self._under_way[part.name] -= 1

    def again(self, part: Part, number: int, tried: bool) -> None:
        """The process of a shard died; tried: it may have died of it."""
        self.done(part)
        self._started[part.name, number] -= not tried
        if self._started[part.name, number] < ATTEMPTS:
            self._left[part.name].appendleft(number)

    def sent(self, part: Part) -> bytes:
        """What a process is told of a part, once."""
        plan = part.of.plan
        bare = replace(plan, rows=plan.rows.schema.empty_table())
        told: bytes = cloudpickle.dumps(Sharing(bare, self._storage, self._run_id, Unwatched(), part.name))
        return told


def serve(descriptor: str) -> None:
    """A process: does the shards that come in until the parent is gone."""
    connection = children.connect(descriptor)
    connection.send(None)
    passes: dict[str, Sharing] = {}
    while True:
        try:
            said: Any = connection.recv()
        except EOFError:
            return
        if isinstance(said, Sharing):
            passes[said.this_pass] = said
            continue
        name, rows = said
        made: pa.Table = passes[name](rows)
        connection.send(made)
