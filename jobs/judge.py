"""votes → judgments: the reduce, one label set per video.

    clips and votes minus judgments  →  read votes and texts of a range of ids  →  fuse  →  judgments

Shards are ranges of sorted ids, and the committed files of votes hold such ranges too, so a shard reads the
few files that its clips stand in and no shuffle is needed.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo import dialogues
from emo.arrays import distinct, starts_of
from emo.cojudgment.adjudication import adjudicate
from emo.cojudgment.closing import decide
from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.rounds import Rounds
from emo.cojudgment.rule import VERSION, Rule
from emo.cojudgment.settings import Adjudicate, Judge
from emo.cojudgment.votes import codes
from emo.errors import RowError
from emo.evaluation.judging import Judge as TextModel
from emo.evaluation.judging import missing
from emo.experts.protocol import Resources, Settings
from emo.extraction.model import ModelExtractor
from emo.needs import Need
from emo.step import Pass, Step
from emo.store import committed, planning
from emo.store.storage import Storage
from emo.store.tables import CLIPS, DESCRIPTIONS, FAILED, JUDGMENTS, OK, VOTES, Table

# One range of ids: the votes and texts of so many clips fit a worker easily.
SHARD_ROWS = 20_000
# Where a text model is asked about some of them.
ASKED_SHARD_ROWS = 500
# Errors of clips that nobody could judge, because an earlier step failed.
CLIP_FAILED = "clip_failed"
NO_VOTER = "no_voter"


# Of a million clips each file stands in thousands of lists.
_FILES = pa.list_(pa.dictionary(pa.int32(), pa.string()))
# A line per clip: run_id of its newest input, clip_run that ingested it, the files of its votes and texts,
# the error of its ingest, and a digest of these rows.
_ROWS = pa.schema(
    [
        ("video_id", pa.string()),
        ("run_id", pa.string()),
        ("clip_run", pa.string()),
        ("votes", _FILES),
        ("texts", _FILES),
        ("clip_error", pa.string()),
        ("seen", pa.int64()),
    ]
)


def _resources(asked: Adjudicate | None) -> Resources:
    return ModelExtractor.resources(asked.model) if asked and asked.model else Resources(light=asked is None)


@dataclass(frozen=True, eq=False)
class JudgeStep(Step):
    """Fuse the votes of these experts, given by name, into one label set per clip.

    priors: expert -> its weight where nothing was learned, 1 where it is not named; rounds: in which the
    experts were asked, None: without.
    """

    config: Judge
    experts: Sequence[str]
    priors: Mapping[str, float] = field(default_factory=dict)
    rounds: Rounds | None = None

    table: ClassVar[Table] = JUDGMENTS
    key: ClassVar[tuple[str, ...]] = JUDGMENTS.key
    did: ClassVar[str] = "labelled"
    assumed_seconds: ClassVar[float] = 0.001

    @property
    def name(self) -> str:
        return "judge"

    @cached_property
    def rule(self) -> Rule:
        """Read on this machine, because no other node need have the file of what was learned."""
        return self.config.rule(self.priors)

    @cached_property
    def mark(self) -> str:
        """What judgments by this rule, these experts, rounds and this text model are marked with."""
        asked = self.config.adjudicate
        by = f", below {asked.below:g} by {asked.text_model.model}" if asked else ""
        rounds = f", rounds-{self.rounds.sha}" if self.rounds else ""
        return f"{self.rule.judge} of {','.join(sorted(self.experts))}, rule {VERSION}{rounds}{by}"

    def given(self, storage: Storage) -> pa.Table:
        """Every clip with the files of its votes and descriptions, and where they count its neighbours."""
        clips = committed.read_newest(storage, committed.folder(CLIPS), CLIPS, ["status", "error"])
        votes = _files(storage, VOTES, self.experts, clips)
        texts = _files(storage, DESCRIPTIONS, self.experts, clips)
        failed = pc.equal(clips.column("status"), FAILED)
        rows = pa.table(
            {
                "video_id": clips.column("video_id"),
                "run_id": pc.max_element_wise(clips.column("run_id"), votes.column("run_id")),
                "clip_run": clips.column("run_id"),
                "votes": votes.column("files"),
                "texts": texts.column("files"),
                "clip_error": pc.if_else(failed, clips.column("error"), pa.scalar(None, pa.string())),
                "seen": pc.add(votes.column("mark"), texts.column("mark")),
            },
            schema=_ROWS,
        )
        if not self.config.smoothing:
            return rows
        return dialogues.with_neighbours(_plain(rows), dialogues.neighbours(storage))

    def made(self, storage: Storage) -> pa.Table:
        columns = ["judge", "status", "error", "seen"]
        return committed.read_newest(storage, self.where, JUDGMENTS, columns)

    def left(self, storage: Storage, given: pa.Table, retry: bool = False) -> pa.Table:
        """The clips whose judgment is missing, older than a vote, made of other votes or descriptions than
        those that are there now, or made by another rule or other experts.
        """
        done = self.made(storage)
        if retry:
            done = done.filter(pc.or_(pc.equal(done.column("status"), OK), _handed_on(done)))
        by = done.column("judge")
        # What the text model decided says so behind a plus.
        same = pc.or_(pc.equal(by, self.mark), pc.starts_with(by, f"{self.mark}+"))
        same_rule = planning.kept(done, same)
        same_rows = planning.kept(same_rule, _of_the_same(same_rule, given))
        return planning.stale(given, same_rows, self.key)

    def failed(self, storage: Storage, given: pa.Table | None = None) -> pa.Table:
        """A clip that could not be ingested is the failure of ingest. Votes from elsewhere have no clips."""
        rows = self.all_failed(storage)
        return rows.filter(pc.not_equal(rows.column("error"), CLIP_FAILED))

    def arriving(self, storage: Storage, planned: Mapping[str, int]) -> int:
        return planned.get("ingest", 0)

    def resources(self) -> Resources:
        return _resources(self.config.adjudicate)

    def needs(self) -> list[Need]:
        asked = self.config.adjudicate
        if asked is None:
            return []
        return [Need(self.name, "judge.adjudicate", partial(missing, asked.text_model), self.resources)]

    def work(self, storage: Storage, run_id: str, rows: pa.Table) -> Pass:
        rule, asked, mark, rounds = self.rule, self.config.adjudicate, self.mark, self.rounds
        return Pass(
            step=self.name,
            table=JUDGMENTS,
            where=self.where,
            rows=_plain(rows),
            key=self.key,
            worker=lambda: JudgeWorker(storage, rule, asked, mark, run_id, rounds),
            failed=lambda lost, error: unjudged_rows(lost, [error] * lost.num_rows, mark, run_id),
            resources=self.resources(),
            shard_rows=ASKED_SHARD_ROWS if asked else SHARD_ROWS,
        )


def _plain(rows: pa.Table) -> pa.Table:
    """Rows of `JudgeStep.given` with the names of files in full: so no shard carries those of all clips."""
    for name in ("votes", "texts"):
        column = rows.column(name).cast(pa.list_(pa.string()))
        rows = rows.set_column(rows.column_names.index(name), name, column)
    return rows


def _handed_on(judgments: pa.Table) -> pa.Array:
    """Whether nobody could judge a clip because an earlier step failed."""
    return pc.is_in(judgments.column("error"), value_set=pa.array([CLIP_FAILED, NO_VOTER]))


def _files(storage: Storage, table: Table, experts: Sequence[str], clips: pa.Table) -> pa.Table:
    """For each of the clips the newest run (null: no row), the files (null: none) and the digest of its
    newest rows, over all experts and samples.
    """
    count = clips.num_rows
    mark = np.zeros(count, dtype=np.int64)
    newest: list[tuple[np.ndarray, pa.Array]] = []
    pairs, paths = [], pa.array([], pa.string())
    for expert in experts:
        rows = committed.read_newest(storage, committed.folder(table, expert), table, [], with_file=True)
        if rows.num_rows == 0:
            continue
        # Rows are sorted by clip: those of one stand together.
        starts = planning.starts(planning.flat(rows, "video_id"))
        each = pa.table({"video_id": planning.flat(rows, "video_id").take(pa.array(starts))})
        at = planning.place(each, clips, CLIPS.key)
        # A place below a million, times thousands of files, is no number of 32 bits.
        clip_of = at.fill_null(-1).to_numpy().astype(np.int64)
        known = np.flatnonzero(clip_of >= 0)
        sums = np.add.reduceat(_marks(rows, f"{table.name} {expert}"), starts)
        mark[clip_of[known]] += sums[known]

        clip_of_row = np.repeat(clip_of, np.diff(np.append(starts, rows.num_rows)))
        runs, names = codes(rows.column("run_id"))
        latest = np.full(count, -1)
        np.maximum.at(latest, clip_of_row[clip_of_row >= 0], runs[clip_of_row >= 0])
        newest.append((latest, names))

        files = planning.flat(rows, "file").dictionary_encode()
        pair = clip_of_row * len(files.dictionary) + files.indices.to_numpy()
        pair = pair[clip_of_row >= 0]
        # Most stand together already, and the rest is less to sort.
        pair = distinct(pair[starts_of(pair)])
        clip, file = np.divmod(pair, len(files.dictionary))
        pairs.append((clip, file + len(paths)))
        paths = pa.concat_arrays([paths, files.dictionary])
    clip, file = (np.concatenate(part) for part in zip((np.zeros(0, np.int64),) * 2, *pairs, strict=True))
    order = np.argsort(clip, kind="stable")
    offsets = np.zeros(count + 1, dtype=np.int32)
    np.cumsum(np.bincount(clip, minlength=count), out=offsets[1:])
    nothing = pa.array(offsets[1:] == offsets[:-1])
    named = pa.DictionaryArray.from_arrays(pa.array(file[order].astype(np.int32)), paths)
    files = pa.ListArray.from_arrays(pa.array(offsets), named, mask=nothing)
    return pa.table({"run_id": _greatest(newest, count), "files": files, "mark": mark})


def _greatest(found: Sequence[tuple[np.ndarray, pa.Array]], count: int) -> pa.Array:
    """The greatest of the texts that each row has, null where it has none: string.

    found: for each of `count` rows the place of a text (int64, -1: none) and these texts, several times.
    Texts of a million rows are compared as their places, in a tenth of the time.
    """
    every = pc.unique(pa.concat_arrays([pa.array([], pa.string()), *(texts for _, texts in found)])).sort()
    greatest = np.full(count, -1)
    for places, texts in found:
        # The last place, which is also that of -1.
        among = np.append(pc.index_in(texts, value_set=every).to_numpy(), -1)
        np.maximum(greatest, among[places], out=greatest)
    return every.take(pa.array(greatest, mask=greatest < 0))


def _marks(rows: pa.Table, of: str) -> np.ndarray:
    """A number below 2^48 for each row, by its run and sample and by what it is of: int64.

    The sum of those of a clip tells its rows apart from any others, in whatever order they are read.
    """
    runs = rows.column("run_id").combine_chunks().dictionary_encode()
    of_runs = [
        int.from_bytes(hashlib.blake2b(f"{of} {run}".encode(), digest_size=8).digest())
        for run in runs.dictionary.to_pylist()
    ]
    mixed = np.array(of_runs, np.uint64)[runs.indices.to_numpy()]
    mixed += (rows.column("sample").to_numpy().astype(np.uint64) + np.uint64(1)) * _ODD
    for shift in (30, 27):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * _ODD
    return (mixed >> np.uint64(16)).astype(np.int64)


# Multiplied with it, near numbers become far ones (splitmix64).
_ODD = np.uint64(0xBF58476D1CE4E5B9)


def _of_the_same(done: pa.Table, rows: pa.Table) -> pa.Array:
    """Whether each judgment is of the rows that are there now, as far as it says what it was made of."""
    at = planning.place(done, rows, JUDGMENTS.key)
    now, seen = rows.column("seen").take(at), done.column("seen")
    # An old judgment does not say; one that found no vote is made once more where there are votes.
    healed = pc.and_(pc.equal(done.column("error"), NO_VOTER), pc.is_valid(rows.column("votes")).take(at))
    old = pc.and_(pc.is_null(seen), pc.invert(pc.fill_null(healed, False)))
    return pc.or_(pc.fill_null(pc.equal(seen, now), False), old)


def priors_of(experts: Sequence[Settings]) -> dict[str, float]:
    """The weights that the settings of experts give."""
    return {expert.name: expert.weight for expert in experts}


class JudgeWorker:
    """Fuses the votes of a range of clips; a clip that nobody could describe is a failed judgment."""

    def __init__(
        self,
        storage: Storage,
        rule: Rule,
        asked: Adjudicate | None,
        judge: str,
        run_id: str,
        rounds: Rounds | None,
    ) -> None:
        self._storage = storage
        self._rounds = rounds
        self._rule = rule
        self._judge = judge
        self._run_id = run_id
        self._below = asked.below if asked else 0.0
        self._text_model = TextModel(asked.text_model) if asked else None

    def __call__(self, rows: pa.Table) -> pa.Table:
        said = ["text", "modalities", "degraded", "status"]
        pairs, own = None, rows
        if dialogues.BESIDE in rows.column_names:
            near, pairs = dialogues.beside(rows)
            own = pa.concat_tables([rows.drop_columns(dialogues.BESIDE), near])
        votes, texts = counting(self._storage, own, said)
        texts = as_read(texts, votes)
        judged = judged_rows(votes, texts, self._rule, self._judge, self._run_id, pairs)
        if pairs is not None:
            judged, votes, texts = (
                planning.in_both(one, rows, JUDGMENTS.key) for one in (judged, votes, texts)
            )
        if self._text_model is not None:
            model = self._text_model
            judged = adjudicate(judged, texts, model.ask, model.name, self._below).judgments
        rest = planning.not_in(rows, judged, JUDGMENTS.key)
        errors = [
            RowError(CLIP_FAILED, f"ingest: {error}")
            if error
            else RowError(NO_VOTER, "no expert could describe this clip")
            for error in rest.column("clip_error").to_pylist()
        ]
        everything = pa.concat_tables([judged, unjudged_rows(rest, errors, self._judge, self._run_id)])
        told = {"seen": rows.column("seen").take(planning.place(everything, rows, JUDGMENTS.key))}
        if self._rounds is not None:
            decided = decide(everything.column("video_id").combine_chunks(), texts, votes, self._rounds)
            told |= {name: decided.column(name) for name in ("round_agreement", "closed_in")}
        for name, column in told.items():
            at = everything.schema.get_field_index(name)
            everything = everything.set_column(at, JUDGMENTS.schema.field(name), column)
        return everything


def counting(storage: Storage, rows: pa.Table, said: list[str]) -> tuple[pa.Table, pa.Table]:
    """The votes and the descriptions (with the columns `said`) that count, for rows of `JudgeStep.given`."""
    texts = _read(storage, DESCRIPTIONS, rows, "texts", said)
    texts = planning.current(texts, _as_clips(rows))
    columns = ["labels", "strengths", "alternatives", "merged_text", "from_transcript", "status"]
    votes = _read(storage, VOTES, rows, "votes", columns)
    # A vote counts if it was read off the description that counts.
    votes = planning.not_in(votes, planning.stale(texts, votes, VOTES.key), VOTES.key)
    return planning.in_both(votes, texts, VOTES.key), texts


def _read(storage: Storage, table: Table, rows: pa.Table, column: str, columns: list[str]) -> pa.Table:
    names = [*table.key, *columns, "run_id"]
    schema = pa.schema([table.schema.field(name) for name in names])
    # An id may have files of several runs; the newest row of each key counts.
    files = sorted(pc.unique(pc.list_flatten(rows.column(column))).to_pylist())
    parts = [committed.read_file(storage, table, path, names) for path in files]
    found = planning.in_both(pa.concat_tables([schema.empty_table(), *parts]), rows, ("video_id",))
    return committed.newest(found, table.key)


def as_read(texts: pa.Table, votes: pa.Table) -> pa.Table:
    """The descriptions with the text that the votes were read off, where the words were merged in."""
    merged = votes.column("merged_text").combine_chunks().take(planning.place(texts, votes, VOTES.key))
    at = texts.column_names.index("text")
    return texts.set_column(at, "text", pc.coalesce(merged, texts.column("text").combine_chunks()))


def _as_clips(rows: pa.Table) -> pa.Table:
    """The clips of a shard as `planning.current` wants them."""
    status = pc.if_else(pc.is_null(rows.column("clip_error")), OK, FAILED)
    return pa.table(
        {"video_id": rows.column("video_id"), "run_id": rows.column("clip_run"), "status": status}
    )


def judged_rows(
    votes: pa.Table,
    texts: pa.Table | None,
    rule: Rule,
    judge: str,
    run_id: str,
    pairs: pa.Table | None = None,
) -> pa.Table:
    """Rows of the `judgments` table for the clips that have a voter; pairs: `beside` of `judge_votes`."""
    judged = judge_votes(votes, rule, texts, pairs)
    columns = {name: judged.column(name) for name in judged.column_names}
    columns["judge"] = pa.repeat(judge, judged.num_rows)
    columns["n_answers"] = _answers(votes, judged)
    columns["run_id"] = pa.repeat(run_id, judged.num_rows)
    for name in JUDGMENTS.schema.names:
        columns.setdefault(name, pa.nulls(judged.num_rows, JUDGMENTS.schema.field(name).type))
    return pa.table({name: columns[name] for name in JUDGMENTS.schema.names}).cast(JUDGMENTS.schema)


def _answers(votes: pa.Table, judged: pa.Table) -> pa.Array:
    """How many of the votes on each judged clip did not fail."""
    well = planning.well(votes) if "status" in votes.column_names else votes
    counts = well.group_by("video_id").aggregate([([], "count_all")])
    return counts.column("count_all").take(planning.place(judged, counts, ("video_id",)))


def unjudged_rows(rows: pa.Table, errors: list[RowError], judge: str, run_id: str) -> pa.Table:
    """Rows of the `judgments` table for clips without a judgment."""
    columns = {
        "video_id": rows.column("video_id"),
        "n_voters": [0] * rows.num_rows,
        "n_answers": [0] * rows.num_rows,
        "judge": [judge] * rows.num_rows,
    }
    return JUDGMENTS.rows(columns, run_id, errors)
