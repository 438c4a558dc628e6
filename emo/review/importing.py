"""Answers from another tool, as reviews."""

from collections.abc import Sequence
from datetime import UTC, datetime

from emo.review import answers
from emo.review.answers import Answer
from emo.review.consensus import read_reviews
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import CLIPS

# What tells one answer from another; the time of the import does not.
_SAID = ("labels", "shown_labels", "several_people", "comment", "source_tool")


def take(storage: Storage, given: Sequence[Answer]) -> tuple[int, int, list[str]]:
    """Commit answers in one step: how many are new, how many were there already, and the ids of clips that
    OUT does not have, whose answers are left out.
    """
    clips = committed.read_newest(storage, committed.folder(CLIPS), CLIPS, [])
    there = set(clips.column("video_id").to_pylist())
    before = {(row["video_id"], row["reviewer"]): row for row in read_reviews(storage)}
    now = datetime.now(UTC)
    rows, known, strange = [], 0, []
    for one in given:
        if one.video_id not in there:
            strange.append(one.video_id)
            continue
        last = before.get((one.video_id, one.reviewer))
        run_id = answers.new_id(now, last["run_id"] if last else None)
        row = answers.row(one, run_id, now)
        if last is not None and all(row[name] == last[name] for name in _SAID):
            known += 1
        else:
            rows.append(row)
    if rows:
        answers.commit(storage, rows)
    return len(rows), known, strange
