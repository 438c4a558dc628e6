"""videos → judgments: all steps of a labelling run, in order.

ingest  →  describe (one pass per expert, side by side where there is room)  →  extract  →  judge
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from emo.config import Config
from emo.jobs.describe import DescribeStep
from emo.jobs.extract import ExtractStep
from emo.jobs.ingest import IngestStep, failed_before
from emo.jobs.judge import JudgeStep
from emo.run.session import Session
from emo.step import Mode, Step, groups, todo
from emo.store.runs import StepRecord, load_runs
from emo.store.tables import FAILED


def steps(config: Config, manifest: pa.Table | None = None) -> list[Step]:
    """The steps of a labelling run, in their order; without a manifest there is nothing new to ingest."""
    return [
        IngestStep(config.ingest, config.s3, manifest),
        *(DescribeStep(expert) for expert in config.experts),
        ExtractStep(config.extract, config.experts),
        JudgeStep(config.judge, [expert["name"] for expert in config.experts]),
    ]


def run(session: Session, steps: Sequence[Step], mode: Mode) -> list[StepRecord]:
    """Take these steps one group after the other; what each did."""
    return [
        record
        for group in groups(steps)
        for record in session.take(group, lambda step: todo(step, session.storage, mode, session.redo_since))
    ]


def label(session: Session, manifest: pa.Table, redo: bool = False) -> list[StepRecord]:
    """Label what is new or changed in a manifest (redo: all of it); the steps that it took."""
    only = manifest.select(["video_id"]) if redo else None
    return run(session, steps(session.config, manifest), Mode(redo=redo, only=only))


def retry(session: Session) -> list[StepRecord]:
    """Do the clips that failed in any step again, and what follows for them; the other clips stay as they
    are, whatever is left to do of them.
    """
    only = _to_retry(session)
    failed = failed_before(session.storage, session.config.s3)
    return run(session, steps(session.config, failed), Mode(retry=True, only=only))


def _to_retry(session: Session) -> pa.Table:
    """The ids (`video_id`, some of them more than once) of the clips whose newest row failed in any step.

    Also those that a retry which did not come to its end made rows of: what follows for them may be missing.
    """
    cut_short = [
        run["run_id"]
        for run in load_runs(session.storage)
        if run["command"] == session.run.command and run["outcome"] != "done"
    ]
    parts = []
    for step in steps(session.config):
        rows = step.made(session.storage)
        failed = pc.equal(rows.column("status"), FAILED)
        unfinished = pc.is_in(rows.column("run_id"), value_set=pa.array(cut_short, pa.string()))
        parts.append(rows.filter(pc.or_(failed, unfinished)).select(["video_id"]))
    return pa.concat_tables(parts)
