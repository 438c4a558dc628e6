"""Rows of the tables that a report reads, written short."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from emo.store import tables

RUN = "20261120T230135Z"


def clip(video_id: str, error: str | None = None, **columns: Any) -> dict[str, Any]:
    return {"video_id": video_id, "uri": f"clips/{video_id}.mp4", **_status(error), **columns}


def description(
    video_id: str,
    expert: str,
    text: str | None = None,
    sample: int = 0,
    error: str | None = None,
    **columns: Any,
) -> dict[str, Any]:
    key = {"video_id": video_id, "expert": expert, "sample": sample}
    return {**key, "text": text, **_status(error), **columns}


def vote(
    video_id: str, expert: str, labels: Sequence[str] | None, sample: int = 0, error: str | None = None
) -> dict[str, Any]:
    key = {"video_id": video_id, "expert": expert, "sample": sample}
    return {**key, "labels": None if labels is None else list(labels), **_status(error)}


def judgment(
    video_id: str,
    labels: Sequence[str] = (),
    agreement: float | None = None,
    error: str | None = None,
    **columns: Any,
) -> dict[str, Any]:
    return {
        "video_id": video_id,
        "labels": None if error else list(labels),
        "scores": None if error else [0.5] * len(labels),
        "agreement": agreement,
        **_status(error),
        **columns,
    }


def report_tables(
    clips: Sequence[dict[str, Any]] = (),
    descriptions: Sequence[dict[str, Any]] = (),
    votes: Sequence[dict[str, Any]] = (),
    judgments: Sequence[dict[str, Any]] = (),
) -> dict[str, pa.Table]:
    """The four tables with all columns of their schemas."""
    rows = {"clips": clips, "descriptions": descriptions, "votes": votes, "judgments": judgments}
    return {name: pa.Table.from_pylist(list(rows[name]), schema=tables.TABLES[name].schema) for name in rows}


def _status(error: str | None) -> dict[str, Any]:
    if error is None:
        return {"status": tables.OK, "error": None, "error_message": None, "run_id": RUN}
    return {"status": tables.FAILED, "error": error, "error_message": f"it was {error}", "run_id": RUN}
