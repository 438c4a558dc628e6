"""What the jobs of one run share: configuration, OUT, the run file, the lease, the Ray cluster."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from emo.config import Config
from emo.errors import EmoError
from emo.experts.protocol import Resources
from emo.marks import differences
from emo.needs import Need
from emo.run.asking import check_on_nodes
from emo.run.connection import cluster, connected
from emo.run.here import Here
from emo.run.nodes import cluster_address
from emo.run.on_ray import OnRay
from emo.run.passes import Engine, fit_together, run_passes
from emo.run.running import BoundReached
from emo.step import Pass, Step, Todo
from emo.store import committed, index
from emo.store.fences import fence
from emo.store.lease import EXPIRES_S, Lease
from emo.store.runs import FOLDER, Run, StepRecord, check_settings, load_runs, new_run_id
from emo.store.storage import Storage
from emo.store.tables import EVERY
from emo.terminal.progress import say
from emo.terminal.signals import ended_by_signals, interruption

# A pass writes down how far it is this often, for those who watch it and for whoever finds it killed.
SAVE_EVERY_S = 5.0


@dataclass(frozen=True)
class Bounds:
    """When a run stops between shards: after so many hours, or GPU-hours of its workers; None: never."""

    hours: float | None = None
    gpu_hours: float | None = None

    def reached(self, seconds: float, gpu_hours: float) -> str | None:
        """The bound that was reached, for a person."""
        if self.hours is not None and seconds >= self.hours * 3600:
            return f"the bound of {self.hours:g} hours was reached"
        if self.gpu_hours is not None and gpu_hours >= self.gpu_hours:
            return f"the bound of {self.gpu_hours:g} GPU-hours was reached"
        return None


class Session:
    """One run on one OUT. Ray starts only when a step has something to do that needs it."""

    def __init__(
        self,
        config: Config,
        storage: Storage,
        run: Run,
        lease: Lease,
        stack: ExitStack,
        steps: Sequence[Step] = (),
        needs: Sequence[Need] = (),
    ) -> None:
        self.config = config
        self.storage = storage
        self.run = run
        self._stack = stack
        self._on_ray: OnRay | None = None
        self._here: Here | None = None
        self._lease = lease
        self._bounds = Bounds()
        self._began = time.monotonic()
        self._step_began = self._began
        self._saved = self._began
        self._running: list[StepRecord] = []
        self.bound: str | None = None
        self._settings = settings_of(steps)
        # What the nodes are asked before the first pass, and what workers of each step take there.
        self._needs = tuple(needs)
        self._taken: dict[str, Resources] = {}

    @property
    def run_id(self) -> str:
        """The id of this run."""
        return self.run.run_id

    def _engine(self, plans: Iterable[Pass]) -> Engine:
        """Where passes run beside each other: light ones in processes of their own, where no Ray is there
        that this run is to use. All others on Ray.
        """
        ray = self.config.ray
        free = self._on_ray is None and cluster_address(ray.address) is None and not connected()
        if free and all(plan.resources.light for plan in plans):
            self._here = self._here or self._stack.enter_context(Here(ray.num_cpus))
            return self._here
        return self._connect()

    def _connect(self) -> Engine:
        ray = self.config.ray
        if self._on_ray is None:
            if self._here is not None:
                # The models that come now may need the memory.
                self._here.stop()
            logs = self._stack.enter_context(cluster(ray.address, ray.num_cpus))
            self._on_ray = OnRay(ray.grows_to)
            say(f"Ray is up; its own messages are in {logs}")
        if self._needs:
            needs, self._needs = self._needs, ()
            self._taken = check_on_nodes(needs, say, self.check, ray.grows_to)
        return self._on_ray

    def _as_taken(self, plan: Pass) -> Pass:
        """The pass with what its workers take on the nodes, which see models that the sender may not."""
        words = plan.step.split(" ")
        # Behind the name that the nodes were asked for stands the prompt of a caption step, or the round.
        names = (" ".join(words[:end]) for end in range(len(words), 0, -1))
        taken = next((self._taken[name] for name in names if name in self._taken), None)
        return replace(plan, resources=taken) if taken else plan

    def check(self) -> None:
        """Raise where the run must not go on."""
        self._lease.check()
        self.bound = self.bound or self._bounds.reached(time.monotonic() - self._began, self._gpu_hours())
        if self.bound is not None:
            raise BoundReached(self.bound)

    def _between(self) -> None:
        """Between the results of a pass."""
        now = time.monotonic()
        if now - self._saved >= SAVE_EVERY_S:
            self._saved = now
            self._clock()
            save(self.run, self.storage)
        self.check()

    def limit(self, bounds: "Bounds") -> None:
        """From now on steps end at these bounds; `bound` then says which one it was."""
        self._bounds = bounds

    def lift_limit(self) -> None:
        """The steps that follow run to their end."""
        self._bounds, self.bound = Bounds(), None

    def _clock(self) -> None:
        """Let the steps that are on know how long they have been."""
        for step in self._running:
            if step.ok + step.failed < step.rows:
                step.seconds = time.monotonic() - self._step_began

    def _gpu_hours(self) -> float:
        self._clock()
        return sum(step.gpus * step.seconds for step in self.run.steps) / 3600

    def redo_since(self, step: str) -> str:
        """The run from which on rows count as made anew: of this redo, or of the one that it continues."""
        settings = self._settings.get(step)
        if step not in self.run.made_with or differences(self.run.made_with[step], settings or {}):
            self.run.redo_since.pop(step, None)
        return self.run.redo_since.setdefault(step, self.run_id)

    def take(self, steps: Sequence[Step], choose: Callable[[Step], Todo]) -> list[StepRecord]:
        """Run steps of one group, side by side where there is room; choose: what this run does of a step.

        Each is planned when its turn comes: plans of many rows take memory.
        """

        def passes() -> Iterator[tuple[Pass, int]]:
            for step in steps:
                what = choose(step)
                yield step.work(self.storage, self.run_id, what.rows), what.skipped

        records = self.execute_all(passes())
        for step in steps:
            self._lease.check()
            if told := step.settle(self.storage, self.run_id):
                say(told)
        return records

    def execute(self, plan: Pass, skipped: int) -> StepRecord:
        """Run one pass and enter it into the run file, before it starts and when it ends."""
        return self.execute_all([(plan, skipped)])[0]

    def execute_all(self, passes: Iterable[tuple[Pass, int]]) -> list[StepRecord]:
        """Run passes (each with the number of rows that are skipped) in their order, side by side as long as
        the cluster has room for all the workers that they can use; one that fills it runs alone.
        """
        steps: list[StepRecord] = []
        beside: list[tuple[Pass, int]] = []
        for plan, skipped in passes:
            if beside and not self._room([*beside, (plan, skipped)]):
                steps += self._execute(beside)
                beside = []
            beside.append((plan, skipped))
            if not self._room(beside):
                # Now, and not when the next one has been planned: large plans take memory.
                steps += self._execute(beside)
                beside = []
        return steps + self._execute(beside)

    def _room(self, passes: list[tuple[Pass, int]]) -> bool:
        plans = [plan for plan, _ in passes if plan.rows.num_rows]
        if not plans or self.bound is not None:
            return True
        try:
            engine = self._engine(plans)
        except BoundReached:
            # The pass that comes next says so.
            return False
        return fit_together([self._as_taken(plan) for plan in plans], engine)

    def _execute(self, passes: list[tuple[Pass, int]]) -> list[StepRecord]:
        """Run passes side by side."""
        steps = [StepRecord(plan.step, rows=plan.rows.num_rows, skipped=skipped) for plan, skipped in passes]
        self.run.steps += steps
        for step in steps:
            if step.rows == 0:
                self.run.redo_since.pop(step.name, None)
        running = [(plan, step) for (plan, _), step in zip(passes, steps, strict=True) if step.rows]
        if not running:
            return steps
        self._step_began = time.monotonic()
        try:
            self.check()
            engine = self._engine(plan for plan, _ in running)
        except BoundReached:
            for _, step in running:
                step.left = step.rows
            return steps
        running = [(self._as_taken(plan), step) for plan, step in running]
        self._running = [step for _, step in running]
        names = [step.name for step in self._running]
        before = {name: self.run.made_with[name] for name in names if name in self.run.made_with}
        self.run.made_with |= {name: self._settings[name] for name in names if name in self._settings}
        # Before the passes, because a run that is killed must still show what settings it worked with.
        self.run.save(self.storage)
        try:
            run_passes(running, self.storage, self.run_id, self._between, engine)
            for name in names:
                self.run.redo_since.pop(name, None)
        except BoundReached as bound:
            for step in self._running:
                step.left = step.rows - step.ok - step.failed
                if step.left:
                    print(f"{step.name}: {bound}; {step.left} rows are left", file=sys.stderr)
                else:
                    self.run.redo_since.pop(step.name, None)
        finally:
            for step in self._running:
                if step.ok + step.failed + step.under_way == 0:
                    # It made no row and will make none: these settings bind nobody.
                    self.run.made_with.pop(step.name, None)
                    if step.name in before:
                        self.run.made_with[step.name] = before[step.name]
            self._running = []
            save(self.run, self.storage)
        return steps


def settings_of(steps: Sequence[Step]) -> dict[str, dict[str, Any]]:
    """The settings that decide what comes out of each step, by the step's name."""
    return {step.name: settings for step in steps if (settings := step.settings()) is not None}


@contextmanager
def session(
    config: Config,
    out: str,
    command: str,
    source: str | None,
    steps: Sequence[Step] = (),
    redo: bool = False,
    needs: Sequence[Need] = (),
    shown: dict[str, Any] | None = None,
) -> Iterator[Session]:
    """A run: takes the lease of OUT, keeps the run file, ends both whatever happens.

    steps: all that make rows of OUT by this configuration, also those that this run does not take; needs:
    what the nodes of the cluster are asked before the first pass, where this machine was not; shown: what the
    run file says of the configuration, for a run that makes no rows: that of an earlier run.

    Raises LeaseHeldError, and InputError where OUT holds rows of other settings and `redo` is not set.
    """
    storage = Storage(out, config.s3)
    storage.check()
    with ExitStack() as stack:
        # The lease is given back and the run file says what happened.
        stack.enter_context(ended_by_signals())
        lease = stack.enter_context(Lease(storage, command))
        committed.keep_index(storage)
        for folder in (*(table.name for table in EVERY), FOLDER, index.FOLDER, "report"):
            storage.sweep(folder, EXPIRES_S)
        storage.sweep("", EXPIRES_S, recursive=False)
        # Under the lease, so that no other run of this OUT can get the same id.
        run_id = new_run_id(storage, datetime.now(UTC))
        lease.carry(run_id)
        # Credentials of the configuration are SecretStr: they print as asterisks.
        shown = config.model_dump(mode="json") if shown is None else shown
        run = Run(run_id, command, source, shown, datetime.now(UTC).isoformat())
        for previous in load_runs(storage, last=1):
            if previous.get("outcome") != "done":
                # Its workers may still be there.
                fence(storage, previous["run_id"])
            run.made_with = previous.get("made_with", {})
            run.redo_since = previous.get("redo_since", {})
        if not redo:
            check_settings(run.made_with, run.redo_since, settings_of(steps))
        with kept(run, storage):
            yield Session(config, storage, run, lease, stack, steps, needs)


@contextmanager
def kept(run: Run, storage: Storage) -> Iterator[None]:
    """Keep the file of a run: it is there when the block begins, and says how the block ended."""
    try:
        # An interrupt right after the file is there has to change it too.
        run.save(storage)
        yield
    except BaseException as error:
        run.outcome = "failed"
        interrupt = interruption(error)
        run.error = str(interrupt or error) or ("interrupted" if interrupt else type(error).__name__)
        raise
    else:
        run.outcome = "done"
    finally:
        run.finished = datetime.now(UTC).isoformat()
        save(run, storage)


def save(run: Run, storage: Storage) -> None:
    """Write the file of a run that goes on whether that is possible or not."""
    try:
        run.save(storage)
    except EmoError as error:
        # What the run itself ended with matters more than that its file could not be written.
        print(f"emo: the run file could not be written: {error}", file=sys.stderr)
