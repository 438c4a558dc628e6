"""The night: what is new or changed, what failed for a passing reason, then order in OUT and a summary.

ingest  →  describe (one pass per expert)  →  extract   within the bounds on hours and GPU-hours
judge what is complete  →  compaction and retention  →  report  →  summary
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo import estimates
from emo.estimates import Planned
from emo.jobs.describe import DescribeStep
from emo.jobs.ingest import IngestStep, note_said
from emo.jobs.label import steps
from emo.jobs.split import dropped, pieces_manifest
from emo.nightly import retention, retries
from emo.report import write as report
from emo.report.rounds import RoundsReport
from emo.run.session import Bounds, Session
from emo.status import plan
from emo.step import Step, Todo, groups
from emo.store import committed, compaction, planning
from emo.store.compaction import Compacted
from emo.store.runs import StepRecord
from emo.store.storage import Storage
from emo.store.tables import CLIPS, DESCRIPTIONS, JUDGMENTS, RETRIES, REVIEWS, SEGMENTS, VOTES, Table


def run(session: Session, manifest: pa.Table) -> dict[str, Any]:
    """One night on an OUT; its summary (without outcome and exit code, which the caller decides)."""
    config, storage = session.config, session.storage
    note_said(storage, session.run_id, manifest)
    *before, judge = steps(config, manifest)
    planned = plan(storage, [*before, judge]).steps
    estimated = estimates.total(estimates.estimate(planned, config.prices))
    nightly = config.nightly
    session.limit(Bounds(nightly.max_hours, nightly.max_gpu_hours))
    again = _Retries(session)
    for group in groups(before):
        for step, record in zip(group, session.take(group, again.choose), strict=True):
            again.count(step, record)
    bound = session.bound
    # What was described tonight is judged tonight: without it a night of many would never show a label.
    session.lift_limit()
    session.take([judge], partial(_judge, storage, waiting=before if bound is not None else ()))
    compacted, notes = tidy(session, manifest)
    spent = estimates.spent([asdict(step) for step in session.run.steps], config.prices)
    page = report.write(
        storage,
        config.report.gallery,
        session.run,
        config.asked_in_rounds,
        only_if_changed=compacted.rows_dropped == 0,
    )
    if config.split.by is None and page.long_clips:
        notes.append(
            f"{page.long_clips} clips last over a minute and have one set of labels each; split.by cuts them"
        )
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
        "notes": [*notes, *page.alarms],
        "report": page.place,
        "rounds": _rounds(session, page.rounds, before, planned, bound),
    }


def _rounds(
    session: Session,
    told: RoundsReport | None,
    steps: Sequence[Step],
    planned: Sequence[Planned],
    bound: str | None,
) -> dict[str, Any] | None:
    """Answers of the night, beside how many were expected of it, and what rounds came to in OUT (`told`);
    None where nothing is asked in rounds.
    """
    if told is None:
        return None
    each = {step.name: len(step.answers) for step in steps if isinstance(step, DescribeStep)}
    expected = sum(one.rows * each.get(one.step, 0) for one in planned)
    given = sum((one.ok + one.failed) * each.get(one.name, 0) for one in session.run.steps)
    off_by = None if bound or not expected else given / expected
    return {"expected": expected, "answers": given, "off_by": off_by, "so_far": told.line()}


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

    def choose(self, step: Step) -> Todo:
        """What a night does of a step: what is new or changed, and what failed for a passing reason."""
        storage, run_id = self._session.storage, self._session.run_id
        given = step.given(storage)
        left = step.left(storage, given)
        # What changed is done anyway, and its earlier failures say nothing of it.
        failed = planning.not_in(step.failed(storage, given), left, step.key)
        tried, limit = retries.tried_before(storage, step.name), self._session.config.nightly.retries
        due = retries.due(committed.newest(failed, ("video_id",)), tried, limit)
        self.given_up += due.given_up
        if due.video_ids:
            # Before the step, so that a night that is killed counts.
            retries.note(storage, step.name, run_id, due)
        self._due[step.name] = due
        again = failed.filter(
            pc.is_in(failed.column("video_id"), value_set=pa.array(due.video_ids, pa.string()))
        )
        wanted = pa.concat_tables([rows.select(list(step.key)) for rows in (left, again)])
        # Of what failed only that, where a clip has good answers too.
        rows = planning.in_both(step.left(storage, given, retry=True), wanted, step.key)
        return Todo(rows, given.num_rows - rows.num_rows)

    def count(self, step: Step, record: StepRecord) -> None:
        """Count what a step reached of what was due."""
        due, run_id = self._due[step.name], self._session.run_id
        reached = set(due.video_ids)
        if due.video_ids and record.left:
            tonight = planning.of_run(step.made(self._session.storage), run_id)
            reached &= set(tonight.column("video_id").to_pylist())
            retries.note(self._session.storage, step.name, run_id, due, only=reached)
        self.retried += len(reached)


def _judge(storage: Storage, judge: Step, waiting: Sequence[Step]) -> Todo:
    """What is left to judge, but for the clips that a step of `waiting` has still to do."""
    given = judge.given(storage)
    rows = judge.left(storage, given)
    for step in waiting:
        if not isinstance(step, IngestStep):
            rows = planning.not_in(rows, step.left(storage, step.given(storage)), CLIPS.key)
    return Todo(rows, given.num_rows - rows.num_rows)


def tidy(session: Session, manifest: pa.Table) -> tuple[Compacted, list[str]]:
    """Compaction of every table and the retention rules; what was done and what a person should know."""
    config, storage = session.config, session.storage
    notes: list[str] = []
    drop: list[str] = []
    pieces: list[str] = []
    if config.retention.gone == "drop":
        clips = committed.read_newest(storage, committed.folder(CLIPS), CLIPS, [])
        splits = config.split.by is not None
        drop, note = retention.gone(pieces_manifest(storage, manifest) if splits else manifest, clips)
        if note:
            notes.append(note)
        elif splits:
            pieces, superseded = dropped(storage, manifest)
            drop += superseded
    parts = []
    # Clips last: which clips are gone is seen from them, also when a night is killed in the middle of this.
    for table, where in [*_folders(storage), (RETRIES, RETRIES.name), (CLIPS, CLIPS.name)]:
        done = compaction.compact(
            storage,
            where,
            table,
            session.run_id,
            target_bytes=config.nightly.compact_mib * 1024 * 1024,
            drop=pieces if table is SEGMENTS else drop,
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
    tables = (JUDGMENTS, VOTES, DESCRIPTIONS, REVIEWS, SEGMENTS)
    return [(table, where) for table in tables for where in committed.folders(storage, table)]


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
    empty = dict.fromkeys(("estimated", "spent", "off_by", "currency", "compacted", "rounds"))
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
