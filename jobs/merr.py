"""clips → captions in the manner of MERR, as drafts beside those of the experts.

clips  →  expert of the scene at the peak frame, expert of the voice  →  drafts          (jobs/drafts.py)
these, the words, the tables of action units  →  form, text model  →  drafts of `merr`
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo.answers.thinking import parted
from emo.aus.peaks import Peaks
from emo.aus.rules import load_rules
from emo.captions.merr.clues import Clues, clues_of, told
from emo.captions.merr.plan import (
    BY_RULES,
    COARSE,
    EXPERT,
    SCENE,
    TONE,
    check_names,
    clue_captioners,
    clue_variants,
    missing,
    peaks_of,
    settings_in,
)
from emo.captions.merr.settings import Merr
from emo.captions.plan import Plan, Variant
from emo.captions.windows import Window
from emo.config import Config
from emo.engines.settings import EngineSettings
from emo.errors import InputError, RowError
from emo.evaluation.judging import missing as missing_model
from emo.experts.protocol import AUDIO, FRAMES, Resources
from emo.extraction.model import ModelExtractor
from emo.extraction.writers import EngineWriter, ServerWriter, Written
from emo.jobs import drafts
from emo.needs import Need
from emo.run.session import Session
from emo.step import Pass
from emo.store import committed
from emo.store.runs import StepRecord
from emo.store.storage import Storage
from emo.store.tables import CLIPS, DRAFTS

SHARD_ROWS = 500
_SEED = 0
# What a clip may lack: its caption is made without the clue, and says so.
_LACKING = "modality_missing"
_SENSES = {SCENE: FRAMES, TONE: AUDIO}


def check(config: Config, gold: Mapping[str, str] | None) -> None:
    """Raise InputError where the section is not sound, on any machine."""
    check_names(config)
    peaks_of(config)
    clue_captioners(config)
    if settings_in(config).label == "gold" and gold is None:
        raise InputError("caption.merr.label: gold is told to the text model; give it with --gold")


def needs(config: Config) -> list[Need]:
    """What the tables and the text model need of the machines."""
    if (merr := config.caption.merr) is None:
        return []
    found = [Need("caption merr", "caption.merr.faces", partial(missing, config), Resources)]
    if (model := merr.text_model) is not None:
        resources = partial(_resources, merr)
        found.append(Need("caption merr", "caption.merr", partial(missing_model, model), resources))
    return found


def _resources(merr: Merr) -> Resources:
    return ModelExtractor.resources(merr.model) if merr.model else Resources(light=merr.server is None)


def make(
    session: Session, clips: pa.Table, wanted: Plan, redo: bool, retry: bool
) -> tuple[list[Variant], list[StepRecord]]:
    """Ask for the clues that are left, then put together the captions that are; these, and the steps."""
    storage, config = session.storage, session.config
    asked = clue_variants(config, list(dict.fromkeys(one.video_id for one in wanted.variants)))
    left = asked if redo else drafts.left_to_do(storage, clips, asked, retry)
    steps = []
    for ask, rows in drafts.asks(config, clips, left):
        if ask.prompt_name == SCENE:
            ask = replace(ask, peaks=peaks_of(config))
        steps.append(drafts.draft(session, ask, rows))
    found = {clue: _clues(storage, one.expert, clue) for one, clue in _asked(config)}
    newest = _newest(clips, found.values())
    todo = list(wanted.variants) if redo else drafts.left_to_do(storage, newest, wanted.variants, retry)
    steps.append(_merge(session, clips, found, todo, len(wanted.variants)))
    return todo, steps


def _asked(config: Config) -> list[tuple[Any, str]]:
    return [(captioner, captioner.prompts[0].name) for captioner in clue_captioners(config)]


def _clues(storage: Storage, expert: str, clue: str) -> pa.Table:
    """The drafts of one clue: keys, file, and what failed."""
    where = committed.folder(DRAFTS, expert)
    columns = ["status", "error", "error_message"]
    rows = committed.read_newest(storage, where, DRAFTS, columns, with_file=True)
    return rows.filter(pc.equal(rows.column("prompt"), clue))


def _newest(clips: pa.Table, clues: Any) -> pa.Table:
    """The clips, as new as the newest of their clues."""
    runs = dict(zip(clips.column("video_id").to_pylist(), clips.column("run_id").to_pylist(), strict=True))
    for rows in clues:
        for row in rows.select(["video_id", "run_id"]).to_pylist():
            if row["video_id"] in runs:
                runs[row["video_id"]] = max(runs[row["video_id"]], row["run_id"])
    at = clips.schema.get_field_index("run_id")
    return clips.set_column(at, clips.schema.field("run_id"), pa.array(list(runs.values()), pa.string()))


def _merge(
    session: Session, clips: pa.Table, found: Mapping[str, pa.Table], todo: Sequence[Variant], planned: int
) -> StepRecord:
    storage, run_id, config = session.storage, session.run_id, session.config
    merr, peaks = settings_in(config), peaks_of(config)
    names = {one.prompt_name: one for one in todo}
    asks = {name: Asked.of(one, merr) for name, one in names.items()}
    rows = pa.table(
        {
            "video_id": pa.array([one.video_id for one in todo], pa.string()),
            "prompt": pa.array([one.prompt_name for one in todo], pa.string()),
            "window": pa.array([one.window.name for one in todo], pa.string()),
            "sample": pa.array([one.sample for one in todo], pa.int32()),
        }
    )
    for name, table, columns in (
        ("clip", clips, ("file", "frames")),
        (SCENE, found[SCENE], ("file", "error", "error_message")),
        (TONE, found[TONE], ("file", "error", "error_message")),
    ):
        at = pc.index_in(rows.column("video_id"), value_set=table.column("video_id").combine_chunks())
        for column in columns:
            rows = rows.append_column(f"{name} {column}", table.column(column).take(at))
    rows = rows.sort_by([("clip file", "ascending"), ("video_id", "ascending"), ("prompt", "ascending")])
    experts = {clue: one.expert for one, clue in _asked(config)}
    step = Pass(
        step="caption merr",
        table=DRAFTS,
        where=committed.folder(DRAFTS, EXPERT),
        rows=rows,
        key=drafts.DRAFT_KEY,
        read=lambda shard: read_clues(storage, shard, experts),
        worker=lambda: MerrWorker(peaks, merr, asks, run_id),
        failed=lambda lost, error: merr_rows(lost, [error] * lost.num_rows, asks, None, run_id),
        resources=_resources(merr),
        shard_rows=SHARD_ROWS,
    )
    return session.execute(step, planned - len(todo))


def read_clues(storage: Storage, rows: pa.Table, experts: Mapping[str, str]) -> pa.Table:
    """The texts of the clues of a shard beside its rows, and the words of each clip."""
    ids = rows.column("video_id")

    def beside(found: pa.Table, column: str) -> pa.ChunkedArray:
        at = pc.index_in(ids, value_set=found.column("video_id").combine_chunks())
        return found.column(column).take(at)

    clips = rows.select(["video_id", "clip file"]).rename_columns(["video_id", "file"])
    clips = clips.group_by(["video_id", "file"]).aggregate([])
    words = committed.read_given(storage, CLIPS, clips, ["transcript"])
    rows = rows.append_column("words", beside(words, "transcript"))
    for clue, expert in experts.items():
        given = rows.select(["video_id", f"{clue} file"]).rename_columns(["video_id", "file"])
        given = given.group_by(["video_id", "file"]).aggregate([]).filter(pc.field("file").is_valid())
        for name, value in (("expert", expert), ("prompt", clue), ("window", Window().name)):
            given = given.append_column(name, pa.array([value] * given.num_rows, pa.string()))
        given = given.append_column("sample", pa.array([0] * given.num_rows, pa.int32()))
        texts = committed.read_given(storage, DRAFTS, given, ["text", "audio", "degraded"])
        rows = rows.append_column(clue, beside(texts, "text"))
        rows = rows.append_column(f"{clue} audio", beside(texts, "audio"))
        rows = rows.append_column(f"{clue} degraded", beside(texts, "degraded"))
    return rows


@dataclass(frozen=True)
class Asked:
    """One kind of caption. gold: the polarity that is told; by_rules: the emotions of the rules are told."""

    question: str
    sha: str
    coarse: bool
    gold: str | None
    by_rules: bool

    @classmethod
    def of(cls, one: Variant, merr: Merr) -> "Asked":
        name = one.prompt.name
        return cls(one.prompt.question, one.prompt.sha, name == COARSE, one.gold, name == BY_RULES)

    @property
    def conditioned(self) -> bool:
        """Whether a label is told."""
        return self.by_rules or self.gold is not None


@dataclass(frozen=True)
class Made:
    """A caption. made_of: its clues, for the column `clues`."""

    text: str
    degraded: tuple[str, ...]
    made_of: str
    thought: str | None = None
    finish_reason: str | None = None


class MerrWorker:
    """Holds the tables and the text model; writes the captions of a shard."""

    def __init__(self, peaks: Peaks, merr: Merr, asks: Mapping[str, Asked], run_id: str) -> None:
        self._peaks, self._asks, self._run_id = peaks, asks, run_id
        self._rules = load_rules(peaks.rules)
        model = merr.text_model
        self._writer = (
            None
            if model is None
            else EngineWriter(model)
            if isinstance(model, EngineSettings)
            else ServerWriter(model)
        )

    def __call__(self, rows: pa.Table) -> pa.Table:
        results: list[Made | RowError] = []
        questions: dict[int, str] = {}
        for place, row in enumerate(rows.to_pylist()):
            ask = self._asks[row["prompt"]]
            try:
                clues, made_of = self._clues(row)
                if not ask.coarse:
                    questions[place] = clues.question(_label(ask, clues))
                results.append(Made(clues.coarse(), clues.absent, made_of))
            except RowError as error:
                results.append(error)
        for place, written in self._written(questions, rows).items():
            made = results[place]
            assert isinstance(made, Made)
            results[place] = written if isinstance(written, RowError) else _with_text(made, written)
        return merr_rows(rows, results, self._asks, self._writer.name if self._writer else None, self._run_id)

    def _clues(self, row: Mapping[str, Any]) -> tuple[Clues, str]:
        for clue in _SENSES:
            if row[f"{clue} file"] is None:
                raise RowError(_LACKING, f"the clip has no {clue} yet")
            lost = {name: row[f"{clue} {name}"] for name in ("error", "error_message")}
            if lost["error"] not in (None, _LACKING):
                raise RowError(lost["error"], f"{clue}: {lost['error_message']}")
        table, reading = self._peaks.of(row["video_id"])
        # An expert that measures says in words that there was nothing to see or hear: that is no clue.
        scene, tone = (
            None if sense in (row[f"{clue} degraded"] or ()) else row[clue] for clue, sense in _SENSES.items()
        )
        clues = clues_of(reading, self._rules, scene, tone, row["words"])
        return clues, json.dumps(told(clues, reading, table, self._rules), ensure_ascii=False)

    def _written(self, questions: Mapping[int, str], rows: pa.Table) -> dict[int, Written | RowError]:
        if not questions:
            return {}
        assert self._writer is not None
        ids = rows.column("video_id").to_pylist()
        keys = [ids[place] for place in questions]
        answers = self._writer.write(list(questions.values()), keys, task="merr", seed=_SEED)
        return dict(zip(questions, answers, strict=True))


def _label(ask: Asked, clues: Clues) -> str | None:
    if not ask.by_rules:
        return ask.gold
    if not clues.labels:
        raise RowError("no_label", "no rule goes with the action units, so there is no label to tell")
    return " or ".join(clues.labels)


def _with_text(made: Made, written: Written) -> Made | RowError:
    answer = parted(written.text)
    if not answer.said:
        code = "thought_only" if answer.thought else "empty_answer"
        return RowError(code, "the text model wrote no caption")
    reason = "stop" if written.complete else "length"
    return replace(made, text=answer.said, thought=answer.thought, finish_reason=reason)


def merr_rows(
    rows: pa.Table,
    results: Sequence[Made | RowError],
    asks: Mapping[str, Asked],
    model: str | None,
    run_id: str,
) -> pa.Table:
    """Rows of the `drafts` table, beside `rows`, failed ones included."""
    lines: list[dict[str, Any]] = []
    given = rows.to_pylist()
    for row, result in zip(given, results, strict=True):
        ask = asks[row["prompt"]]
        line = {name: row[name] for name in drafts.DRAFT_KEY} | {
            "expert": EXPERT,
            "question": ask.question,
            "gold_shown": drafts.LABEL_CONDITIONED if ask.conditioned else drafts.LABEL_FREE,
            "seed": _SEED,
            "prompt_sha": ask.sha,
            "model": None if ask.coarse else model,
        }
        if isinstance(result, Made):
            line |= {
                "text": result.text,
                "thought": result.thought,
                "degraded": list(result.degraded),
                "finish_reason": result.finish_reason,
                "clues": result.made_of,
                # A model that is trained on it is shown the whole clip.
                "frames": list(range(row["clip frames"])),
                "audio": bool(row.get(f"{TONE} audio")),
            }
        lines.append(line)
    errors = [result if isinstance(result, RowError) else None for result in results]
    columns = {name: [line.get(name) for line in lines] for name in DRAFTS.schema.names}
    return DRAFTS.rows(columns, run_id, errors)
