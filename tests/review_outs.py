"""An OUT to review, made without Ray: rows of every table, and real videos."""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from conftest import REPOSITORY
from emo.config import load_config
from emo.review import answers
from emo.review.answers import Answer
from emo.store import committed
from emo.store.runs import Run
from emo.store.storage import Storage
from emo.store.tables import CLIPS, DESCRIPTIONS, JUDGMENTS, OK, VOTES, Table

RUN = "20261120T230135Z"
SAMPLES = REPOSITORY / "samples/clips"
VIDEO = SAMPLES / "drawn_angry.mp4"


def write(storage: Storage, table: Table, rows: Sequence[dict[str, Any]], expert: str | None = None) -> None:
    """Commit rows; what they do not say is null, and ok."""
    whole = [{"status": OK, "run_id": RUN, **row} for row in rows]
    where = committed.folder(table, expert)
    committed.commit(storage, where, table, f"{RUN}-0", pa.Table.from_pylist(whole, schema=table.schema))


def write_run(storage: Storage, overrides: Sequence[str] = ()) -> None:
    config = load_config(overrides=overrides).model_dump(mode="json")
    now = datetime(2026, 11, 20, 23, 1, 35, tzinfo=UTC).isoformat()
    Run(RUN, "label", "videos", config, now, finished=now, outcome="done").save(storage)


@dataclasses.dataclass
class Judged:
    """A clip of the OUT, and what the two experts and the judge said of it."""

    video_id: str
    labels: tuple[str, ...] = ("happy", "tired")
    agreement: float | None = 0.5
    seen: tuple[str, ...] = ("happy",)
    heard: tuple[str, ...] = ("tired",)
    uri: str = str(VIDEO)
    transcript: str | None = "So it goes."
    frames: tuple[bytes, ...] = ()
    audio: bytes | None = None
    start_s: float | None = None
    end_s: float | None = None


def make_out(out: str | Path | Storage, clips: Sequence[Judged]) -> Storage:
    """The tables of these clips, as a run leaves them."""
    storage = out if isinstance(out, Storage) else Storage(str(out))
    write_run(storage)
    write(
        storage,
        CLIPS,
        [
            {
                "video_id": clip.video_id,
                "uri": clip.uri,
                "duration_s": 2.0,
                "transcript": clip.transcript,
                "frames": list(clip.frames),
                "frame_times": [0.5 * place for place in range(len(clip.frames))],
                "audio": clip.audio,
                "start_s": clip.start_s,
                "end_s": clip.end_s,
            }
            for clip in clips
        ],
    )
    for expert, sense, of in (("face", "frames", "seen"), ("voice", "audio", "heard")):
        key = [{"video_id": clip.video_id, "expert": expert, "sample": 0} for clip in clips]
        described = [{**row, "text": f"{expert} describes", "modalities": [sense]} for row in key]
        voted = [
            {**row, "labels": list(getattr(clip, of)), "parse_ok": True}
            for row, clip in zip(key, clips, strict=True)
        ]
        write(storage, DESCRIPTIONS, described, expert)
        write(storage, VOTES, voted, expert)
    write(
        storage,
        JUDGMENTS,
        [
            {
                "video_id": clip.video_id,
                "labels": list(clip.labels),
                "scores": [0.5] * len(clip.labels),
                "evidence": [{"label": label, "score": 0.5, "voters": ["face#0"]} for label in clip.labels],
                "n_voters": 2,
                "agreement": clip.agreement,
                "description": "face describes",
            }
            for clip in clips
        ],
    )
    return storage


def answer(
    storage: Storage,
    video_id: str,
    labels: Sequence[str] | None,
    reviewer: str = "ann",
    shown: Sequence[str] | None = ("happy", "tired"),
    **more: Any,
) -> None:
    """Commit a review as the page does."""
    now = datetime.now(UTC)
    said = Answer(
        video_id,
        reviewer,
        None if labels is None else tuple(labels),
        None if shown is None else tuple(shown),
        **more,
    )
    answers.commit(storage, [answers.row(said, answers.new_id(now), now)])
