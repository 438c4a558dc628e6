"""videos → judgments: all steps of a labelling run, in order.

(split  →)  ingest  →  describe (one pass per expert, side by side where there is room)  →  extract  →  judge
                         └─────────── in rounds: again for the clips that are open ──────────┘
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from emo.config import Config
from emo.downloads import downloads
from emo.jobs.describe import DescribeStep
from emo.jobs.extract import ExtractStep
from emo.jobs.ingest import IngestStep, failed_before, note_said
from emo.jobs.judge import JudgeStep, priors_of
from emo.jobs.split import SplitStep, pieces_manifest, recordings_again
from emo.report import write as report
from emo.run.asking import check_before
from emo.run.nodes import joined
from emo.run.session import Session, session
from emo.step import Mode, Step, groups, todo
from emo.store import planning
from emo.store.runs import StepRecord, load_runs
from emo.store.tables import FAILED


def steps(config: Config, manifest: pa.Table | None = None) -> list[Step]:
    """The steps of a labelling run, in their order; without a manifest there is nothing new to ingest."""
    rounds = config.asked_in_rounds
    names = [expert.name for expert in config.experts]
    splits = config.split.by is not None
    found: list[Step] = [SplitStep(config.split, config.s3, manifest)] if splits else []
    found.append(IngestStep(config.ingest, config.s3, manifest, splits))
    for number in range(1, 1 + (len(rounds) if rounds else 1)):
        asked = (DescribeStep(expert, rounds, number) for expert in config.experts)
        found += [step for step in asked if step.answers]
        # Before the next round, which asks where the votes disagree.
        found.append(ExtractStep(config.extract, config.experts, rounds, number))
    return [*found, JudgeStep(config.judge, names, priors_of(config.experts), rounds)]


def run(session: Session, steps: Sequence[Step], mode: Mode) -> list[StepRecord]:
    """Take these steps one group after the other; what each did."""
    return [
        record
        for group in groups(steps)
        for record in session.take(group, lambda step: todo(step, session.storage, mode, session.redo_since))
    ]


def label(session: Session, manifest: pa.Table, redo: bool = False) -> list[StepRecord]:
    """Label what is new or changed in a manifest (redo: all of it); the steps that it took."""
    note_said(session.storage, session.run_id, manifest)
    only = manifest.select(["video_id"]) if redo else None
    return _run_all(session, manifest, Mode(redo=redo, only=only))


def _run_all(session: Session, manifest: pa.Table, mode: Mode) -> list[StepRecord]:
    every = steps(session.config, manifest)
    if session.config.split.by is None or mode.only is None:
        return run(session, every, mode)
    # Which clips the recordings have is known once these are split.
    records = run(session, every[:1], mode)
    asked = planning.in_both(manifest, mode.only, ("video_id",))
    pieces = pieces_manifest(session.storage, asked).select(["video_id"])
    return records + run(session, every[1:], replace(mode, only=pa.concat_tables([mode.only, pieces])))


@dataclass(frozen=True)
class Labelled:
    """What a labelling run did; of a source without videos there is no run, no step and no report.

    run_id: of its rows; steps: what each step did, in order; report: where the page is; long_clips: files in
    OUT that last over a minute and are one clip each.
    """

    run_id: str | None
    steps: Sequence[StepRecord]
    report: str | None
    long_clips: int = 0


def label_source(config: Config, source: str, out: str, redo: bool, tell: Callable[[str], None]) -> Labelled:
    """A whole run: label what is new or changed at a source (redo: all of it), and write the report.

    tell: says what a person should know on the way. Raises InputError before anything starts where the
    source cannot be read or this machine lacks what the steps need.
    """
    # It reads subtitles too, with the library that decodes videos: others who want the steps need it not.
    from emo.sources.source import read_source

    needs = check_before(config.ray.address, [need for step in steps(config) for need in step.needs()], tell)
    tell_downloads(config, tell)
    # Before the lease and the run file: a source that cannot be read must leave no trace in OUT.
    manifest = read_source(source, config.s3, config.ingest.carry)
    if manifest.num_rows == 0:
        return Labelled(None, [], None)
    with session(config, out, "label", source, steps(config), redo, needs) as current:
        records = label(current, manifest, redo)
        rounds = config.asked_in_rounds
        page = report.write(current.storage, config.report.gallery, current.run, rounds, only_if_changed=True)
        for line in page.alarms:
            tell(line)
        if page.rounds:
            tell(f"rounds: {page.rounds.line()}")
    return Labelled(current.run_id, records, page.place, page.long_clips)


def tell_downloads(config: Config, tell: Callable[[str], None]) -> None:
    """Say what this machine downloads before it labels; on a cluster the nodes do, each for itself."""
    if not joined(config.ray.address):
        for line in downloads(config):
            tell(line)


def retry(session: Session) -> list[StepRecord]:
    """Do the clips that failed in any step again, and what follows for them; the other clips stay as they
    are, whatever is left to do of them.
    """
    only = _to_retry(session)
    failed = failed_before(session.storage, session.config.s3)
    if session.config.split.by is not None:
        recordings = recordings_again(session.storage, session.config.s3, only)
        failed = pa.concat_tables([planning.not_in(failed, recordings, ("video_id",)), recordings])
    return _run_all(session, failed, Mode(retry=True, only=only))


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
