"""clips → drafts: what captioning experts write, one pass per expert and prompt, and the emotions in it.

plan minus drafts  →  read clips, cut windows  →  expert  →  drafts
drafts minus labels  →  read texts  →  extractor  →  draft labels
"""

import itertools
import math
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo import experts, extraction
from emo.aligned import answers_of
from emo.aus.peaks import Peaks
from emo.captions import windows
from emo.captions.assemble import caption_id
from emo.captions.captioners import takes_prompt
from emo.captions.merr.plan import CLUES
from emo.captions.plan import Variant
from emo.captions.prompts import CaptionPrompt
from emo.clips import read_clips, to_clip
from emo.config import Config
from emo.errors import RowError
from emo.experts.answers import read_description
from emo.experts.media import evenly
from emo.experts.protocol import AUDIO, FRAMES, Card, Clip, Description, Settings
from emo.extraction import protocol as extraction_protocol
from emo.extraction.protocol import ExtractRow
from emo.run.session import Session
from emo.step import Pass
from emo.store import committed, planning
from emo.store.runs import StepRecord
from emo.store.storage import Storage
from emo.store.tables import DRAFT_LABELS, DRAFTS

# Questions of a shard: each holds its clip's frames and sound.
SHARD_QUESTIONS = 100
LABEL_SHARD_ROWS = 2000
LABEL_FREE, LABEL_CONDITIONED = "label_free", "label_conditioned"

_QUESTION_KEY = ("video_id", "prompt", "window")
_NOWHERE = pa.scalar(None, pa.int32())
# Of the drafts of one pass: a later round of a run asks for further samples of a question.
DRAFT_KEY = (*_QUESTION_KEY, "sample")


def left_to_do(
    storage: Storage, clips: pa.Table, variants: Sequence[Variant], retry: bool = False
) -> list[Variant]:
    """Of these captions those that were not drafted since their clip was ingested, or with another prompt."""
    done = committed.read_newest(storage, DRAFTS.name, DRAFTS, ["status", "prompt_sha"])
    if retry:
        done = planning.well(done)
    run_of = dict(zip(clips.column("video_id").to_pylist(), clips.column("run_id").to_pylist(), strict=True))
    names = (*DRAFTS.key, "prompt_sha")
    columns = zip(
        *((*v.key, v.prompt.sha, run_of[v.video_id], n) for n, v in enumerate(variants)), strict=True
    )
    schema = pa.schema([*(DRAFTS.schema.field(name) for name in (*names, "run_id")), ("number", pa.int64())])
    rows = pa.table([list(column) for column in columns], schema=schema) if variants else schema.empty_table()
    left = planning.stale(rows, done, names)
    return [variants[number] for number in left.column("number").to_pylist()]


@dataclass(frozen=True)
class Ask:
    """What one pass asks of one expert; prompt_name: as in the tables; gold: the polarity that is shown;
    peaks: where the one frame is that is shown of each clip, None: all frames of the window are.
    """

    settings: Settings
    prompt: CaptionPrompt
    prompt_name: str
    gold: str | None
    peaks: Peaks | None = None


def asks(config: Config, clips: pa.Table, variants: Sequence[Variant]) -> list[tuple[Ask, pa.Table]]:
    """The passes: one per expert, prompt and polarity shown, with the drafts to be made in each.

    A worker loads its expert with its prompt. The samples of a question follow one another: those within a
    shard share one prefill.
    """
    file_of = dict(zip(clips.column("video_id").to_pylist(), clips.column("file").to_pylist(), strict=True))
    groups: dict[tuple[str, str], list[Variant]] = defaultdict(list)
    for variant in variants:
        groups[variant.captioner.expert, variant.prompt_name].append(variant)
    found = []
    order = [expert.name for expert in config.experts]
    for (expert, name), asked in sorted(
        groups.items(), key=lambda group: (order.index(group[0][0]), group[0])
    ):
        # An expert that answers the likeliest where it is asked once draws where it is asked again.
        samples = 1 + max(variant.sample for variant in asked)
        settings = config.expert(expert).model_copy(update={"samples": samples})
        peaks = None
        if (tables := getattr(settings, "peak_tables", None)) is not None:
            # A window has no table of its own: the one frame is chosen before the expert is asked.
            peaks, settings = Peaks(tables), settings.model_copy(update={"peak_tables": None})
        ask = Ask(settings, asked[0].prompt, name, asked[0].gold, peaks)
        # By file, so that a shard reads few of them.
        asked.sort(key=lambda one: (file_of[one.video_id], one.video_id, one.window, one.sample))
        columns = {
            "video_id": [variant.video_id for variant in asked],
            "prompt": [name] * len(asked),
            "window": [variant.window.name for variant in asked],
            "sample": pa.array([variant.sample for variant in asked], pa.int32()),
            "file": [file_of[variant.video_id] for variant in asked],
        }
        found.append((ask, pa.table(columns)))
    return found


def draft(session: Session, ask: Ask, rows: pa.Table) -> StepRecord:
    """Let one expert answer one prompt about windows of clips, each as often as there are rows of it."""
    storage, run_id = session.storage, session.run_id
    expert = ask.settings.name
    cls = experts.expert_class(ask.settings.kind)
    questions = rows.group_by(list(_QUESTION_KEY)).aggregate([]).num_rows
    step = Pass(
        step=f"caption {expert} {ask.prompt_name}",
        table=DRAFTS,
        where=committed.folder(DRAFTS, expert),
        rows=rows,
        key=DRAFT_KEY,
        read=lambda shard: read_questions(storage, shard),
        worker=lambda: CaptionWorker(ask, run_id),
        failed=lambda lost, error: draft_rows(lost, [error] * lost.num_rows, ask, None, run_id),
        resources=cls.resources(ask.settings),
        shard_rows=SHARD_QUESTIONS * math.ceil(rows.num_rows / max(1, questions)),
    )
    return session.execute(step, skipped=0)


def read_questions(storage: Storage, rows: pa.Table) -> pa.Table:
    """The large columns of the clip of each question, at its first row; null at its other samples.

    A clip is read once for all its windows.
    """
    once = rows.select(["video_id", "file"]).group_by(["video_id", "file"]).aggregate([])
    found = read_clips(storage, once)
    at = pc.index_in(rows.column("video_id"), value_set=found.column("video_id").combine_chunks())
    asked = list(zip(*(rows.column(name).to_pylist() for name in _QUESTION_KEY), strict=True))
    first = [number == 0 or asked[number - 1] != question for number, question in enumerate(asked)]
    media = found.drop_columns(["video_id"]).take(pc.if_else(pa.array(first), at.combine_chunks(), _NOWHERE))
    columns = {name: rows.column(name) for name in DRAFT_KEY}
    return pa.table({**columns, **dict(zip(media.column_names, media.columns, strict=True))})


class CaptionWorker:
    """Holds an expert with its prompt; drafts the captions of a shard."""

    def __init__(self, ask: Ask, run_id: str) -> None:
        self._ask = ask
        self._run_id = run_id
        settings = ask.settings
        if takes_prompt(settings):
            # By its text and not by its path: the file of a user stands on the driver's machine alone.
            self._folder = tempfile.TemporaryDirectory(prefix="emo-prompt-")
            path = Path(self._folder.name) / f"{ask.prompt.name}.txt"
            path.write_text(ask.prompt.shown(ask.gold), encoding="utf-8")
            settings = settings.model_copy(update={"prompt": str(path)})
        self._expert = experts.load(settings)

    def __call__(self, rows: pa.Table) -> pa.Table:
        asked: list[tuple[Cut | RowError, list[int]]] = []
        kept: list[bool] = []
        for _, group in itertools.groupby(rows.to_pylist(), itemgetter(*_QUESTION_KEY)):
            first, *others = group
            samples = [row["sample"] for row in (first, *others)]
            # Where the engine cut a very large shard in two, samples are without their clip: they count as
            # lost, and each is asked for alone.
            kept += [first["duration_s"] is not None] * len(samples)
            if kept[-1]:
                asked.append((_cut(first, samples, self._ask.peaks), samples))
        clips = [clip for clip, _ in asked if not isinstance(clip, RowError)]
        answers = iter(answers_of(self._expert.describe, clips, "expert_error"))
        results: list[Drafted | RowError] = []
        for clip, samples in asked:
            if isinstance(clip, RowError):
                results += [clip] * len(samples)
            else:
                results += self._drafted(clip, next(answers), len(samples))
        rows = rows.filter(pa.array(kept))
        return draft_rows(rows, results, self._ask, self._expert.card, self._run_id)

    def _drafted(
        self, clip: "Cut", answers: list[Description] | RowError, wanted: int
    ) -> Sequence["Drafted | RowError"]:
        if isinstance(answers, RowError):
            return [answers] * wanted
        senses = self._expert.card.modalities
        places = clip.places if FRAMES in senses else []
        # The frames that the expert takes of those that it is given.
        shown = evenly(len(places), getattr(self._ask.settings, "max_frames", None) or len(places))
        frames, audio = [places[at] for at in shown], AUDIO in senses and clip.audio is not None
        missing = RowError("sample_missing", f"the expert gave {len(answers)} of {wanted} samples")
        drafted: list[Drafted | RowError] = []
        for answer in answers[:wanted]:
            description, error = read_description(answer)
            drafted.append(error or Drafted(description, frames, audio))
        return [*drafted, *[missing] * (wanted - len(drafted))]


@dataclass(frozen=True)
class Cut(Clip):
    """The part of a clip within a window; places: which of the whole clip's frames it has."""

    places: tuple[int, ...] = ()


def _cut(row: dict[str, Any], samples: list[int], peaks: Peaks | None) -> Cut | RowError:
    clip, window = to_clip(row), windows.parse_window(row["window"])
    places = tuple(windows.frame_places(window, len(clip.frames)))
    try:
        part = windows.cut(clip, window)
        if peaks is not None and places:
            at = peaks.place(clip.video_id, [clip.frame_times[place] for place in places])
            places = (places[at],)
            part = replace(part, frames=(part.frames[at],), frame_times=(part.frame_times[at],))
    except RowError as error:
        return error
    return Cut(**{**vars(part), "samples": tuple(samples), "places": places})


@dataclass(frozen=True)
class Drafted:
    """One answer to a question, and the media that went along: places of frames, sound."""

    answer: Description
    frames: list[int]
    audio: bool


def draft_rows(
    rows: pa.Table, results: Sequence[Drafted | RowError], ask: Ask, card: Card | None, run_id: str
) -> pa.Table:
    """Rows of the `drafts` table, beside `rows`, failed ones included."""
    of_all = {
        "expert": ask.settings.name,
        "question": ask.prompt.question,
        "gold_shown": LABEL_CONDITIONED if ask.prompt.shows_gold else LABEL_FREE,
        "seed": ask.settings.seed,
        "prompt_sha": ask.prompt.sha,
        **{name: getattr(card, name, None) for name in ("model", "revision", "adapter")},
    }
    lines: list[dict[str, Any]] = []
    for draft, result in zip(rows.select(list(DRAFT_KEY)).to_pylist(), results, strict=True):
        written: dict[str, Any] = {}
        if isinstance(result, Drafted):
            # Its fields are columns of the table: text, degraded, tokens, finish_reason.
            written = vars(result.answer) | {"frames": result.frames, "audio": result.audio}
        lines.append({**of_all, **draft, **written})
    errors = [result if isinstance(result, RowError) else None for result in results]
    columns = {name: [line.get(name) for line in lines] for name in DRAFTS.schema.names}
    return DRAFTS.rows(columns, run_id, errors)


def label(session: Session, redo: bool, retry: bool) -> StepRecord:
    """Extract the emotions of every draft whose labels are missing or older than it."""
    storage, run_id, settings = session.storage, session.run_id, session.config.extract
    drafts = committed.read_newest(storage, DRAFTS.name, DRAFTS, ["status"], with_file=True)
    drafts = planning.well(drafts)
    # A clue is a part of a caption, whose labels are read off the whole.
    is_clue = pc.is_in(drafts.column("prompt"), value_set=pa.array(CLUES))
    drafts = drafts.filter(pc.invert(is_clue))
    done = committed.read_newest(storage, DRAFT_LABELS.name, DRAFT_LABELS, ["status"])
    if retry:
        done = planning.well(done)
    rows = drafts if redo else planning.stale(drafts, done, DRAFTS.key)
    cls = extraction.extractor_class(settings.kind)
    step = Pass(
        step="extract captions",
        table=DRAFT_LABELS,
        where=DRAFT_LABELS.name,
        rows=rows.select([*DRAFTS.key, "file"]),
        key=DRAFTS.key,
        read=lambda shard: committed.read_given(storage, DRAFTS, shard, ["text"]),
        worker=lambda: DraftLabelWorker(settings, run_id),
        failed=lambda lost, error: label_rows(lost, [error] * lost.num_rows, None, run_id),
        resources=cls.resources(settings),
        shard_rows=LABEL_SHARD_ROWS,
    )
    return session.execute(step, drafts.num_rows - rows.num_rows)


class DraftLabelWorker:
    """Holds an extractor; reads the drafts of a shard."""

    def __init__(self, settings: extraction_protocol.Settings, run_id: str) -> None:
        self._extractor = extraction.load(settings)
        self._run_id = run_id

    def __call__(self, rows: pa.Table) -> pa.Table:
        # Without the transcript: what the caption itself says is what is trained on.
        texts = [ExtractRow(row["text"], None, caption_id(row)) for row in rows.to_pylist()]
        return label_rows(rows, self._extractor.extract(texts), self._extractor.name, self._run_id)


def label_rows(
    rows: pa.Table, results: Sequence[list[str] | RowError], extractor: str | None, run_id: str
) -> pa.Table:
    """Rows of the `draft_labels` table."""
    errors = [result if isinstance(result, RowError) else None for result in results]
    columns = {
        **{name: rows.column(name) for name in DRAFT_LABELS.key},
        "labels": [None if isinstance(result, RowError) else result for result in results],
        "extractor": [extractor] * rows.num_rows,
    }
    return DRAFT_LABELS.rows(columns, run_id, errors)
