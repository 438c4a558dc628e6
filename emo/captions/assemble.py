"""Drafts and their labels → rows of the `captions` table, with splits and what the filters found."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from emo.captions.filters import Candidate, Evidence, Verdict, judge
from emo.captions.messages import chat
from emo.captions.rules import Rules
from emo.captions.splits import split_of
from emo.errors import RowError
from emo.store.tables import CAPTION_SOURCE, CAPTIONS, FAILED, FILTERED, OK

_SOURCE = [CAPTION_SOURCE.field(number).name for number in range(CAPTION_SOURCE.num_fields)]


def caption_id(draft: Mapping[str, Any]) -> str:
    """The id of a draft's caption."""
    return ":".join(str(draft[name]) for name in ("video_id", "expert", "prompt", "window", "sample"))


def assemble(
    drafts: Sequence[Mapping[str, Any]],
    labels: Mapping[str, Sequence[str] | RowError],
    planned: Sequence[bool],
    evidence: Evidence,
    rules: Rules,
    shares: Mapping[str, float],
    group: Callable[[str], str],
) -> list[dict[str, Any]]:
    """One row of the `captions` table per draft, without run_id, sorted by caption_id.

    drafts: rows of the `drafts` table; labels: by caption id, of drafts that did not fail; planned: beside
    drafts, whether the configuration still asks for its like; shares: as `split_of` wants them; group:
    names what shares a split, by video_id. A draft or an extraction that failed is a caption that failed,
    with the same error.
    """
    candidates: dict[str, Candidate] = {}
    chats: dict[str, str | RowError] = {}
    for draft, wanted in zip(drafts, planned, strict=True):
        id_ = caption_id(draft)
        chats[id_] = _chat(draft, labels.get(id_, ()))
        if not isinstance(chats[id_], RowError):
            candidates[id_] = _candidate(id_, draft, tuple(labels.get(id_, ())), wanted)  # type: ignore[arg-type]
    verdicts = judge(list(candidates.values()), evidence, rules)
    rows = []
    for draft in drafts:
        id_ = caption_id(draft)
        messages, verdict = chats[id_], verdicts.get(id_, Verdict())
        error = messages if isinstance(messages, RowError) else None
        rows.append(
            {
                "caption_id": id_,
                "video_id": draft["video_id"],
                "split": split_of(group(draft["video_id"]), shares),
                "messages": None if error else messages,
                "frames": None if error else list(draft["frames"]),
                "audio": None if error else draft["audio"],
                "labels": list(candidates[id_].labels) if id_ in candidates else None,
                "source": {name: draft[name] for name in _SOURCE},
                "quality": verdict.quality,
                "filters": list(verdict.failed),
                "status": FAILED if error else FILTERED if verdict.failed else OK,
                "error": error.code if error else None,
                "error_message": error.message if error else None,
            }
        )
    return sorted(rows, key=lambda row: row["caption_id"])


def _chat(draft: Mapping[str, Any], labels: Sequence[str] | RowError) -> str | RowError:
    if draft["status"] == FAILED:
        return RowError(draft["error"], draft["error_message"])
    if isinstance(labels, RowError):
        return labels
    try:
        return chat(draft["question"], draft["text"], len(draft["frames"]), draft["audio"])
    except RowError as error:
        return error


def _candidate(id_: str, draft: Mapping[str, Any], labels: tuple[str, ...], planned: bool) -> Candidate:
    return Candidate(
        id=id_,
        video_id=draft["video_id"],
        expert=draft["expert"],
        prompt=draft["prompt"],
        text=draft["text"],
        labels=labels,
        media=bool(draft["frames"]) or draft["audio"],
        cut_off=draft["finish_reason"] == "length",
        planned=planned,
    )


def to_table(rows: Sequence[Mapping[str, Any]], run_id: str) -> pa.Table:
    """Rows of the `captions` table."""
    return pa.Table.from_pylist([{**row, "run_id": run_id} for row in rows], schema=CAPTIONS.schema)
