"""Passes of a job over what is left to do: shards out to a pool of workers, results committed by them.

A worker commits what it made and returns a line of counts, so clips never travel through the engine's
object store and a shard is visible or not, as a whole. What a pass did not commit (a worker died of it) is
tried again one row at a time; what is then still missing is committed as failed.

Several passes may run side by side, each with a pool and shards of its own: to the engine they are branches
of one graph, so that whatever stops one of them stops them all.
"""

import hashlib
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from emo import committed, fences, planning
from emo.config import GrowsTo
from emo.errors import EmoError, RowError, one_line
from emo.experts.protocol import Resources
from emo.logs import log_failures
from emo.progress import Progress
from emo.runs import Step
from emo.storage import Storage, use_s3
from emo.tables import FAILED, OK, Table
from jobs.attempts import ATTEMPTS, attempts_of_connection
from jobs.metrics import PassMetrics
from jobs.waiting import told


class BoundReached(EmoError):
    """A bound on hours or GPU-hours: the pass ends between shards, those under way are committed first."""


class Worker(Protocol):
    """Made once per worker process; called with the rows of a shard, returns rows of the pass's table."""

    def __call__(self, rows: pa.Table) -> pa.Table: ...


@dataclass(frozen=True)
class Pass:
    """What a pass needs to know.

    rows: what is left to do, told apart by the columns `key`; where: the folder that the results go to;
    worker: makes a Worker inside the worker process; read: runs ahead of the workers and turns the rows of a
    shard into what the worker wants (large columns); failed: rows of the table for rows that no worker
    survived.
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


def status_columns(run_id: str, errors: list[RowError | None]) -> dict[str, list[Any]]:
    """The columns that every table with a status has."""
    return {
        "status": [FAILED if error else OK for error in errors],
        "error": [error.code if error else None for error in errors],
        "error_message": [error.message if error else None for error in errors],
        "run_id": [run_id] * len(errors),
    }


def fit_together(plans: Sequence[Pass], grows_to: GrowsTo | None = None) -> bool:
    """Whether the cluster has room for all the workers that these passes can use, beside each other."""
    nodes = _nodes(grows_to)
    pools = []
    for plan in plans:
        rows = plan.rows.num_rows
        pools.append((_held(plan, nodes), planning.pool_size(rows, plan.workers or rows, plan.shard_rows)))
    return planning.fit_together(nodes, pools)


def run_passes(
    passes: Sequence[tuple[Pass, Step]],
    storage: Storage,
    run_id: str,
    stop: Callable[[], None],
    grows_to: GrowsTo | None = None,
) -> None:
    """Run passes side by side to their end, counting in the step of each; raises EmoError where one cannot
    go on, and ends the others.

    stop: called between results; raises to end the passes early. What was committed stays. grows_to: what an
    autoscaling cluster can become; workers that do not fit yet start as its nodes come.
    """
    nodes = _nodes(grows_to)
    running = [_begin(plan, step, nodes, alone=len(passes) == 1) for plan, step in passes]
    try:
        parts = []
        for one in running:
            rows, shard_rows = one.plan.rows.num_rows, one.plan.shard_rows
            size = planning.shard_size(rows, one.workers, shard_rows)
            shards = list(committed.batched(one.plan.rows, size))
            most = planning.pool_size(rows, one.plan.workers or len(shards), shard_rows)
            parts.append(_Part(one, shards, one.workers, most))
        _run_shards(parts, storage, run_id, stop)
        parts = []
        for one in running:
            missing = _missing(one, storage, run_id)
            if missing.num_rows:
                one.progress.note(f"{missing.num_rows} rows were lost with their worker; trying each alone")
                PassMetrics(one.plan.step).retried(missing.num_rows)
                few = min(one.workers, missing.num_rows)
                parts.append(_Part(one, list(committed.batched(missing, 1)), few, few))
        if parts:
            _run_shards(parts, storage, run_id, stop)
        for part in parts:
            one = part.of
            missing = _missing(one, storage, run_id)
            if missing.num_rows:
                error = RowError("worker_died", f"the worker died {ATTEMPTS} times on this row alone")
                one.files += _commit(storage, one.plan.table, run_id, one.plan.failed(missing, error))
                one.await_listed(storage)
                one.count(0, missing.num_rows, {error.code: missing.num_rows})
    finally:
        for one in running:
            with suppress(EmoError, OSError):  # what ended the passes matters more
                one.count_again(storage, run_id)
            one.end()


@dataclass
class _Running:
    """A pass that is on, as this cluster can run it."""

    plan: Pass
    step: Step
    workers: int
    progress: Progress
    ended: bool = False
    # Of counted shards, until a listing has shown them.
    files: list[str] = field(default_factory=list)

    def count(self, ok: int, failed: int, codes: dict[str, int]) -> None:
        self.step.ok += ok
        self.step.failed += failed
        self.step.error_codes = dict(Counter(self.step.error_codes) + Counter(codes))
        self.progress.add(ok, failed)
        if self.left() <= 0:
            self.end()

    def count_again(self, storage: Storage, run_id: str) -> None:
        """Count by the table what was committed by a worker that then died, or had not answered yet."""
        if self.left() <= 0:
            return
        plan = self.plan
        columns = ["status", "error", *(["labels"] if "labels" in plan.table.schema.names else [])]
        done = planning.of_run(committed.read_newest(storage, plan.where, plan.table, columns), run_id)
        outcome = _outcome(planning.in_both(done, plan.rows, plan.key), plan.key)
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


@dataclass
class _Part:
    """Shards of a pass that go through its pool in one go.

    workers: that are there; most: so many there may be where nodes join meanwhile.
    """

    of: _Running
    shards: list[pa.Table]
    workers: int
    most: int
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    # Shards whose counts have arrived.
    counted: int = 0


def _nodes(grows_to: GrowsTo | None) -> list[Mapping[str, float]]:
    """What each node of the cluster has."""
    import ray

    if grows_to is not None:
        # Asked for more workers than fit today, Ray asks its autoscaler for nodes. Their shapes only the
        # autoscaler knows, so they count as one.
        return [{"CPU": float(grows_to.cpus), "GPU": float(grows_to.gpus)}]
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _held(plan: Pass, nodes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What a worker of the pass holds on this cluster."""
    # CPUs are counted for preparing inputs beside the model: with fewer it is slower, not impossible.
    cpus = min(plan.resources.cpus, max((node.get("CPU", 0.0) for node in nodes), default=0.0))
    return {"CPU": cpus, "GPU": plan.resources.gpus}


def _begin(plan: Pass, step: Step, nodes: Sequence[Mapping[str, float]], alone: bool) -> _Running:
    held = _held(plan, nodes)
    most = planning.workers_that_fit(nodes, held)
    if most < 1 or held["CPU"] <= 0:
        total = {name: sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU")}
        raise EmoError(
            f"{plan.step}: a worker needs {plan.resources.cpus:g} CPUs and {plan.resources.gpus:g} GPUs on "
            f"one node; the cluster has {total['CPU']:g} CPUs and {total['GPU']:g} GPUs on {len(nodes)} nodes"
        )
    workers = planning.pool_size(plan.rows.num_rows, min(plan.workers or most, most), plan.shard_rows)
    step.workers = workers
    step.cpus, step.gpus = workers * held["CPU"], workers * held["GPU"]
    plan = replace(plan, resources=replace(plan.resources, cpus=held["CPU"]))
    return _Running(plan, step, workers, Progress(plan.step, plan.rows.num_rows, bar=alone))


def _run_shards(parts: list[_Part], storage: Storage, run_id: str, stop: Callable[[], None]) -> None:
    """read → map (and commit) → counts, one block per shard."""
    import ray

    attempts = attempts_of_connection()
    branches = [_branch(part, storage, run_id, attempts) for part in parts]
    done = branches[0].union(*branches[1:]) if len(branches) > 1 else branches[0]
    by_name = {part.name: part for part in parts}
    metrics = {part.name: PassMetrics(part.of.plan.step) for part in parts}
    ending: BoundReached | None = None
    whole = False
    results = iter(done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
    try:
        with ExitStack() as stack:
            first_result = {part.name: stack.enter_context(_told(part, attempts)) for part in parts}
            for batch in results:
                for counts in batch.to_pylist():
                    part = by_name[counts["of_pass"]]
                    first_result[part.name].set()
                    if counts["stop"]:
                        whose = f"{part.of.plan.step}: " if len(parts) > 1 else ""
                        raise EmoError(f"{whose}{counts['stop']}")
                    codes = dict(zip(counts["codes"], counts["code_counts"], strict=True))
                    part.of.count(counts["ok"], counts["failed"], codes)
                    part.of.step.empty += counts["empty"]
                    part.of.files += counts["files"]
                    part.counted += counts["ok"] + counts["failed"] > 0
                    metrics[part.name].shard(counts)
                    metrics[part.name].waiting(part.of.left())
                if ending is None:
                    try:
                        stop()
                    except BoundReached as bound:
                        ending = bound
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
        for part in parts:
            attempts.close.remote(part.name)


def _note_under_way(parts: list[_Part], attempts: Any) -> None:
    """Start no other shard of passes that are cut short, and note how many may still be committed."""
    import ray

    try:
        states = ray.get([attempts.end.remote(part.name) for part in parts], timeout=10)
    except ray.exceptions.RayError:
        # Nobody is left to say so: there may be one.
        states = [(1, 0)] * len(parts)
    for part, (under_way, _) in zip(parts, states, strict=True):
        part.of.step.under_way += under_way


def _told(part: _Part, attempts: Any) -> AbstractContextManager[threading.Event]:
    # A step with a model is named after its expert.
    what = part.of.plan.step.partition(" ")[2] or "what it needs"
    return told(part.of.progress, what, part.of.plan.resources, lambda: attempts.workers.remote(part.name))


def _branch(part: _Part, storage: Storage, run_id: str, attempts: Any) -> Any:
    """The shards of a part through its readers and workers, to counts: a data set that nothing runs yet."""
    import ray
    from ray.data import ActorPoolStrategy, TaskPoolStrategy

    plan = part.of.plan
    # A block, a task and a commit per shard; readers would merge small files, and `from_arrow` would first
    # start a process to measure the blocks.
    shards_out = ray.data.from_blocks(part.shards)
    if plan.read is not None:
        # No CPU of its own: the workers may hold all there are, and a read would wait for one for ever. So
        # nothing else bounds how many processes read at once.
        shards_out = shards_out.map_batches(
            plan.read,
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
            num_cpus=0,
            compute=TaskPoolStrategy(size=part.workers * (2 if plan.resources.gpus else 1)),
        )
    return shards_out.map_batches(
        _Committing,
        fn_constructor_args=(
            plan.worker,
            plan.step,
            plan.table,
            plan.key,
            storage,
            run_id,
            attempts,
            part.name,
        ),
        # The rows of a shard: for workers with a GPU the engine insists on a number.
        batch_size=max(shard.num_rows for shard in part.shards),
        batch_format="pyarrow",
        zero_copy_batch=True,
        compute=ActorPoolStrategy(min_size=part.workers, max_size=max(part.workers, part.most)),
        num_cpus=plan.resources.cpus,
        num_gpus=plan.resources.gpus,
    )


def _wait_for_readers() -> None:
    """Wait for the threads in which Ray Data reads results: closing its iterator does not.

    One that still asks Ray for a block when the connection has been closed ends the whole process.
    """
    for thread in threading.enumerate():
        if thread.name == "iter_threaded" or thread.name.startswith("StreamingExecutor"):
            thread.join(timeout=60)


class _Committing:
    """A worker of the pass with what every worker has in common: attempts, commit, counts."""

    def __init__(
        self,
        make: Callable[[], Worker],
        step: str,
        table: Table,
        key: tuple[str, ...],
        storage: Storage,
        run_id: str,
        attempts: Any,
        this_pass: str,
    ) -> None:
        self._table = table
        self._key = key
        self._storage = storage
        self._run_id = run_id
        self._attempts = attempts
        self._pass = this_pass
        self._step = step
        self._broken: str | None = None
        use_s3(storage.s3)
        attempts.arrive.remote(this_pass)
        try:
            self._worker = make()
            attempts.load.remote(this_pass)
        except Exception as error:
            # An error here would make the engine try again and then print its own stack; the first shard
            # reports it instead.
            self._broken = one_line(error)

    def __call__(self, rows: pa.Table) -> pa.Table:
        import ray

        if self._broken is not None:
            return _counts(self._pass, stop=self._broken)
        shard = _shard_name(self._run_id, rows, self._key)
        if not ray.get(self._attempts.start.remote(self._pass, shard)):
            return _counts(self._pass)
        began = time.monotonic()
        try:
            result = self._worker(rows)
            files = _commit(self._storage, self._table, self._run_id, result)
        except EmoError as error:
            return _counts(self._pass, stop=one_line(error))
        finally:
            ray.get(self._attempts.finish.remote(self._pass, shard))
        outcome = _outcome(result, self._key)
        log_failures(result.filter(pc.equal(result.column("status"), FAILED)), self._step, self._run_id)
        return _counts(
            self._pass,
            ok=outcome.ok,
            failed=outcome.failed,
            codes=outcome.codes,
            empty=outcome.empty,
            seconds=time.monotonic() - began,
            prompt_tokens=_tokens(result, "prompt_tokens"),
            output_tokens=_tokens(result, "output_tokens"),
            files=files,
        )


class _Outcome(NamedTuple):
    ok: int
    failed: int
    codes: dict[str, int]
    empty: int


def _outcome(result: pa.Table, key: tuple[str, ...]) -> _Outcome:
    """By key: an expert that answers five times per clip has done one clip, not five."""
    every = result.group_by(list(key)).aggregate([])
    failed = result.filter(pc.equal(result.column("status"), FAILED))
    failed_keys = failed.group_by(list(key)).aggregate([("error", "min")])
    codes = dict(Counter(failed_keys.column("error_min").to_pylist()))
    return _Outcome(
        every.num_rows - failed_keys.num_rows, failed_keys.num_rows, codes, _without_labels(result)
    )


def _root(error: Exception) -> str:
    """What happened in a worker, in one line, rather than what the engine says of it."""
    # The engine wraps the error, and of what it wrapped only the printed stack arrives here.
    printed, _, rest = str(error).partition("\n\nThe above exception was the direct cause of")
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    return lines[-1] if rest and lines else one_line(getattr(error, "cause", None) or error)


def _without_labels(result: pa.Table) -> int:
    if "labels" not in result.column_names:
        return 0
    ok = result.filter(pc.equal(result.column("status"), OK))
    return int(pc.sum(pc.equal(pc.list_value_length(ok.column("labels")), 0)).as_py() or 0)


def _tokens(result: pa.Table, column: str) -> int:
    return int(pc.sum(result.column(column)).as_py() or 0) if column in result.column_names else 0


def _counts(
    of_pass: str,
    ok: int = 0,
    failed: int = 0,
    codes: dict[str, int] | None = None,
    empty: int = 0,
    stop: str = "",
    seconds: float = 0.0,
    prompt_tokens: int = 0,
    output_tokens: int = 0,
    files: Sequence[str] = (),
) -> pa.Table:
    codes = codes or {}
    return pa.table(
        {
            "of_pass": [of_pass],
            "ok": [ok],
            "failed": [failed],
            "empty": [empty],
            "seconds": [seconds],
            "prompt_tokens": [prompt_tokens],
            "output_tokens": [output_tokens],
            "codes": pa.array([list(codes)], pa.list_(pa.string())),
            "code_counts": pa.array([list(codes.values())], pa.list_(pa.int64())),
            "files": pa.array([list(files)], pa.list_(pa.string())),
            "stop": [stop],
        }
    )


def _shard_name(run_id: str, rows: pa.Table, key: tuple[str, ...]) -> str:
    """A name that the same rows always get: a task that is repeated replaces its own file."""
    digest = hashlib.sha256()
    for name in key:
        digest.update("\0".join(map(str, rows.column(name).to_pylist())).encode())
        digest.update(b"\1")
    return f"{run_id}-{digest.hexdigest()[:16]}"


def _commit(storage: Storage, table: Table, run_id: str, rows: pa.Table) -> list[str]:
    """Commit rows, a file per expert where the table has experts; the files. Raises StorageError, and commits
    nothing, where another run has taken the place of this one.
    """
    parts = [(committed.folder(table), rows)]
    if "expert" in table.key:
        parts = [
            (committed.folder(table, expert), rows.filter(pc.equal(rows.column("expert"), expert)))
            for expert in pc.unique(rows.column("expert")).to_pylist()
        ]
    files = []
    for where, part in parts:
        fences.check(storage, run_id)
        name = _shard_name(run_id, part, table.key)
        files.append(committed.commit(storage, where, table, name, part))
    return files


def _missing(one: _Running, storage: Storage, run_id: str) -> pa.Table:
    """Rows of the pass that this run did not commit, by the table itself."""
    plan = one.plan
    if one.left() <= 0:
        return plan.rows.slice(0, 0)
    done = committed.read_newest(storage, plan.where, plan.table, [])
    return planning.not_in_run(plan.rows, done, run_id, plan.key)
