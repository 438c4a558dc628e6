"""clips → descriptions: one pass per expert and round over the whole cluster, side by side where it has room.

clips minus descriptions of this expert  →  read frames and sound  →  expert  →  descriptions
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo import dialogues, experts
from emo.aligned import answers_of
from emo.clips import ingested, read_clips, to_clip
from emo.cojudgment.rounds import Rounds
from emo.engines.adapters import frame_budget, prompt_note
from emo.errors import RowError
from emo.estimates import Expected
from emo.experts.answers import read_description
from emo.experts.protocol import Card, Description, Expert, Resources, Settings
from emo.jobs.rounds import expected, open_before
from emo.marks import deciding
from emo.needs import Need, of_kind
from emo.step import Pass, Step
from emo.store import committed, planning
from emo.store.storage import Storage
from emo.store.tables import CLIPS, DESCRIPTIONS, FAILED, OK, Table

# Clips of a shard: about 50 MB with frames and sound.
SHARD_ROWS = 100


@dataclass(frozen=True, eq=False)
class DescribeStep(Step):
    """Let one expert describe every clip that was ingested; expert: its validated settings.

    rounds: where experts are asked in rounds, then `number` is the round: the expert gives its answers of
    that round, in a later one about the clips that are still open. None: all its answers at once.
    """

    expert: Settings
    rounds: Rounds | None = None
    number: int = 1

    table: ClassVar[Table] = DESCRIPTIONS
    # An expert that answers five times per clip has one clip to do, not five.
    key: ClassVar[tuple[str, ...]] = CLIPS.key
    did: ClassVar[str] = "described"

    @property
    def name(self) -> str:
        return f"describe {self.expert.name}" + (f" round {self.number}" if self.follows else "")

    @property
    def where(self) -> str:
        return committed.folder(DESCRIPTIONS, self.expert.name)

    @cached_property
    def _kind(self) -> type[Expert]:
        return experts.expert_class(self.expert.kind)

    @cached_property
    def answers(self) -> range:
        """The numbers of the answers that this step gives to a clip."""
        if self.rounds is None:
            return range(self.expert.samples)
        return self.rounds.numbers(self.expert.name, self.number)

    @property
    def turns(self) -> int:
        """How many turns before a clip the expert is told."""
        return self._kind.previous_turns(self.expert)

    @property
    def follows(self) -> bool:
        """Whether the expert was asked before: its further answers are older than its new first one."""
        return self.answers.start > 0

    def given(self, storage: Storage) -> pa.Table:
        """Clips that were ingested; of a later round with `open`: those that are, and those that it did."""
        clips = ingested(storage)
        if self.turns:
            clips = dialogues.with_context(storage, clips, self.turns)
        if self.rounds is None or self.number == 1:
            return clips
        waiting = open_before(storage, self.rounds, self.number)
        waiting = planning.not_in(waiting, self._given_up(storage), CLIPS.key)
        is_open = pc.is_valid(planning.place(clips, waiting, CLIPS.key))
        done = pc.is_valid(planning.place(clips, self.made(storage), CLIPS.key))
        return clips.append_column("open", is_open).filter(pc.or_(is_open, done))

    def _given_up(self, storage: Storage) -> pa.Table:
        """The clips on which the expert failed whenever it was asked before."""
        assert self.rounds is not None
        first = self.rounds.numbers(self.expert.name, self.rounds.first(self.expert.name))
        rows = self._rows(storage, first if self.follows else range(0))
        return planning.not_in(rows, planning.well(rows), CLIPS.key)

    def _rows(self, storage: Storage, numbers: range, columns: Sequence[str] = ()) -> pa.Table:
        """The newest answers of these numbers, without those from before the expert was asked anew."""
        rows = committed.read_newest(storage, self.where, DESCRIPTIONS, ["status", *columns])
        rows = planning.answering(rows) if numbers.stop > 1 else rows
        return planning.kept(rows, planning.numbered(rows, numbers))

    def made(self, storage: Storage) -> pa.Table:
        """One row per clip; failed where any of its answers did."""
        rows = self._rows(storage, self.answers)
        if len(self.answers) == 1:
            return rows.select(["video_id", "run_id", "status"])
        failed = planning.failed_rows(rows)
        # The newest, because a retry may have made only some of them.
        each = rows.group_by("video_id").aggregate([("run_id", "max")])
        bad = pc.is_valid(planning.place(each, failed, CLIPS.key))
        return pa.table(
            {
                "video_id": each.column("video_id"),
                "run_id": each.column("run_id_max"),
                "status": pc.if_else(bad, FAILED, OK),
            }
        )

    def left(self, storage: Storage, given: pa.Table, retry: bool = False) -> pa.Table:
        """Those that lack answers since they, and the turns that go with them, were ingested; `answers`:
        which, null for all of this step.
        """
        if "open" in given.column_names:
            given = given.filter(given.column("open"))
        rows = self._rows(storage, self.answers, [dialogues.CONTEXT] if self.turns else [])
        rows = planning.well(rows) if retry else rows
        clip = planning.place(rows, given, CLIPS.key)
        new = pc.greater_equal(rows.column("run_id"), given.column("run_id").take(clip)).fill_null(False)
        if self.turns:
            new = pc.and_(new, dialogues.of_same_context(rows, given, CLIPS.key))
        places = rows.column("sample").filter(new).to_numpy() - self.answers.start
        there = np.zeros((given.num_rows, len(self.answers)), dtype=bool)
        there[clip.filter(new).to_numpy(), places] = True
        lacking = ~there.all(axis=1)
        # A first answer that is made anew makes the others old.
        some = lacking & there.any(axis=1) & (there[:, 0] | (self.answers.start > 0))
        asked: list[list[int] | None] = [None] * given.num_rows
        for place in np.flatnonzero(some):
            asked[place] = [self.answers[at] for at in np.flatnonzero(~there[place])]
        column = pa.array(asked, pa.list_(pa.int32()))
        return given.append_column("answers", column).filter(pa.array(lacking))

    def failed(self, storage: Storage, given: pa.Table | None = None) -> pa.Table:
        """Of the clips that are still open: another configuration may have closed one since."""
        given = self.given(storage) if given is None else given
        if "open" in given.column_names:
            given = given.filter(given.column("open"))
        return super().failed(storage, given)

    def all_failed(self, storage: Storage) -> pa.Table:
        return planning.failed_rows(self._rows(storage, self.answers, ["error", "error_message"]))

    def arriving(self, storage: Storage, planned: Mapping[str, int]) -> int:
        return planned.get("ingest", 0) if self.number == 1 else 0

    def expected(self, storage: Storage, planned: Mapping[str, int]) -> Expected | None:
        """Of the clips that have not come to this round those that are likely to."""
        if self.rounds is None or self.number == 1:
            return None
        return expected(storage, self.rounds, self.number, planned.get("ingest", 0))

    @property
    def assumed_seconds(self) -> float:
        # A model of 7 to 9 billion weights on one GPU of the last years writes a paragraph in one to three
        # seconds; an expert without a GPU only measures.
        return 2.0 if self.resources().gpus else 0.25

    def settings(self) -> dict[str, Any] | None:
        """In rounds the number of answers decides nothing: what is not there yet can be asked for later."""
        if self.follows:
            return None
        settings = expert_settings(self.expert.model_dump(mode="json"))
        if self.rounds is not None:
            del settings["samples"]
        return settings

    def resources(self) -> Resources:
        return self._kind.resources(self.expert)

    def needs(self) -> list[Need]:
        if self.follows:
            return []  # as when it was asked first
        name = self.expert.name
        # As plain values: the class of the settings may not be there where they are looked at.
        told = (getattr(self.expert, key, None) for key in ("adapter", "model", "max_frames", "system"))
        notes = partial(_notes, *told)
        return of_kind(experts.REGISTRY, self.name, f"expert {name}", self.expert, notes)

    def work(self, storage: Storage, run_id: str, rows: pa.Table) -> Pass:
        settings, numbers = self.expert, self.answers
        if "answers" not in rows.column_names:
            rows = rows.append_column("answers", pa.nulls(rows.num_rows, pa.list_(pa.int32())))
        return Pass(
            step=self.name,
            table=DESCRIPTIONS,
            where=self.where,
            rows=rows.select(["video_id", "file", "answers", *_context_of(rows)]),
            key=self.key,
            read=lambda shard: read_asked(storage, shard),
            worker=lambda: DescribeWorker(settings, run_id, numbers),
            failed=lambda lost, error: rows_of(
                lost.column("video_id").to_pylist(),
                [error] * lost.num_rows,
                settings,
                None,
                run_id,
                asked_of(lost, numbers),
                context_of(lost),
            ),
            resources=self.resources(),
            shard_rows=SHARD_ROWS,
            answers=numbers,
        )


def read_asked(storage: Storage, rows: pa.Table) -> pa.Table:
    """The clips of a shard with what each is asked for."""
    found = read_clips(storage, rows)
    at = planning.place(found, rows, CLIPS.key)
    found = found.append_column("answers", rows.column("answers").take(at))
    if not _context_of(rows):
        return found
    told = rows.column(dialogues.CONTEXT).take(at)
    turns = dialogues.read_turns(storage, rows).take(at)
    return found.append_column(dialogues.CONTEXT, told).append_column("before", turns)


def _context_of(rows: pa.Table) -> list[str]:
    """The columns of rows that say which turns go along."""
    return [name for name in (dialogues.CONTEXT, dialogues.CONTEXT_FILES) if name in rows.column_names]


def context_of(rows: pa.Table) -> list[list[str] | None]:
    """The ids of the turns that go along with each row, None where none is asked for."""
    if dialogues.CONTEXT not in rows.column_names:
        return [None] * rows.num_rows
    told: list[list[str] | None] = rows.column(dialogues.CONTEXT).to_pylist()
    return told


def asked_of(rows: pa.Table, numbers: range) -> list[Sequence[int]]:
    """The numbers of the answers that each row asks for, all of the step's where it does not say."""
    return [one or numbers for one in rows.column("answers").to_pylist()]


def expert_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of an expert's settings, as a run file has them, those that decide what it writes; nested as `a.b`."""
    from emo.experts.openai import OpenAISettings

    kind = settings.get("kind")
    # A run file of a version before kinds: its experts were asked of a server.
    return deciding(settings, experts.expert_class(kind).Settings if kind else OpenAISettings)


def _notes(adapter: str | None, model: str | None, max_frames: int | None, system: str | None) -> list[str]:
    """Lines about an adapter, or a finetuned model, that the expert asks otherwise than it was trained."""
    folder = adapter or model
    told = []
    if folder:
        told.append(frame_budget(Path(folder).expanduser(), max_frames))
    if adapter:
        told.append(prompt_note(Path(adapter).expanduser(), system))
    return [line for line in told if line]


class DescribeWorker:
    """Holds an expert; describes the clips of a shard. numbers: of the answers that the step gives."""

    def __init__(self, settings: Settings, run_id: str, numbers: range) -> None:
        self._settings = settings
        self._numbers = numbers
        self._expert = experts.load(settings)
        self._run_id = run_id

    def __call__(self, rows: pa.Table) -> pa.Table:
        asked = asked_of(rows, self._numbers)
        # Who is asked for all its answers need not be told which.
        which = [None if len(one) == self._settings.samples else tuple(one) for one in asked]
        clips = [replace(to_clip(row), samples=one) for row, one in zip(rows.to_pylist(), which, strict=True)]
        results = answers_of(self._expert.describe, clips, "expert_error")
        ids = [clip.video_id for clip in clips]
        told = context_of(rows)
        return rows_of(ids, results, self._settings, self._expert.card, self._run_id, asked, told)


def learned_from(settings: Settings, card: Card) -> list[str]:
    """The data sets that an expert was trained on: what its checkpoint tells, and what the user knows."""
    return list(dict.fromkeys([*card.trained_on, *settings.trained_on]))


def rows_of(
    video_ids: list[str],
    results: list[list[Description] | RowError],
    settings: Settings,
    card: Card | None,
    run_id: str,
    asked: Sequence[Sequence[int]] | None = None,
    context: Sequence[list[str] | None] | None = None,
) -> pa.Table:
    """Rows of the `descriptions` table: one per clip and answer, failed ones included.

    asked: per clip the numbers of the answers that it was asked for, None: all; context: per clip the ids of
    the turns that went along, None: none were asked for.
    """
    nothing = Description("")
    lines: list[tuple[str, int, Description, RowError | None]] = []
    every = asked or [range(settings.samples)] * len(video_ids)
    for video_id, result, numbers in zip(video_ids, results, every, strict=True):
        given = len(result) if isinstance(result, list) else 0
        # More than were asked for: which of them are meant is not known.
        sure = given <= len(numbers) or len(numbers) == settings.samples
        for place, sample in enumerate(numbers):
            if isinstance(result, RowError):
                lines.append((video_id, sample, nothing, result))
            elif place < given and sure:
                lines.append((video_id, sample, *read_description(result[place])))
            else:
                told = f"{given} answers came where {len(numbers)} were asked for"
                missing = RowError("sample_missing", told)
                lines.append((video_id, sample, nothing, missing))
    failed = [error is not None for _, _, _, error in lines]
    turns = dict(zip(video_ids, context or [None] * len(video_ids), strict=True))
    columns = {
        "video_id": [video_id for video_id, _, _, _ in lines],
        "expert": [settings.name] * len(lines),
        "sample": [sample for _, sample, _, _ in lines],
        "text": [None if bad else d.text for (_, _, d, _), bad in zip(lines, failed, strict=True)],
        dialogues.CONTEXT: [turns[video_id] for video_id, _, _, _ in lines],
        "modalities": [None if bad or not card else card.modalities for bad in failed],
        "degraded": [None if bad else d.degraded for (_, _, d, _), bad in zip(lines, failed, strict=True)],
        **{
            name: [getattr(description, name) for _, _, description, _ in lines]
            for name in ("thought", "prompt_tokens", "output_tokens", "finish_reason", "vectors")
        },
        **{
            name: [getattr(card, name) if card else None] * len(lines)
            for name in ("model", "revision", "adapter", "prompt_sha", "licence", "engine")
        },
        "trained_on": [None if not card else learned_from(settings, card)] * len(lines),
        **{
            name: [_given(d, place) for _, _, d, _ in lines]
            for place, name in enumerate(("labels", "strengths"))
        },
    }
    return DESCRIPTIONS.rows(columns, run_id, [error for _, _, _, error in lines])


def _given(description: Description, place: int) -> list[Any] | None:
    """The words (0) or the strengths (1) that the expert itself gave; None where it gave none to read."""
    return None if description.labels is None else [pair[place] for pair in description.labels]
