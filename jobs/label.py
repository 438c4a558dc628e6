"""videos → judgments and a report: all steps of a labelling run, in order.

    ingest  →  describe (one pass per expert, side by side where there is room)  →  extract  →  judge

Also `python -m jobs.label SOURCE --out OUT …`, the same as `emo label`, for `ray job submit`.
"""

import sys
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from emo import committed, planning
from emo.runs import Step, load_runs
from emo.tables import CLIPS, DESCRIPTIONS, FAILED, JUDGMENTS, VOTES, Table
from jobs import describe, extract, ingest, judge
from jobs.passes import Pass
from jobs.session import Session


def run(session: Session, manifest: pa.Table, redo: bool = False) -> list[Step]:
    """Label what is new or changed in a manifest (redo: all of it); the steps that it took."""
    only = manifest.select(["video_id"]) if redo else None
    return [ingest_all(session, manifest, redo), *after_ingest(session, redo, only=only)]


def retry(session: Session) -> list[Step]:
    """Do the clips that failed in any step again, and what follows for them; the other clips stay as they
    are, whatever is left to do of them.
    """
    only = _to_retry(session)
    rows = ingest.failed_before(session.storage, session.config.s3)
    return [ingest.run(session, rows, skipped=0), *after_ingest(session, retry=True, only=only)]


def _to_retry(session: Session) -> pa.Table:
    """The ids (`video_id`, some of them more than once) of the clips whose newest row failed in any step.

    Also those that a retry which did not come to its end made rows of: what follows for them may be missing.
    """
    storage = session.storage
    cut_short = [
        run["run_id"]
        for run in load_runs(storage)
        if run["command"] == session.run.command and run["outcome"] != "done"
    ]
    experts = [expert["name"] for expert in session.config.experts]
    places: list[tuple[Table, str | None]] = [(CLIPS, None), (JUDGMENTS, None)]
    places += [(table, expert) for table in (DESCRIPTIONS, VOTES) for expert in experts]
    parts = []
    for table, expert in places:
        rows = committed.read_newest(storage, committed.folder(table, expert), table, ["status"])
        failed = pc.equal(rows.column("status"), FAILED)
        unfinished = pc.is_in(rows.column("run_id"), value_set=pa.array(cut_short, pa.string()))
        parts.append(rows.filter(pc.or_(failed, unfinished)).select(["video_id"]))
    return pa.concat_tables(parts)


def after_ingest(
    session: Session, redo: bool = False, retry: bool = False, only: pa.Table | None = None
) -> list[Step]:
    """All steps that follow ingest, for whatever is left to do in each."""
    names = [expert["name"] for expert in session.config.experts]
    described = describe_all(session, names, redo, retry, only)
    extracted = extract_all(session, names, redo, retry, only)
    return [*described, extracted, judge_all(session, names, redo, retry, only)]


def ingest_all(session: Session, manifest: pa.Table, redo: bool = False) -> Step:
    """Ingest every clip of the manifest that is new or changed; redo: all of them."""
    done = ingest.done(session.storage)
    if redo:
        rows = planning.older(manifest, done, session.redo_since("ingest"), CLIPS.key)
    else:
        rows = ingest.left_to_do(session.storage, manifest)
    return ingest.run(session, rows, manifest.num_rows - rows.num_rows)


def describe_all(
    session: Session,
    names: list[str],
    redo: bool = False,
    retry: bool = False,
    only: pa.Table | None = None,
) -> list[Step]:
    """Let each expert describe every clip that it has not described yet; redo: all (or those of `only`)."""

    def passes() -> Iterator[tuple[Pass, int]]:
        for name in names:
            clips = _these(describe.ingested(session.storage), only)
            if redo:
                since = session.redo_since(f"describe {name}")
                rows = planning.older(clips, describe.described(session.storage, name), since, CLIPS.key)
            else:
                rows = describe.left_to_do(session.storage, clips, name, retry)
            plan = describe.plan(session, session.config.expert(name), rows)
            yield plan, clips.num_rows - rows.num_rows

    return session.execute_all(passes())


def extract_all(
    session: Session,
    names: list[str],
    redo: bool = False,
    retry: bool = False,
    only: pa.Table | None = None,
) -> Step:
    """Extract the labels of every description that has no vote yet; redo: all (or those of `only`)."""
    texts = _these(extract.described(session.storage, names), only)
    if redo:
        votes = extract.voted(session.storage, names)
        rows = planning.older(texts, votes, session.redo_since("extract"), VOTES.key)
    else:
        rows = extract.left_to_do(session.storage, texts, retry)
    return extract.run(session, rows, texts.num_rows - rows.num_rows)


def judge_all(
    session: Session,
    names: list[str],
    redo: bool = False,
    retry: bool = False,
    only: pa.Table | None = None,
) -> Step:
    """Judge every clip whose judgment is missing, old, or made by another rule; redo: all."""
    found = judge.inputs(session.storage, names, session.config.judge)
    everything = _these(found.rows, only)
    rows = everything if redo else _these(judge.left_to_do(session.storage, found, retry), only)
    return judge.run(session, rows, everything.num_rows - rows.num_rows, found)


def _these(rows: pa.Table, only: pa.Table | None) -> pa.Table:
    return rows if only is None else planning.in_both(rows, only, CLIPS.key)


if __name__ == "__main__":
    from emo.cli import main

    sys.exit(main(["label", *sys.argv[1:]]))
