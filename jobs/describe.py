"""clips → descriptions: one pass per expert over the whole cluster, side by side where it has room.

clips minus descriptions of this expert  →  read frames and sound  →  expert  →  descriptions
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo import committed, experts, planning
from emo.aligned import answers_of
from emo.engines.adapters import frame_budget
from emo.errors import EmoError, RowError
from emo.experts.answers import read_description
from emo.experts.protocol import Card, Clip, Description, Expert
from emo.storage import Storage
from emo.tables import CLIPS, DESCRIPTIONS, FAILED, OK
from jobs.needs import Need, overridden
from jobs.passes import Pass, status_columns
from jobs.session import Session

_CLIP_COLUMNS = ["video_id", "duration_s", "frame_times", "frames", "audio", "transcript", "language"]
# Clips of a shard: about 50 MB with frames and sound.
SHARD_ROWS = 100


def ingested(storage: Storage) -> pa.Table:
    """The clips that can be described: newest row ok, with the file that holds them."""
    clips = committed.read_newest(storage, committed.folder(CLIPS), CLIPS, ["status"], with_file=True)
    return clips.filter(pc.equal(clips.column("status"), OK))


def described(storage: Storage, expert: str) -> pa.Table:
    """The newest descriptions of one expert, one row per clip; failed where any of its samples did."""
    rows = committed.read_newest(storage, committed.folder(DESCRIPTIONS, expert), DESCRIPTIONS, ["status"])
    failed = planning.failed_rows(rows)
    one_each = rows.filter(pc.equal(rows.column("sample"), 0))
    bad = pc.is_valid(planning.place(one_each, failed, CLIPS.key))
    status = pc.if_else(bad, FAILED, one_each.column("status"))
    return one_each.set_column(one_each.column_names.index("status"), "status", status)


def left_to_do(storage: Storage, clips: pa.Table, expert: str, retry: bool = False) -> pa.Table:
    """Of these clips those that this expert has not described since they were ingested.

    retry: those that it failed on too.
    """
    done = described(storage, expert)
    if retry:
        done = done.filter(pc.equal(done.column("status"), OK))
    return planning.stale(clips, done, ("video_id",))


def needs(settings: Sequence[dict[str, Any]]) -> list[Need]:
    """What each of these experts needs of the machine that it runs on."""
    found = []
    for one in settings:
        cls = experts.expert_class(one["kind"])
        if not overridden(cls.missing, Expert.missing):
            continue  # it needs nothing that a machine may lack
        typed = cls.Settings(**one)
        found.append(
            Need(
                step=f"describe {one['name']}",
                what=f"expert {one['name']}",
                missing=partial(cls.missing, typed),
                resources=partial(cls.resources, typed),
                notes=partial(_frame_budget, one),
            )
        )
    return found


def _frame_budget(settings: dict[str, Any]) -> list[str]:
    """A line for an expert whose finetuned model is shown another number of frames than it learnt."""
    folder = settings.get("adapter") or settings.get("model")
    told = frame_budget(Path(folder).expanduser(), settings.get("max_frames")) if folder else None
    return [told] if told else []


def plan(session: Session, settings: dict[str, Any], clips: pa.Table) -> Pass:
    """The pass in which one expert describes the given clips."""
    storage, run_id = session.storage, session.run_id
    cls = experts.expert_class(settings["kind"])
    resources = cls.resources(cls.Settings(**settings))
    return Pass(
        step=f"describe {settings['name']}",
        table=DESCRIPTIONS,
        where=committed.folder(DESCRIPTIONS, settings["name"]),
        rows=clips.select(["video_id", "file"]),
        key=("video_id",),
        read=lambda rows: read_clips(storage, rows),
        worker=lambda: DescribeWorker(settings, run_id),
        failed=lambda lost, error: rows_of(
            lost.column("video_id").to_pylist(), [error] * lost.num_rows, settings, None, run_id
        ),
        resources=resources,
        shard_rows=SHARD_ROWS,
    )


def read_clips(storage: Storage, rows: pa.Table) -> pa.Table:
    """The large columns of the clips of a shard, from the committed files that hold them."""
    parts = []
    for path in pc.unique(rows.column("file")).to_pylist():
        wanted = rows.filter(pc.equal(rows.column("file"), path)).column("video_id").to_pylist()
        parts.append(committed.read_rows(storage, CLIPS, path, "video_id", wanted, _CLIP_COLUMNS))
    found = pa.concat_tables(parts)
    if found.num_rows != rows.num_rows:
        raise EmoError(f"{rows.num_rows - found.num_rows} clips vanished from {storage.url} meanwhile")
    return found


class DescribeWorker:
    """Holds an expert; describes the clips of a shard."""

    def __init__(self, settings: dict[str, Any], run_id: str) -> None:
        self._settings = settings
        self._expert = experts.load(settings)
        self._run_id = run_id

    def __call__(self, rows: pa.Table) -> pa.Table:
        clips = [to_clip(row) for row in rows.to_pylist()]
        results = answers_of(self._expert.describe, clips, "expert_error")
        ids = [clip.video_id for clip in clips]
        return rows_of(ids, results, self._settings, self._expert.card, self._run_id)


def to_clip(row: dict[str, Any]) -> Clip:
    """A row of the `clips` table as experts see it."""
    return Clip(
        video_id=row["video_id"],
        frames=tuple(row["frames"] or ()),
        frame_times=tuple(row["frame_times"] or ()),
        audio=row["audio"],
        transcript=row["transcript"],
        language=row["language"],
        duration_s=row["duration_s"],
    )


def rows_of(
    video_ids: list[str],
    results: list[list[Description] | RowError],
    settings: dict[str, Any],
    card: Card | None,
    run_id: str,
) -> pa.Table:
    """Rows of the `descriptions` table: one per clip and sample, failed ones included."""
    nothing = Description("")
    lines: list[tuple[str, int, Description, RowError | None]] = []
    for video_id, result in zip(video_ids, results, strict=True):
        for sample in range(settings["samples"]):
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
        "expert": [settings["name"]] * len(lines),
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
            for name in ("model", "revision", "adapter", "prompt_sha")
        },
        **{
            name: [_given(d, place) for _, _, d, _ in lines]
            for place, name in enumerate(("labels", "strengths"))
        },
        **status_columns(run_id, [error for _, _, _, error in lines]),
    }
    return pa.table({name: columns[name] for name in DESCRIPTIONS.schema.names}, schema=DESCRIPTIONS.schema)


def _given(description: Description, place: int) -> list[Any] | None:
    """The words (0) or the strengths (1) that the expert itself gave; None where it gave none to read."""
    return None if description.labels is None else [pair[place] for pair in description.labels]
