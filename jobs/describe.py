"""clips → descriptions: one pass per expert over the whole cluster, side by side where it has room.

clips minus descriptions of this expert  →  read frames and sound  →  expert  →  descriptions
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from emo import experts
from emo.aligned import answers_of
from emo.clips import ingested, read_clips, to_clip
from emo.engines.adapters import frame_budget, prompt_note
from emo.errors import RowError
from emo.experts.answers import read_description
from emo.experts.protocol import Card, Description, Expert, Resources, Settings
from emo.marks import deciding
from emo.needs import Need, of_kind
from emo.step import Pass, Step
from emo.store import committed, planning
from emo.store.storage import Storage
from emo.store.tables import CLIPS, DESCRIPTIONS, FAILED, Table

# Clips of a shard: about 50 MB with frames and sound.
SHARD_ROWS = 100


@dataclass(frozen=True, eq=False)
class DescribeStep(Step):
    """Let one expert describe every clip that was ingested; expert: its validated settings."""

    expert: Settings

    table: ClassVar[Table] = DESCRIPTIONS
    # An expert that answers five times per clip has one clip to do, not five.
    key: ClassVar[tuple[str, ...]] = CLIPS.key
    did: ClassVar[str] = "described"

    @property
    def name(self) -> str:
        return f"describe {self.expert.name}"

    @property
    def where(self) -> str:
        return committed.folder(DESCRIPTIONS, self.expert.name)

    @cached_property
    def _kind(self) -> type[Expert]:
        return experts.expert_class(self.expert.kind)

    def given(self, storage: Storage) -> pa.Table:
        return ingested(storage)

    def made(self, storage: Storage) -> pa.Table:
        """One row per clip; failed where any of its samples did."""
        rows = committed.read_newest(storage, self.where, DESCRIPTIONS, ["status"])
        failed = planning.failed_rows(rows)
        one_each = rows.filter(pc.equal(rows.column("sample"), 0))
        bad = pc.is_valid(planning.place(one_each, failed, CLIPS.key))
        status = pc.if_else(bad, FAILED, one_each.column("status"))
        return one_each.set_column(one_each.column_names.index("status"), "status", status)

    def left(self, storage: Storage, given: pa.Table, retry: bool = False) -> pa.Table:
        """Those that this expert has not described since they were ingested."""
        done = self.made(storage)
        return planning.stale(given, planning.well(done) if retry else done, self.key)

    def arriving(self, planned: Mapping[str, int]) -> int:
        return planned.get("ingest", 0)

    @property
    def assumed_seconds(self) -> float:
        # A model of 7 to 9 billion weights on one GPU of the last years writes a paragraph in one to three
        # seconds; an expert without a GPU only measures.
        return 2.0 if self.resources().gpus else 0.25

    def settings(self) -> dict[str, Any]:
        return expert_settings(self.expert.model_dump(mode="json"))

    def resources(self) -> Resources:
        return self._kind.resources(self.expert)

    def needs(self) -> list[Need]:
        name = self.expert.name
        notes = partial(_notes, self.expert)
        return of_kind(experts.REGISTRY, self.name, f"expert {name}", self.expert, notes)

    def work(self, storage: Storage, run_id: str, rows: pa.Table) -> Pass:
        settings = self.expert
        return Pass(
            step=self.name,
            table=DESCRIPTIONS,
            where=self.where,
            rows=rows.select(["video_id", "file"]),
            key=self.key,
            read=lambda shard: read_clips(storage, shard),
            worker=lambda: DescribeWorker(settings, run_id),
            failed=lambda lost, error: rows_of(
                lost.column("video_id").to_pylist(), [error] * lost.num_rows, settings, None, run_id
            ),
            resources=self.resources(),
            shard_rows=SHARD_ROWS,
        )


def expert_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of an expert's settings, as a run file has them, those that decide what it writes; nested as `a.b`."""
    from emo.experts.openai import OpenAISettings

    kind = settings.get("kind")
    # A run file of a version before kinds: its experts were asked of a server.
    return deciding(settings, experts.expert_class(kind).Settings if kind else OpenAISettings)


def _notes(expert: Settings) -> list[str]:
    """Lines about an adapter, or a finetuned model, that the expert asks otherwise than it was trained."""
    adapter = getattr(expert, "adapter", None)
    folder = adapter or getattr(expert, "model", None)
    told = []
    if folder:
        told.append(frame_budget(Path(folder).expanduser(), getattr(expert, "max_frames", None)))
    if adapter:
        told.append(prompt_note(Path(adapter).expanduser(), getattr(expert, "system", None)))
    return [line for line in told if line]


class DescribeWorker:
    """Holds an expert; describes the clips of a shard."""

    def __init__(self, settings: Settings, run_id: str) -> None:
        self._settings = settings
        self._expert = experts.load(settings)
        self._run_id = run_id

    def __call__(self, rows: pa.Table) -> pa.Table:
        clips = [to_clip(row) for row in rows.to_pylist()]
        results = answers_of(self._expert.describe, clips, "expert_error")
        ids = [clip.video_id for clip in clips]
        return rows_of(ids, results, self._settings, self._expert.card, self._run_id)


def rows_of(
    video_ids: list[str],
    results: list[list[Description] | RowError],
    settings: Settings,
    card: Card | None,
    run_id: str,
) -> pa.Table:
    """Rows of the `descriptions` table: one per clip and sample, failed ones included."""
    nothing = Description("")
    lines: list[tuple[str, int, Description, RowError | None]] = []
    for video_id, result in zip(video_ids, results, strict=True):
        for sample in range(settings.samples):
            if isinstance(result, RowError):
                lines.append((video_id, sample, nothing, result))
            elif sample < len(result):
                lines.append((video_id, sample, *read_description(result[sample])))
            else:
                missing = RowError("sample_missing", f"the expert gave {len(result)} of the samples")
                lines.append((video_id, sample, nothing, missing))
    failed = [error is not None for _, _, _, error in lines]
    columns = {
        "video_id": [video_id for video_id, _, _, _ in lines],
        "expert": [settings.name] * len(lines),
        "sample": [sample for _, sample, _, _ in lines],
        "text": [None if bad else d.text for (_, _, d, _), bad in zip(lines, failed, strict=True)],
        "modalities": [None if bad or not card else card.modalities for bad in failed],
        "degraded": [None if bad else d.degraded for (_, _, d, _), bad in zip(lines, failed, strict=True)],
        **{
            name: [getattr(description, name) for _, _, description, _ in lines]
            for name in ("thought", "prompt_tokens", "output_tokens", "finish_reason")
        },
        **{
            name: [getattr(card, name) if card else None] * len(lines)
            for name in ("model", "revision", "adapter", "prompt_sha", "engine")
        },
        **{
            name: [_given(d, place) for _, _, d, _ in lines]
            for place, name in enumerate(("labels", "strengths"))
        },
    }
    return DESCRIPTIONS.rows(columns, run_id, [error for _, _, _, error in lines])


def _given(description: Description, place: int) -> list[Any] | None:
    """The words (0) or the strengths (1) that the expert itself gave; None where it gave none to read."""
    return None if description.labels is None else [pair[place] for pair in description.labels]
