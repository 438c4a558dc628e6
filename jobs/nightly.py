"""The night: what is new or changed, what failed for a passing reason, then order in OUT and a summary.

ingest  →  describe (one pass per expert)  →  extract   within the bounds on hours and GPU-hours
judge what is complete  →  compaction and retention  →  report  →  summary
"""

import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo import committed, compaction, estimates, planning
from emo.compaction import Compacted
from emo.nightly import retention, retries
from emo.paths import split
from emo.runs import Step
from emo.storage import Storage
from emo.tables import CLIPS, DESCRIPTIONS, JUDGMENTS, OK, RETRIES, VOTES, Table
from jobs import describe, extract, ingest, judge, report, status
from jobs.passes import Pass
from jobs.session import Bounds, Session


def run(session: Session, manifest: pa.Table) -> dict[str, Any]:
    """One night on an OUT; its summary (without outcome and exit code, which the caller decides)."""
    config, storage = session.config, session.storage
    before = status.plan(storage, config, manifest)
    estimated = estimates.total(status.estimate(storage, config, before))
    nightly = config.nightly
    session.limit(Bounds(nightly.max_hours, nightly.max_gpu_hours))
    again = _Retries(session)
    _ingest(session, manifest, again)
    names = [expert["name"] for expert in config.experts]
    _describe(session, names, again)
    _extract(session, names, again)
    bound = session.bound
    # What was described tonight is judged tonight: without it a night of many would never show a label.
    session.lift_limit()
    _judge(session, names, complete_only=bound is not None)
    compacted, notes = tidy(session, manifest)
    spent = estimates.spent([asdict(step) for step in session.run.steps], config.prices)
    return {
        "bound": bound,
        "retried": again.retried,
        "given_up": again.given_up,
        "retry_limit": nightly.retries,
        "estimated": estimated,
        "spent": spent,
        # Where the bound came first, the estimate was of more than was done.
        "off_by": None if bound else _ratio(spent, estimated),
        "currency": config.prices.currency,
        "compacted": asdict(compacted),
        "notes": notes,
        "report": report.write(session, only_if_changed=compacted.rows_dropped == 0),
    }


def _ratio(spent: dict[str, float], estimated: dict[str, float]) -> float | None:
    """Spent over estimated: GPU-hours where any were expected, else CPU-hours."""
    unit = "gpu_hours" if estimated["gpu_hours"] else "cpu_hours"
    return spent[unit] / estimated[unit] if estimated[unit] else None


class _Retries:
    """What a night tries again, step by step."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._due: dict[str, retries.Due] = {}
        self.retried = 0
        self.given_up = 0

    def due(self, step: str, failed: pa.Table) -> pa.Array:
        """The ids to try again of the failed rows of a step (video_id, error, run_id), written down."""
        storage, limit = self._session.storage, self._session.config.nightly.retries
        due = retries.due(failed, retries.tried_before(storage, step), limit)
        self.given_up += due.given_up
        if due.video_ids:
            retries.note(storage, step, self._session.run_id, due)
        self._due[step] = due
        return pa.array(due.video_ids, pa.string())

    def count(self, step: Step, done: Callable[[], pa.Table]) -> None:
        """Count what a step reached of what was due; done: reads the newest rows of the step's table."""
        due, run_id = self._due[step.name], self._session.run_id
        reached = set(due.video_ids)
        if due.video_ids and step.left:
            rows = done()
            tonight = rows.filter(pc.equal(rows.column("run_id"), run_id))
            reached &= set(tonight.column("video_id").to_pylist())
            retries.note(self._session.storage, step.name, run_id, due, only=reached)
        self.retried += len(reached)


def _failed(storage: Storage, table: Table, expert: str | None = None) -> pa.Table:
    rows = committed.read_newest(storage, committed.folder(table, expert), table, ["status", "error"])
    return committed.newest(planning.failed_rows(rows), ("video_id",))


def _with(rows: pa.Table, everything: pa.Table, again: pa.Array) -> pa.Table:
    """The rows to do and those to try again, in the order of `everything`."""
    ids = pa.concat_arrays([rows.column("video_id").combine_chunks(), again])
    return everything.filter(pc.is_in(everything.column("video_id"), value_set=ids))


def _ingest(session: Session, manifest: pa.Table, again: _Retries) -> None:
    storage = session.storage
    todo = ingest.left_to_do(storage, manifest)
    # A clip that has left the source cannot be tried again.
    failed = planning.in_both(_failed(storage, CLIPS), manifest, CLIPS.key)
    # One whose file changed is done anyway, and its earlier failures say nothing of it.
    failed = planning.not_in(failed, todo, CLIPS.key)
    rows = _with(todo, manifest, again.due("ingest", failed))
    step = ingest.run(session, rows, manifest.num_rows - rows.num_rows)
    again.count(step, lambda: committed.read_newest(storage, CLIPS.name, CLIPS, []))


def _describe(session: Session, names: list[str], again: _Retries) -> None:
    storage = session.storage

    def passes() -> Iterator[tuple[Pass, int]]:
        for name in names:
            clips = describe.ingested(storage)
            todo = describe.left_to_do(storage, clips, name)
            failed = planning.in_both(_failed(storage, DESCRIPTIONS, name), clips, CLIPS.key)
            failed = planning.not_in(failed, todo, CLIPS.key)
            rows = _with(todo, clips, again.due(f"describe {name}", failed))
            plan = describe.plan(session, session.config.expert(name), rows)
            yield plan, clips.num_rows - rows.num_rows

    for name, step in zip(names, session.execute_all(passes()), strict=True):
        again.count(step, functools.partial(describe.described, storage, name))


def _extract(session: Session, names: list[str], again: _Retries) -> None:
    storage = session.storage
    texts = extract.described(storage, names)
    usable = texts.filter(pc.equal(texts.column("status"), OK))
    votes = pa.concat_tables(
        committed.read_newest(storage, committed.folder(VOTES, name), VOTES, ["status", "error"])
        for name in names
    )
    # A vote that failed because its description did is the describing expert's failure.
    todo = extract.left_to_do(storage, texts)
    own = planning.in_both(planning.failed_rows(votes), usable, VOTES.key)
    own = planning.not_in(own, todo, VOTES.key)
    ids = again.due("extract", committed.newest(own, ("video_id",)))
    mine = own.filter(pc.is_in(own.column("video_id"), value_set=ids))
    rows = pa.concat_tables([todo, planning.in_both(usable, mine, VOTES.key)])
    step = extract.run(session, rows, texts.num_rows - rows.num_rows)
    again.count(step, lambda: committed.read_newest(storage, VOTES.name, VOTES, []))


def _judge(session: Session, names: list[str], complete_only: bool) -> None:
    """Judge what is left; complete_only: not the clips that an expert has still to describe."""
    storage = session.storage
    found = judge.inputs(storage, names, session.config.judge)
    rows = judge.left_to_do(storage, found)
    if complete_only:
        clips = describe.ingested(storage)
        waiting = [describe.left_to_do(storage, clips, name) for name in names]
        waiting.append(extract.left_to_do(storage, extract.described(storage, names)))
        for left in waiting:
            rows = planning.not_in(rows, left, CLIPS.key)
    judge.run(session, rows, found.rows.num_rows - rows.num_rows, found)


def tidy(session: Session, manifest: pa.Table) -> tuple[Compacted, list[str]]:
    """Compaction of every table and the retention rules; what was done and what a person should know."""
    config, storage = session.config, session.storage
    notes: list[str] = []
    drop: list[str] = []
    if config.retention.gone == "drop":
        clips = committed.read_newest(storage, committed.folder(CLIPS), CLIPS, [])
        drop, note = retention.gone(manifest, clips)
        if note:
            notes.append(note)
    parts = []
    # Clips last: which clips are gone is seen from them, also when a night is killed in the middle of this.
    for table, where in [*_folders(storage), (RETRIES, RETRIES.name), (CLIPS, CLIPS.name)]:
        done = compaction.compact(
            storage,
            where,
            table,
            session.run_id,
            target_bytes=config.nightly.compact_mib * 1024 * 1024,
            drop=drop,
            check=session.check,
        )
        parts.append(done)
        if done.files_after != done.files_before:
            print(f"{where}: {done.files_before} files merged into {done.files_after}", file=sys.stderr)
    if config.retention.runs_days is not None:
        retention.prune_runs(storage, config.retention.runs_days, datetime.now(UTC))
    if drop:
        notes.append(f"{len(drop)} clips have left the source and were removed from the tables")
    return Compacted(*(sum(getattr(p, f) for p in parts) for f in Compacted.__dataclass_fields__)), notes


def _folders(storage: Storage) -> list[tuple[Table, str]]:
    """Every folder with files of a table, of experts too that the configuration no longer names."""
    found: list[tuple[Table, str]] = []
    for table in (JUDGMENTS, VOTES, DESCRIPTIONS):
        folders = {split(path)[0] for path in committed.files(storage, table.name)}
        found += [(table, folder) for folder in sorted(folders)]
    return found


def summary(session: Session, night: dict[str, Any], outcome: str, exit_code: int) -> dict[str, Any]:
    """The whole summary of a night that ended in any way."""
    run = session.run
    nothing: dict[str, Any] = {
        "bound": session.bound,
        "retried": 0,
        "given_up": 0,
        "retry_limit": 0,
        "notes": [],
        "report": None,
    }
    empty = dict.fromkeys(("estimated", "spent", "off_by", "currency", "compacted"))
    return {
        "run_id": run.run_id,
        "source": run.source,
        "out": session.storage.url,
        "started": run.started,
        "finished": datetime.now(UTC).isoformat(),
        "outcome": outcome,
        "exit_code": exit_code,
        "error": run.error,
        "steps": [asdict(step) for step in run.steps],
        **nothing,
        **empty,
        **night,
    }


if __name__ == "__main__":
    from emo.cli import main

    sys.exit(main(["nightly", *sys.argv[1:]]))
