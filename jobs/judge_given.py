"""votes from elsewhere → judgments: the reduce over a given votes table."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo.cojudgment.rule import Rule
from emo.cojudgment.votes import Voters, as_votes, read_voters, written_votes
from emo.errors import InputError, RowError
from emo.experts.protocol import Resources
from emo.jobs.judge import NO_VOTER, SHARD_ROWS, judged_rows, unjudged_rows
from emo.run.session import Session
from emo.sources.parquet import read_parquet
from emo.sources.records import TEXT_SUFFIXES, load, suffix_of, tables_at
from emo.step import Pass
from emo.store import committed, planning
from emo.store.runs import StepRecord
from emo.store.s3 import S3Settings
from emo.store.tables import JUDGMENTS, VOTES


def votes_from(path: str, s3: S3Settings) -> Voters:
    """The voters of a votes table from elsewhere: one file of any kind, or the Parquet files of a folder.

    Raises InputError where there is none or one is not a votes table.
    """
    storage, names = tables_at(path, s3)
    if not names:
        raise InputError(f"{path}: no Parquet file of votes is there")
    parts = []
    for name in names:
        place = storage.full(name)
        if suffix_of(name) in TEXT_SUFFIXES:
            parts.append(as_votes(written_votes(load(storage, name, (), unit="line")), place))
            continue
        try:
            _, table = read_parquet(storage, name, VOTES.schema.names)
        except FileNotFoundError:
            raise InputError(f"{place} does not exist") from None
        parts.append(as_votes(table, place))
    return read_voters(pa.concat_tables(parts, promote_options="default"), path)


def run_votes(session: Session, voters: Voters, rule: Rule) -> StepRecord:
    """Judge all given voters (of `votes_from`); a clip whose voters all failed is a failed row."""
    if session.config.judge.adjudicate is not None:
        raise InputError("judge.adjudicate: the text model reads descriptions, and given votes have none")
    if rule.smoothing:
        raise InputError("judge.smoothing: given votes have no dialogues; set it to 0")
    judge, run_id = f"{rule.judge} of given votes", session.run_id
    plan = Pass(
        step="judge",
        table=JUDGMENTS,
        where=committed.folder(JUDGMENTS),
        rows=by_clip(voters),
        key=JUDGMENTS.key,
        worker=lambda: lambda rows: given_rows(rows, rule, judge, run_id),
        failed=lambda lost, error: unjudged_rows(lost, [error] * lost.num_rows, judge, run_id),
        resources=Resources(light=True),
        shard_rows=SHARD_ROWS,
    )
    return session.execute(plan, skipped=0)


_VOTER = ["expert", "sample", "labels", "strengths", "alternatives"]


def given_rows(rows: pa.Table, rule: Rule, judge: str, run_id: str) -> pa.Table:
    """Rows of the `judgments` table for rows of `by_clip`."""
    judged = judged_rows(flat(rows), None, rule, judge, run_id)
    rest = planning.not_in(rows, judged, JUDGMENTS.key)
    error = RowError(NO_VOTER, "every voter of this clip failed")
    return pa.concat_tables([judged, unjudged_rows(rest, [error] * rest.num_rows, judge, run_id)])


def by_clip(voters: Voters) -> pa.Table:
    """One row per clip with the list of its votes, so that no shard parts the votes of a clip."""
    table = voters.table.sort_by([(name, "ascending") for name in VOTES.key]).combine_chunks()
    clips = pc.array_sort_indices(voters.clips)
    clips = voters.clips.take(clips)
    counts = pc.value_counts(table.column("video_id").combine_chunks())
    # Both are sorted, so the votes of a clip are one run, and a clip without any is a run of none.
    places = pc.index_in(counts.field("values"), value_set=clips).to_numpy()
    lengths = np.zeros(len(clips), dtype=np.int64)
    lengths[places] = counts.field("counts").to_numpy()
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    arrays = [table.column(name).combine_chunks() for name in _VOTER]
    votes = pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(arrays, _VOTER))
    return pa.table({"video_id": clips, "voters": votes})


def flat(rows: pa.Table) -> pa.Table:
    """The votes of rows of `by_clip`, one row each."""
    nested = rows.column("voters").combine_chunks()
    votes = nested.flatten()
    return pa.table(
        {
            "video_id": rows.column("video_id").take(pc.list_parent_indices(nested)),
            **{name: votes.field(name) for name in _VOTER},
        }
    )
