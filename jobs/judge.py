"""votes → judgments: the reduce, one label set per video.

    clips and votes minus judgments  →  read votes and texts of a range of ids  →  fuse  →  judgments

Shards are ranges of sorted ids, and the committed files of votes hold such ranges too, so a shard reads the
few files that its clips stand in and no shuffle is needed.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emo import committed, planning
from emo.errors import InputError, RowError
from emo.evaluation.labels import read_labels
from emo.experts.protocol import Resources
from emo.judge.fusion import judge_votes
from emo.judge.learning import calibrate, estimate
from emo.judge.rule import Learned, Rule
from emo.judge.votes import Voters, check_schema, read_voters
from emo.runs import Step
from emo.storage import S3Settings, Storage
from emo.tables import CLIPS, DESCRIPTIONS, FAILED, JUDGMENTS, VOTES, Table
from jobs.passes import Pass, status_columns
from jobs.session import Session

# One range of ids: the votes and texts of so many clips fit a worker easily.
SHARD_ROWS = 20_000


@dataclass(frozen=True)
class Inputs:
    """What can be judged.

    rows: a line per clip: video_id, run_id (of its newest input), clip_run (that ingested it), votes and
    texts (files that hold its rows), clip_error; judge: the mark of judgments of these inputs.
    """

    rows: pa.Table
    judge: str


_ROWS = pa.schema(
    [
        ("video_id", pa.string()),
        ("run_id", pa.string()),
        ("clip_run", pa.string()),
        ("votes", pa.list_(pa.string())),
        ("texts", pa.list_(pa.string())),
        ("clip_error", pa.string()),
    ]
)


def inputs(storage: Storage, experts: list[str], rule: Rule) -> Inputs:
    """Every clip with the files of its votes and descriptions by the given experts."""
    clips = committed.read_newest(storage, committed.folder(CLIPS), CLIPS, ["status", "error"])
    votes = _files(storage, VOTES, experts)
    texts = _files(storage, DESCRIPTIONS, experts)
    voted = _of(votes, clips)
    newest_run = pc.max_element_wise(clips.column("run_id"), voted.column("run_id_max"))
    failed = pc.equal(clips.column("status"), FAILED)
    rows = pa.table(
        {
            "video_id": clips.column("video_id"),
            "run_id": newest_run,
            "clip_run": clips.column("run_id"),
            "votes": voted.column("file_list"),
            "texts": _of(texts, clips).column("file_list"),
            "clip_error": pc.if_else(failed, clips.column("error"), pa.scalar(None, pa.string())),
        },
        schema=_ROWS,
    )
    return Inputs(rows, f"{rule.judge} of {','.join(sorted(experts))}")


def _files(storage: Storage, table: Table, experts: list[str]) -> pa.Table:
    """Per clip: the newest run and the files of its newest rows, over all experts."""
    parts = []
    for expert in experts:
        rows = committed.read_newest(storage, committed.folder(table, expert), table, [], with_file=True)
        # The samples of a clip are written together: the first stands for all.
        parts.append(
            rows.filter(first_of_runs(rows.column("video_id"))).select(["video_id", "run_id", "file"])
        )
    return pa.concat_tables(parts).group_by("video_id").aggregate([("run_id", "max"), ("file", "list")])


def first_of_runs(column: pa.ChunkedArray) -> pa.Array:
    """Whether each value of a sorted column is the first of its kind."""
    values = column.combine_chunks()
    if len(values) == 0:
        return pa.array([], pa.bool_())
    return pa.concat_arrays([pa.array([True]), pc.not_equal(values[1:], values[:-1])])


def _of(grouped: pa.Table, clips: pa.Table) -> pa.Table:
    """The rows of `grouped` in the order of `clips`, nulls where a clip has none."""
    at = pc.index_in(clips.column("video_id"), value_set=grouped.column("video_id").combine_chunks())
    return grouped.take(at.combine_chunks() if isinstance(at, pa.ChunkedArray) else at)


def left_to_do(storage: Storage, found: Inputs) -> pa.Table:
    """The clips whose judgment is missing, older than a vote, or made by another rule or other experts."""
    done = committed.read_newest(storage, committed.folder(JUDGMENTS), JUDGMENTS, ["judge"])
    same_rule = done.filter(pc.equal(done.column("judge"), found.judge))
    return planning.stale(found.rows, same_rule, JUDGMENTS.key)


def run(session: Session, rows: pa.Table, skipped: int, rule: Rule, judge: str) -> Step:
    """Judge the given clips."""
    storage, run_id = session.storage, session.run_id
    plan = Pass(
        step="judge",
        table=JUDGMENTS,
        where=committed.folder(JUDGMENTS),
        rows=rows,
        key=JUDGMENTS.key,
        worker=lambda: JudgeWorker(storage, rule, judge, run_id),
        failed=lambda lost, error: failed_rows(lost, [error] * lost.num_rows, judge, run_id),
        resources=Resources(cpus=1),
        shard_rows=SHARD_ROWS,
    )
    return session.execute(plan, skipped)


class JudgeWorker:
    """Fuses the votes of a range of clips; a clip that nobody could describe is a failed judgment."""

    def __init__(self, storage: Storage, rule: Rule, judge: str, run_id: str) -> None:
        self._storage = storage
        self._rule = rule
        self._judge = judge
        self._run_id = run_id

    def __call__(self, rows: pa.Table) -> pa.Table:
        # A clip that failed in ingest may have votes of an older version of its file.
        usable = rows.filter(pc.is_null(rows.column("clip_error")))
        votes = self._read(VOTES, usable, "votes", ["labels", "status"])
        texts = self._read(DESCRIPTIONS, usable, "texts", ["text", "status"])
        judged = judged_rows(votes, texts, self._rule, self._judge, self._run_id)
        rest = planning.not_in(rows, judged, JUDGMENTS.key)
        errors = [
            RowError("clip_failed", f"ingest: {error}")
            if error
            else RowError("no_voter", "no expert could describe this clip")
            for error in rest.column("clip_error").to_pylist()
        ]
        return pa.concat_tables([judged, failed_rows(rest, errors, self._judge, self._run_id)])

    def _read(self, table: pa.Table, rows: pa.Table, column: str, columns: list[str]) -> pa.Table:
        names = [*table.key, *columns, "run_id"]
        schema = pa.schema([table.schema.field(name) for name in names])
        # An id may have files of several runs; the newest row of each key counts.
        files = sorted({path for paths in rows.column(column).to_pylist() for path in paths or ()})
        parts = [committed.read_file(self._storage, table, path, names) for path in files]
        found = committed.newest(pa.concat_tables([schema.empty_table(), *parts]), table.key)
        at = pc.index_in(found.column("video_id"), value_set=rows.column("video_id").combine_chunks())
        # What was said of an older version of the file says nothing of this one.
        current = pc.greater_equal(found.column("run_id"), rows.column("clip_run").take(at))
        return found.filter(pc.fill_null(current, False))


def judged_rows(votes: pa.Table, texts: pa.Table | None, rule: Rule, judge: str, run_id: str) -> pa.Table:
    """Rows of the `judgments` table for the clips that have a voter."""
    judged = judge_votes(votes, rule, texts)
    columns = {name: judged.column(name) for name in judged.column_names}
    columns["judge"] = pa.repeat(judge, judged.num_rows)
    columns["run_id"] = pa.repeat(run_id, judged.num_rows)
    return pa.table({name: columns[name] for name in JUDGMENTS.schema.names}).cast(JUDGMENTS.schema)


def votes_from(path: str, s3: S3Settings) -> Voters:
    """The voters of a votes table from elsewhere: a Parquet file, or all of them below a folder.

    Raises InputError where there is none or one is not a votes table.
    """
    folder, _, name = path.rstrip("/").rpartition("/")
    if name.endswith(".parquet"):
        storage, paths = Storage(folder or ".", s3), [name]
    else:
        storage = Storage(path, s3)
        paths = [entry.path for entry in storage.entries() if entry.path.endswith(".parquet")]
    if not paths:
        raise InputError(f"{path}: no Parquet file of votes is there")
    wanted = [*VOTES.key, "labels", "status", "run_id"]
    parts = []
    for file in paths:
        place = storage.full(file)
        try:
            with storage.open(file) as handle:
                table = pq.read_table(handle)
        except FileNotFoundError:
            raise InputError(f"{place} does not exist") from None
        except pa.ArrowInvalid as error:
            raise InputError(f"{place} is not a readable Parquet file: {error}") from None
        check_schema(table.schema, place)
        parts.append(table.select([name for name in wanted if name in table.column_names]))
    return read_voters(pa.concat_tables(parts, promote_options="default"), path)


def run_votes(session: Session, voters: pa.Table, rule: Rule) -> Step:
    """Judge the given voters (of `votes_from`), all of them."""
    judge, run_id = f"{rule.judge} of given votes", session.run_id
    plan = Pass(
        step="judge",
        table=JUDGMENTS,
        where=committed.folder(JUDGMENTS),
        rows=by_clip(voters),
        key=JUDGMENTS.key,
        worker=lambda: lambda rows: judged_rows(flat(rows), None, rule, judge, run_id),
        failed=lambda lost, error: failed_rows(lost, [error] * lost.num_rows, judge, run_id),
        resources=Resources(cpus=1),
        shard_rows=SHARD_ROWS,
    )
    return session.execute(plan, skipped=0)


_VOTER = ["expert", "sample", "labels"]


def by_clip(voters: pa.Table) -> pa.Table:
    """One row per clip with the list of its votes, so that no shard parts the votes of a clip."""
    voters = voters.sort_by([(name, "ascending") for name in VOTES.key]).combine_chunks()
    ids = voters.column("video_id").combine_chunks()
    counts = pc.value_counts(ids)
    # The rows are sorted, so a clip's votes are one run; value_counts keeps the order of first sight.
    offsets = np.concatenate([[0], np.cumsum(counts.field("counts").to_numpy())]).astype(np.int32)
    arrays = [voters.column(name).combine_chunks() for name in _VOTER]
    return pa.table(
        {
            "video_id": counts.field("values"),
            "voters": pa.ListArray.from_arrays(pa.array(offsets), pa.StructArray.from_arrays(arrays, _VOTER)),
        }
    )


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


def learn(voters: pa.Table, gold: str | None) -> Learned:
    """What the votes teach: on a gold file (calibrated), or without one (estimated)."""
    if gold is None:
        return estimate(voters)
    return calibrate(voters, read_labels(gold), gold)


def failed_rows(rows: pa.Table, errors: list[RowError], judge: str, run_id: str) -> pa.Table:
    """Rows of the `judgments` table for clips without a judgment."""
    columns = {
        "video_id": rows.column("video_id"),
        "n_voters": [0] * rows.num_rows,
        "judge": [judge] * rows.num_rows,
        **status_columns(run_id, list(errors)),
    }
    return pa.table(
        {
            field.name: columns.get(field.name, pa.nulls(rows.num_rows, field.type))
            for field in JUDGMENTS.schema
        },
        schema=JUDGMENTS.schema,
    )
