"""videos → judgments and a report: all steps of a labelling run, in order.

    ingest  →  describe (one pass per expert)  →  extract  →  judge

Also `python -m jobs.label SOURCE --out OUT …`, the same as `emo label`, for `ray job submit`.
"""

import sys

import pyarrow as pa

from emo.runs import Step
from jobs import describe, extract, ingest, judge
from jobs.session import Session


def run(session: Session, manifest: pa.Table, redo: bool = False) -> list[Step]:
    """Label what is new or changed in a manifest (redo: all of it); the steps that it took."""
    return [ingest_all(session, manifest, redo), *after_ingest(session, redo)]


def retry(session: Session) -> list[Step]:
    """Do every failed row of every step again, and what follows from it."""
    rows = ingest.failed_before(session.storage, session.config.s3)
    return [ingest.run(session, rows, skipped=0), *after_ingest(session, retry=True)]


def after_ingest(session: Session, redo: bool = False, retry: bool = False) -> list[Step]:
    """All steps that follow ingest, for whatever is left to do in each."""
    names = [expert["name"] for expert in session.config.experts]
    described = [describe_all(session, name, redo, retry) for name in names]
    return [*described, extract_all(session, names, redo, retry), judge_all(session, names, redo)]


def ingest_all(session: Session, manifest: pa.Table, redo: bool = False) -> Step:
    """Ingest every clip of the manifest that is new or changed."""
    rows = manifest if redo else ingest.left_to_do(session.storage, manifest)
    return ingest.run(session, rows, manifest.num_rows - rows.num_rows)


def describe_all(session: Session, name: str, redo: bool = False, retry: bool = False) -> Step:
    """Let one expert describe every clip that it has not described yet."""
    clips = describe.ingested(session.storage)
    rows = clips if redo else describe.left_to_do(session.storage, clips, name, retry)
    return describe.run(session, session.config.expert(name), rows, clips.num_rows - rows.num_rows)


def extract_all(session: Session, names: list[str], redo: bool = False, retry: bool = False) -> Step:
    """Extract the labels of every description that has no vote yet."""
    texts = extract.described(session.storage, names)
    rows = texts if redo else extract.left_to_do(session.storage, texts, retry)
    return extract.run(session, rows, texts.num_rows - rows.num_rows)


def judge_all(session: Session, names: list[str], redo: bool = False) -> Step:
    """Judge every clip whose judgment is missing, old, or made by another rule."""
    rule = session.config.judge.rule()
    found = judge.inputs(session.storage, names, rule)
    rows = found.rows if redo else judge.left_to_do(session.storage, found)
    return judge.run(session, rows, found.rows.num_rows - rows.num_rows, rule, found.judge)


if __name__ == "__main__":
    from emo.cli import main

    sys.exit(main(["label", *sys.argv[1:]]))
