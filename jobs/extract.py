"""descriptions → votes: the emotion words of every description.

descriptions minus votes  →  read texts  →  extractor  →  votes
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from emo import dialogues, experts, extraction
from emo.aligned import answers_of
from emo.cojudgment.rounds import Rounds
from emo.errors import RowError
from emo.experts.protocol import TRANSCRIPT, Resources, Settings, Turn
from emo.extraction import protocol as extraction_protocol
from emo.extraction.protocol import Extractor, ExtractRow, Reading
from emo.jobs.describe import DescribeStep, context_of
from emo.marks import deciding
from emo.needs import Need, of_kind
from emo.step import Pass, Step
from emo.store import committed, planning
from emo.store.storage import Storage
from emo.store.tables import CLIPS, DESCRIPTIONS, OK, VOTES, Table

SHARD_ROWS = 2000
# What `votes.extractor` says where the expert gave the labels itself.
GIVEN = "expert"


@dataclass(frozen=True, eq=False)
class ExtractStep(Step):
    """Extract the labels of every description; experts: the validated settings of those that count.

    rounds: where experts are asked in rounds, then `number` is the round whose answers are read; the first
    one also reads those that no round asks for. None: all.
    """

    config: extraction_protocol.Settings
    experts: Sequence[Settings]
    rounds: Rounds | None = None
    number: int = 1

    table: ClassVar[Table] = VOTES
    key: ClassVar[tuple[str, ...]] = VOTES.key
    did: ClassVar[str] = "texts read"
    assumed_seconds: ClassVar[float] = 0.005

    @property
    def name(self) -> str:
        return f"extract round {self.number}" if self.follows else "extract"

    @property
    def follows(self) -> bool:
        """Whether it reads a later round: a new description is newer than the vote that was read off it."""
        return self.number > 1

    @cached_property
    def _kind(self) -> type[Extractor]:
        return extraction.extractor_class(self.config.kind)

    @property
    def turns(self) -> int:
        """How many turns before a clip go with its words."""
        return self._kind.previous_turns(self.config)

    @property
    def _names(self) -> list[str]:
        return [expert.name for expert in self.experts]

    def given(self, storage: Storage) -> pa.Table:
        """The descriptions that count, failed ones included, with the file that holds them."""
        clips = committed.read_newest(storage, committed.folder(CLIPS), CLIPS, ["status"])
        parts = []
        merged = unread(self.experts) if self.turns else []
        for expert in self._names:
            where = committed.folder(DESCRIPTIONS, expert)
            rows = committed.read_newest(storage, where, DESCRIPTIONS, ["status"], with_file=True)
            rows = self._of_the_round(planning.current(rows, clips), expert)
            if self.turns:
                rows = dialogues.with_context(storage, rows, self.turns if expert in merged else 0)
            parts.append(rows)
        return pa.concat_tables(parts)

    def _of_the_round(self, rows: pa.Table, expert: str) -> pa.Table:
        """The answers of one expert that this step reads."""
        if self.rounds is None:
            return rows
        # The first one: whatever is not of a later round.
        numbers = [self.number] if self.follows else range(2, len(self.rounds) + 1)
        inside = pa.chunked_array([pa.repeat(False, rows.num_rows)])
        for number in numbers:
            inside = pc.or_(inside, planning.numbered(rows, self.rounds.numbers(expert, number)))
        return rows.filter(inside if self.follows else pc.invert(inside))

    def made(self, storage: Storage) -> pa.Table:
        columns = ["status", dialogues.CONTEXT] if self.turns else ["status"]
        parts = [
            committed.read_newest(storage, committed.folder(VOTES, expert), VOTES, columns)
            for expert in self._names
        ]
        return pa.concat_tables(parts)

    def left(self, storage: Storage, given: pa.Table, retry: bool = False) -> pa.Table:
        """Those that have no vote as new as they and the turns that go with them are."""
        votes = self.made(storage)
        votes = planning.well(votes) if retry else votes
        if self.turns:
            votes = votes.filter(dialogues.of_same_context(votes, given, self.key))
        return planning.stale(given, votes, self.key)

    def failed(self, storage: Storage, given: pa.Table | None = None) -> pa.Table:
        """A vote that failed because its description did is the describing expert's failure."""
        return super().failed(storage, planning.well(self.given(storage) if given is None else given))

    def arriving(self, storage: Storage, planned: Mapping[str, int]) -> int:
        steps = [DescribeStep(expert, self.rounds, self.number) for expert in self.experts]
        return sum(planned.get(step.name, 0) * len(step.answers) for step in steps if step.answers)

    def settings(self) -> dict[str, Any] | None:
        if self.follows:
            return None  # those of the first round
        return deciding(self.config.model_dump(mode="json"), type(self.config))

    def resources(self) -> Resources:
        return self._kind.resources(self.config)

    def needs(self) -> list[Need]:
        if self.follows:
            return []  # as in the first round
        return of_kind(extraction.REGISTRY, self.name, "extract", self.config)

    def work(self, storage: Storage, run_id: str, rows: pa.Table) -> Pass:
        settings = self.config
        told = [dialogues.CONTEXT, dialogues.CONTEXT_FILES] if self.turns else []
        rows = rows.select([*self.key, "file", *told])
        if rows.num_rows:
            rows = with_clip_file(storage, rows, unread(self.experts))
        return Pass(
            step=self.name,
            table=VOTES,
            where=self.where,
            rows=rows,
            key=self.key,
            read=lambda shard: read_texts(storage, shard),
            worker=lambda: ExtractWorker(settings, run_id),
            failed=lambda lost, error: vote_rows(lost, [error] * lost.num_rows, None, run_id),
            resources=self.resources(),
            shard_rows=SHARD_ROWS,
        )


def unread(settings: Sequence[Settings]) -> list[str]:
    """The experts that did not read the transcript: the words are merged into what they saw and heard."""
    names = []
    for one in settings:
        if not experts.expert_class(one.kind).reads_transcript(one):
            names.append(one.name)
    return names


def with_clip_file(storage: Storage, rows: pa.Table, unread: list[str]) -> pa.Table:
    """The rows with the file of the clips table that holds their transcript; null where none is wanted."""
    clips = committed.read_newest(storage, committed.folder(CLIPS), CLIPS, [], with_file=True)
    at = pc.index_in(rows.column("video_id"), value_set=clips.column("video_id").combine_chunks())
    wanted = pc.is_in(rows.column("expert"), value_set=pa.array(unread, pa.string()))
    file = pc.if_else(wanted, clips.column("file").take(at), pa.scalar(None, pa.string()))
    return rows.append_column("clip_file", file)


def read_texts(storage: Storage, rows: pa.Table) -> pa.Table:
    """The text of each description of a shard, and the words of its clip where they are wanted.

    Where turns go along, `context` and `before` are those of the vote; `told` is what the expert was told.
    """
    said = ["text", "labels", "strengths", "modalities", "degraded", "status", "error", "error_message"]
    texts = committed.read_given(storage, DESCRIPTIONS, rows, [*said, dialogues.CONTEXT])
    names = ["told" if name == dialogues.CONTEXT else name for name in texts.column_names]
    texts = texts.rename_columns(names)
    texts = texts.append_column("transcript", _of_clips(storage, texts, rows, "transcript"))
    if dialogues.CONTEXT in rows.column_names:
        at = planning.place(texts, rows, DESCRIPTIONS.key)
        turns = dialogues.read_turns(storage, rows).take(at)
        texts = texts.append_column(dialogues.CONTEXT, rows.column(dialogues.CONTEXT).take(at))
        texts = texts.append_column("before", turns)
        texts = texts.append_column("speaker", _of_clips(storage, texts, rows, "speaker"))
    return texts


def _of_clips(storage: Storage, texts: pa.Table, rows: pa.Table, column: str) -> pa.Array:
    """A column of the clips beside each text, null where no words are wanted or there is none."""
    merged = rows.filter(pc.is_valid(rows.column("clip_file"))).select(["video_id", "clip_file"])
    clips = merged.rename_columns(["video_id", "file"]).group_by(["video_id", "file"]).aggregate([])
    found = committed.read_given(storage, CLIPS, clips, [column])
    said = dict(zip(*(found.column(name).to_pylist() for name in ("video_id", column)), strict=True))
    wanted = rows.filter(pc.is_valid(rows.column("clip_file"))).select(list(DESCRIPTIONS.key))
    asks = pc.is_valid(planning.place(texts, wanted, DESCRIPTIONS.key)).to_pylist()
    ids = texts.column("video_id").to_pylist()
    return pa.array(
        [said.get(name) if ask else None for name, ask in zip(ids, asks, strict=True)], pa.string()
    )


class ExtractWorker:
    """Holds an extractor; a description that failed becomes a vote that failed, with the same error.

    The text of an expert that gave labels itself is not read: its labels are the vote, with their strengths.
    """

    def __init__(self, settings: extraction_protocol.Settings, run_id: str) -> None:
        self._extractor = extraction.load(settings)
        self._run_id = run_id

    def __call__(self, rows: pa.Table) -> pa.Table:
        results: list[Reading | RowError | None] = []
        waiting: list[ExtractRow] = []
        descriptions = rows.to_pylist()
        for row in descriptions:
            key = f"{row['video_id']}/{row['expert']}/{row['sample']}"
            if row["status"] != OK:
                results.append(RowError(row["error"], row["error_message"]))
            elif row["labels"] is not None:
                results.append(Reading(row["labels"]))
            elif saw_nothing(row):
                results.append(Reading([], notes=(f"there was no {' and no '.join(row['degraded'])}",)))
            else:
                before = tuple(Turn(**turn) for turn in row.get("before") or ())
                waiting.append(ExtractRow(row["text"], row["transcript"], key, row.get("speaker"), before))
                results.append(None)
        answers = iter(answers_of(self._extractor.read, waiting, "extractor_error"))
        found = [next(answers) if result is None else result for result in results]
        read = [rests_on_words(*pair) for pair in zip(descriptions, found, strict=True)]
        return vote_rows(rows, found, self._extractor.name, self._run_id, read)


def saw_nothing(description: dict[str, Any]) -> bool:
    """Whether the clip had none of the modalities that the expert wanted: what was not there does not vote.

    Rows that were written before `modalities` was a column do not say what was wanted.
    """
    wanted = set(description["modalities"] or ())
    return bool(wanted) and wanted <= set(description["degraded"] or ())


def rests_on_words(description: dict[str, Any], result: Reading | RowError) -> bool | None:
    """Whether a vote rests on words that are said in the clip or in turns before it; None where the
    description tells not what its expert read.
    """
    if isinstance(result, RowError):
        return None
    if result.with_transcript or description.get("told"):
        return True
    if description["modalities"] is None:
        return None
    return TRANSCRIPT in description["modalities"] and TRANSCRIPT not in (description["degraded"] or ())


def _numbered(reading: Reading) -> list[int] | None:
    """Beside each label the number of the alternatives that it is one of, 0 for none; None where all are."""
    number = {label: place for place, group in enumerate(reading.alternatives, 1) for label in group}
    return [number.get(label, 0) for label in reading.labels] if number else None


def vote_rows(
    rows: pa.Table,
    results: Sequence[Reading | list[str] | RowError],
    extractor: str | None,
    run_id: str,
    from_transcript: Sequence[bool | None] | None = None,
) -> pa.Table:
    """Rows of the `votes` table for descriptions and what was read off each.

    rows: with the columns `labels` and `strengths` where experts may have given them.
    """
    given: list[Any] = [None] * rows.num_rows
    strengths = given
    if "labels" in rows.column_names:
        given, strengths = (rows.column(name).to_pylist() for name in ("labels", "strengths"))
    errors = [result if isinstance(result, RowError) else None for result in results]
    readings = [Reading(result) if isinstance(result, list) else result for result in results]
    read = [None if isinstance(reading, RowError) else reading for reading in readings]
    columns = {
        **{name: rows.column(name) for name in VOTES.key},
        "labels": [reading and reading.labels for reading in read],
        "extractor": [extractor if labels is None else GIVEN for labels in given],
        "parse_ok": [error is None for error in errors],
        "strengths": strengths,
        "alternatives": [reading and _numbered(reading) for reading in read],
        "merged_text": [reading and reading.merged for reading in read],
        dialogues.CONTEXT: context_of(rows),
        "from_transcript": list(from_transcript or [None] * rows.num_rows),
        "notes": [reading and list(reading.notes) for reading in read],
    }
    return VOTES.rows(columns, run_id, errors)
