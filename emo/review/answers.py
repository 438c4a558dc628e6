"""What a person answers, as a row of the table `reviews`: checked, and committed at once."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo.errors import EmoError, InputError
from emo.review.consensus import UNUSABLE
from emo.sources.labelsets import as_labels
from emo.sources.record import check_text
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import CLIPS, OK, REVIEWS
from emo.vocabulary import normalise

# Within one second it sorts before the id of a run of that second, and two answers are never of one moment.
_ID_FORMAT = "%Y%m%dT%H%M%S%fZ"
LONGEST_LABEL = 100
LONGEST_COMMENT = 10_000
LONGEST_NAME = 100


class Forgotten(EmoError):
    """The clip of an answer is not in OUT any more: `emo forget` has removed it, and nothing was kept."""


@dataclass(frozen=True)
class Answer:
    """What a person says of a clip.

    labels: None: the clip is unusable; shown: the labels of the judgment, None where there is none; judged:
    run_id of the judgment; queue: why it was asked for, None: from another tool.
    """

    video_id: str
    reviewer: str
    labels: tuple[str, ...] | None
    shown: tuple[str, ...] | None
    several_people: bool = False
    comment: str = ""
    seconds: float | None = None
    queue: str | None = None
    blind: bool = False
    judged: str | None = None
    tool: str = "emo"


def check_reviewer(name: str) -> str:
    """The name of a reviewer without the space around it; raises InputError where it is none."""
    name = name.strip()
    check_text(name, "reviewer", "the name")
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise InputError(
            f"the name of a reviewer is {name[:40]!r}; expected 1 to {LONGEST_NAME} printable characters"
        )
    return name


def check_labels(value: Any, where: str) -> tuple[str, ...]:
    """Labels as they are kept: each word once, without space around it; raises InputError."""
    labels: dict[str, str] = {}
    for label in as_labels(value, where):
        label = " ".join(label.split())
        if len(label) > LONGEST_LABEL or not label.isprintable() or not normalise(label):
            raise InputError(f"{where}: {label[:40]!r} is no label; expected at most {LONGEST_LABEL} letters")
        labels.setdefault(normalise(label), label)
    return tuple(labels.values())


def check_seconds(value: Any) -> float | None:
    """Seconds, or None where a browser's clock gave none that can be."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if fits and 0 <= value <= 86_400 else None


def row(answer: Answer, run_id: str, now: datetime) -> dict[str, Any]:
    """The row of an answer."""
    shown, labels = answer.shown, answer.labels
    said = {normalise(label) for label in labels or ()}
    offered = {normalise(label) for label in shown or ()}
    if labels is None:
        verdict = UNUSABLE
    elif answer.blind or shown is None:
        verdict = "labelled"
    else:
        verdict = "accepted" if said == offered else "corrected"
    differs = labels is not None and shown is not None
    return {
        "video_id": answer.video_id,
        "reviewer": answer.reviewer,
        "labels": None if labels is None else list(labels),
        "shown_labels": None if shown is None else list(shown),
        "verdict": verdict,
        "added": [label for label in labels or () if normalise(label) not in offered] if differs else None,
        "removed": [label for label in shown or () if normalise(label) not in said] if differs else None,
        "several_people": answer.several_people,
        "comment": answer.comment or None,
        "seconds": answer.seconds,
        "queue": answer.queue,
        "blind": answer.blind,
        "source_tool": answer.tool,
        "judged_by_run": answer.judged,
        "reviewed_at": now,
        "status": OK,
        "error": None,
        "error_message": None,
        "run_id": run_id,
    }


def new_id(now: datetime, before: str | None = None) -> str:
    """An id that sorts after `before`, the one of the answer that it replaces, also when the clock went
    back."""
    text = now.astimezone(UTC).strftime(_ID_FORMAT)
    if before is None or text > before:
        return text
    return (datetime.strptime(before, _ID_FORMAT) + timedelta(microseconds=1)).strftime(_ID_FORMAT)


def commit(
    storage: Storage, rows: Sequence[Mapping[str, Any]], held: Mapping[str, str] | None = None
) -> None:
    """Make answers visible in one step. Needs no lease: their file has a name of its own, and a compaction
    leaves alone what came after its listing.

    held: the file that held a clip, by video_id: where it is still there, so is the clip. Raises Forgotten
    where a clip of theirs is not in OUT any more; then no answer on it stays, and none of them is sure to.
    """
    table = pa.Table.from_pylist([dict(one) for one in rows], schema=REVIEWS.schema)
    keys = "\0".join(f"{one['video_id']}\0{one['reviewer']}\0{one['run_id']}" for one in rows)
    digest = hashlib.sha256(keys.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    name = f"{rows[0]['run_id']}-{digest}"
    of = {one["video_id"]: (held or {}).get(one["video_id"]) for one in rows}
    _refuse_forgotten(storage, of)
    path = committed.commit(storage, committed.folder(REVIEWS), REVIEWS, name, table)
    try:
        # Once more: `emo forget` removes clips, and after them the reviews that came meanwhile. What comes
        # later than its look at the reviews finds the clip gone.
        _refuse_forgotten(storage, of)
    except Forgotten:
        storage.delete(path)
        raise


def _refuse_forgotten(storage: Storage, of: Mapping[str, str | None]) -> None:
    # Whoever removes a clip writes its file anew, under another name.
    unsure = [video_id for video_id, file in of.items() if file is None or not storage.has(file)]
    if not unsure:
        return
    clips = committed.read_newest(storage, committed.folder(CLIPS), CLIPS, []).column("video_id")
    there = set(clips.filter(pc.is_in(clips, value_set=pa.array(unsure))).to_pylist())
    for video_id in unsure:
        if video_id not in there:
            raise Forgotten(f"{video_id} was removed from this OUT by emo forget; the answer is not kept")
