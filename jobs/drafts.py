"""clips → drafts: what captioning experts write, one pass per expert and prompt, and the emotions in it.

plan minus drafts  →  read clips, cut windows  →  expert  →  drafts
drafts minus labels  →  read texts  →  extractor  →  draft labels
"""

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo import committed, experts, extraction, planning
from emo.aligned import answers_of
from emo.captions import windows
from emo.captions.assemble import caption_id
from emo.captions.captioners import takes_prompt
from emo.captions.plan import Variant, questions
from emo.captions.prompts import CaptionPrompt
from emo.config import Config
from emo.errors import EmoError, RowError
from emo.experts.media import evenly
from emo.experts.protocol import AUDIO, FRAMES, Card, Clip, Description
from emo.extraction.protocol import ExtractRow
from emo.runs import Step
from emo.storage import Storage
from emo.tables import DRAFT_LABELS, DRAFTS, OK
from jobs.describe import read_clips, to_clip
from jobs.passes import Pass, status_columns
from jobs.session import Session

# Questions of a shard: each holds its clip's frames and sound.
SHARD_ROWS = 100
LABEL_SHARD_ROWS = 2000
LABEL_FREE, LABEL_CONDITIONED = "label_free", "label_conditioned"

_QUESTION_KEY = ("video_id", "prompt", "window")


def left_to_do(
    storage: Storage, clips: pa.Table, variants: Sequence[Variant], retry: bool = False
) -> list[Variant]:
    """Of these captions those that were not drafted since their clip was ingested, or with another prompt."""
    done = committed.read_newest(storage, DRAFTS.name, DRAFTS, ["status", "prompt_sha"])
    if retry:
        done = done.filter(pc.equal(done.column("status"), OK))
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
    """What one pass asks of one expert; prompt_name: as in the tables; gold: the polarity that is shown."""

    settings: dict[str, Any]
    prompt: CaptionPrompt
    prompt_name: str
    gold: str | None
    samples: int


def asks(config: Config, clips: pa.Table, variants: Sequence[Variant]) -> list[tuple[Ask, pa.Table]]:
    """The passes: one per expert, prompt, polarity shown and number of samples, with the questions of each.

    A worker loads its expert with its prompt and its number of samples, which share one prefill.
    """
    file_of = dict(zip(clips.column("video_id").to_pylist(), clips.column("file").to_pylist(), strict=True))
    groups: dict[tuple[str, str, int], list[Variant]] = defaultdict(list)
    for variant, samples in questions(variants):
        groups[variant.captioner.expert, variant.prompt_name, samples].append(variant)
    found = []
    order = [expert["name"] for expert in config.experts]
    for (expert, name, samples), asked in sorted(
        groups.items(), key=lambda group: (order.index(group[0][0]), group[0])
    ):
        settings = {**config.expert(expert), "samples": samples}
        ask = Ask(settings, asked[0].prompt, name, asked[0].gold, samples)
        # By file, so that a shard reads few of them.
        asked.sort(key=lambda variant: (file_of[variant.video_id], variant.video_id, variant.window))
        columns = {
            "video_id": [variant.video_id for variant in asked],
            "prompt": [name] * len(asked),
            "window": [variant.window.name for variant in asked],
            "file": [file_of[variant.video_id] for variant in asked],
        }
        found.append((ask, pa.table(columns)))
    return found


def draft(session: Session, ask: Ask, rows: pa.Table) -> Step:
    """Let one expert answer one prompt about windows of clips."""
    storage, run_id = session.storage, session.run_id
    expert = ask.settings["name"]
    cls = experts.expert_class(ask.settings["kind"])
    step = Pass(
        step=f"caption {expert} {ask.prompt_name}",
        table=DRAFTS,
        where=committed.folder(DRAFTS, expert),
        rows=rows,
        key=_QUESTION_KEY,
        read=lambda shard: read_questions(storage, shard),
        worker=lambda: CaptionWorker(ask, run_id),
        failed=lambda lost, error: draft_rows(lost, [error] * lost.num_rows, ask, None, run_id),
        resources=cls.resources(cls.Settings(**ask.settings)),
        shard_rows=SHARD_ROWS,
    )
    return session.execute(step, skipped=0)


def read_questions(storage: Storage, rows: pa.Table) -> pa.Table:
    """The large columns of the clip of each question; a clip is read once for all its windows."""
    once = rows.select(["video_id", "file"]).group_by(["video_id", "file"]).aggregate([])
    found = read_clips(storage, once)
    at = pc.index_in(rows.column("video_id"), value_set=found.column("video_id").combine_chunks())
    found = found.take(at)
    for name in ("prompt", "window"):
        found = found.append_column(name, rows.column(name))
    return found


class CaptionWorker:
    """Holds an expert with its prompt; drafts the captions of a shard's questions."""

    def __init__(self, ask: Ask, run_id: str) -> None:
        self._ask = ask
        self._run_id = run_id
        settings = dict(ask.settings)
        if takes_prompt(settings):
            # By its text and not by its path: the file of a user stands on the driver's machine alone.
            self._folder = tempfile.TemporaryDirectory(prefix="emo-prompt-")
            path = Path(self._folder.name) / f"{ask.prompt.name}.txt"
            path.write_text(ask.prompt.shown(ask.gold), encoding="utf-8")
            settings["prompt"] = str(path)
        self._expert = experts.load(settings)

    def __call__(self, rows: pa.Table) -> pa.Table:
        cuts = [_cut(row) for row in rows.to_pylist()]
        clips = [clip for clip in cuts if not isinstance(clip, RowError)]
        answers = iter(answers_of(self._expert.describe, clips, "expert_error"))
        results = [cut if isinstance(cut, RowError) else self._drafted(cut, next(answers)) for cut in cuts]
        return draft_rows(rows, results, self._ask, self._expert.card, self._run_id)

    def _drafted(self, clip: "Cut", answer: list[Description] | RowError) -> "Drafted | RowError":
        if isinstance(answer, RowError):
            return answer
        senses = self._expert.card.modalities
        places = clip.places if FRAMES in senses else []
        # The frames that the expert takes of those that it is given.
        shown = evenly(len(places), self._ask.settings.get("max_frames") or len(places))
        return Drafted(answer, [places[at] for at in shown], AUDIO in senses and clip.audio is not None)


@dataclass(frozen=True)
class Cut(Clip):
    """The part of a clip within a window; places: which of the whole clip's frames it has."""

    places: tuple[int, ...] = ()


def _cut(row: dict[str, Any]) -> Cut | RowError:
    clip, window = to_clip(row), windows.parse_window(row["window"])
    try:
        part = windows.cut(clip, window)
    except RowError as error:
        return error
    return Cut(**vars(part), places=tuple(windows.frame_places(window, len(clip.frames))))


@dataclass(frozen=True)
class Drafted:
    """The answers to one question, one per sample, and the media that went along: places of frames, sound."""

    answers: list[Description]
    frames: list[int]
    audio: bool


def draft_rows(
    rows: pa.Table, results: Sequence[Drafted | RowError], ask: Ask, card: Card | None, run_id: str
) -> pa.Table:
    """Rows of the `drafts` table: one per question and sample, failed ones included."""
    of_all = {
        "expert": ask.settings["name"],
        "question": ask.prompt.question,
        "gold_shown": LABEL_CONDITIONED if ask.prompt.shows_gold else LABEL_FREE,
        "seed": ask.settings["seed"],
        "prompt_sha": ask.prompt.sha,
        **{name: getattr(card, name, None) for name in ("model", "revision", "adapter")},
    }
    lines: list[dict[str, Any]] = []
    errors: list[RowError | None] = []
    for question, result in zip(rows.select(list(_QUESTION_KEY)).to_pylist(), results, strict=True):
        for sample in range(ask.samples):
            written: dict[str, Any] = {}
            error = result if isinstance(result, RowError) else None
            if isinstance(result, Drafted):
                if sample < len(result.answers):
                    # Its fields are columns of the table: text, degraded, tokens, finish_reason.
                    written = vars(result.answers[sample]) | {"frames": result.frames, "audio": result.audio}
                else:
                    given = f"{len(result.answers)} of {ask.samples} samples"
                    error = RowError("sample_missing", f"the expert gave {given}")
            lines.append({**of_all, **question, **written, "sample": sample})
            errors.append(error)
    for name, values in status_columns(run_id, errors).items():
        for line, value in zip(lines, values, strict=True):
            line[name] = value
    return pa.Table.from_pylist(lines, schema=DRAFTS.schema)


def label(session: Session, redo: bool, retry: bool) -> Step:
    """Extract the emotions of every draft whose labels are missing or older than it."""
    storage, run_id, settings = session.storage, session.run_id, session.config.extract
    drafts = committed.read_newest(storage, DRAFTS.name, DRAFTS, ["status"], with_file=True)
    drafts = drafts.filter(pc.equal(drafts.column("status"), OK))
    done = committed.read_newest(storage, DRAFT_LABELS.name, DRAFT_LABELS, ["status"])
    if retry:
        done = done.filter(pc.equal(done.column("status"), OK))
    rows = drafts if redo else planning.stale(drafts, done, DRAFTS.key)
    cls = extraction.extractor_class(settings["kind"])
    step = Pass(
        step="extract captions",
        table=DRAFT_LABELS,
        where=DRAFT_LABELS.name,
        rows=rows.select([*DRAFTS.key, "file"]),
        key=DRAFTS.key,
        read=lambda shard: read_drafts(storage, shard),
        worker=lambda: DraftLabelWorker(settings, run_id),
        failed=lambda lost, error: label_rows(lost, [error] * lost.num_rows, None, run_id),
        resources=cls.resources(cls.Settings(**settings)),
        shard_rows=LABEL_SHARD_ROWS,
    )
    return session.execute(step, drafts.num_rows - rows.num_rows)


def read_drafts(storage: Storage, rows: pa.Table) -> pa.Table:
    """The text of each draft of a shard."""
    parts = []
    for path in pc.unique(rows.column("file")).to_pylist():
        found = committed.read_file(storage, DRAFTS, path, [*DRAFTS.key, "text"])
        parts.append(planning.in_both(found, rows.filter(pc.equal(rows.column("file"), path)), DRAFTS.key))
    texts = pa.concat_tables(parts)
    if texts.num_rows != rows.num_rows:
        raise EmoError(f"{rows.num_rows - texts.num_rows} drafts vanished from {storage.url}")
    return texts


class DraftLabelWorker:
    """Holds an extractor; reads the drafts of a shard."""

    def __init__(self, settings: dict[str, Any], run_id: str) -> None:
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
        **status_columns(run_id, errors),
    }
    return pa.table({name: columns[name] for name in DRAFT_LABELS.schema.names}, schema=DRAFT_LABELS.schema)
