"""What runs in a worker of a pass: rows in, a committed shard and a line of counts out.

No row ends a run: one for which a worker raises what nobody foresaw is a failed row, and the rows beside it
are done without it.
"""

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from emo.aligned import ENDINGS, UNEXPECTED, row_failure
from emo.errors import EmoError, RowError, one_line
from emo.machine import DeviceLostError, raise_fault_of_machine
from emo.run.attempts import Watch
from emo.step import Pass
from emo.store import committed, fences
from emo.store.s3 import use_s3
from emo.store.storage import Storage
from emo.store.tables import FAILED, OK, Table
from emo.terminal.logs import log, log_failures

# A column of rows that could not be read: why.
_UNREAD = "unread"


@dataclass(frozen=True)
class Reading:
    """The reader of a pass, for which a row that breaks it costs only itself."""

    read: Callable[[pa.Table], pa.Table]

    def __call__(self, rows: pa.Table) -> pa.Table:
        try:
            return self.read(rows)
        except EmoError:
            raise
        except Exception as error:
            raise_fault_of_machine(error)
            if rows.num_rows > 1:
                parts = [self(row) for row in _each(rows)]
                return pa.concat_tables(parts, promote_options="default")
            return rows.append_column(_UNREAD, pa.array([one_line(error)], pa.string()))


class Committing:
    """A worker of the pass with what every worker has in common: attempts, commit, counts, and that no row
    ends a run.
    """

    def __init__(self, plan: Pass, storage: Storage, run_id: str, watch: Watch, this_pass: str) -> None:
        self._plan = plan
        self._storage = storage
        self._run_id = run_id
        self._watch = watch
        self._pass = this_pass
        self._broken: str | None = None
        use_s3(storage.s3)
        watch.arrive(this_pass)
        try:
            self._worker = plan.worker()
            watch.load(this_pass)
        except ENDINGS:
            raise
        except BaseException as error:
            # An error here would make the engine try again and then print its own stack; the first shard
            # reports it instead.
            self._broken = one_line(error)

    def __call__(self, rows: pa.Table) -> pa.Table:
        if self._broken is not None:
            return _counts(self._pass, stop=self._broken)
        key = self._plan.key
        shard = _shard_name(self._run_id, rows, key)
        if not self._watch.start(self._pass, shard):
            return _counts(self._pass)
        began = time.monotonic()
        try:
            result = self._made(rows)
            files = commit(self._storage, self._plan.table, self._run_id, result)
        except DeviceLostError as error:
            # All that this process would still do would fail. A new one tries the rows again.
            log("device_lost", run_id=self._run_id, step=self._plan.step, error=str(error))
            os._exit(1)
        except EmoError as error:
            return _counts(self._pass, stop=one_line(error))
        finally:
            self._watch.finish(self._pass, shard)
        outcome = outcome_of(result, key)
        failed = result.filter(pc.equal(result.column("status"), FAILED))
        log_failures(failed, self._plan.step, self._run_id)
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

    def _made(self, rows: pa.Table) -> pa.Table:
        """Rows of the table for rows of a shard; raises EmoError for what is no row's fault."""
        if _UNREAD not in rows.column_names:
            return self._answered(rows)
        unread = rows.filter(pc.is_valid(rows.column(_UNREAD)))
        read = rows.filter(pc.is_null(rows.column(_UNREAD))).drop_columns(_UNREAD)
        parts = [
            self._failed(row, RowError(UNEXPECTED, row.column(_UNREAD)[0].as_py())) for row in _each(unread)
        ]
        return pa.concat_tables([*parts, *([self._answered(read)] if read.num_rows else [])])

    def _answered(self, rows: pa.Table) -> pa.Table:
        """What the worker makes of the rows; where it raises, each is tried alone and may fail alone."""
        try:
            return self._worker(rows).cast(self._plan.table.schema)
        except BaseException as error:
            if isinstance(error, EmoError) and not isinstance(error, RowError):
                raise
            if not isinstance(error, ENDINGS):
                # Whatever it is: a shard that is too large for the machine is not the fault of its rows.
                raise_fault_of_machine(error)
            failure = row_failure(error)
        if rows.num_rows == 1:
            return self._failed(rows, failure)
        return pa.concat_tables([self._answered(row) for row in _each(rows)])

    def _failed(self, rows: pa.Table, failure: RowError) -> pa.Table:
        return self._plan.failed(rows, failure).cast(self._plan.table.schema)


@dataclass(frozen=True)
class Sharing:
    """A light pass, a task per shard: read, made and committed in a process that the tasks of the run share.

    Each process makes its worker once. A process takes longer to start than most light passes take.
    """

    plan: Pass
    storage: Storage
    run_id: str
    watch: Watch
    this_pass: str

    def __call__(self, rows: pa.Table) -> pa.Table:
        if self.plan.read is not None:
            rows = Reading(self.plan.read)(rows)
        if self.this_pass not in _shared:
            # Of two passes side by side each process may do both in turn.
            while len(_shared) > 1:
                del _shared[next(iter(_shared))]
            _shared[self.this_pass] = Committing(
                self.plan, self.storage, self.run_id, self.watch, self.this_pass
            )
        return _shared[self.this_pass](rows)


# The workers of light passes in this process, by pass.
_shared: dict[str, Committing] = {}


def _each(rows: pa.Table) -> Iterator[pa.Table]:
    return committed.batched(rows, 1)


class Outcome(NamedTuple):
    ok: int
    failed: int
    codes: dict[str, int]
    empty: int


def outcome_of(result: pa.Table, key: tuple[str, ...]) -> Outcome:
    """By key: an expert that answers five times per clip has done one clip, not five."""
    every = result.group_by(list(key)).aggregate([])
    failed = result.filter(pc.equal(result.column("status"), FAILED))
    failed_keys = failed.group_by(list(key)).aggregate([("error", "min")])
    codes = dict(Counter(failed_keys.column("error_min").to_pylist()))
    return Outcome(
        every.num_rows - failed_keys.num_rows, failed_keys.num_rows, codes, _without_labels(result)
    )


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


def commit(storage: Storage, table: Table, run_id: str, rows: pa.Table) -> list[str]:
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
