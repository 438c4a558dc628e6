"""Which failed rows a night tries again: those that failed for a passing reason, up to a bound."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from emo.errors import CODES
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import RETRIES

PASSING = frozenset(code for code, said in CODES.items() if said.passes)


@dataclass(frozen=True)
class Due:
    """video_ids: to try again; attempts: how often each then was; given_up: clips past the bound."""

    video_ids: list[str]
    attempts: list[int]
    given_up: int


def due(failed: pa.Table, tried: pa.Table, limit: int) -> Due:
    """What to try again of the failed rows of one step.

    failed: video_id, error and run_id, one row per clip; tried: video_id, attempts and run_id of earlier
    retries. An earlier retry counts only for the failure that it met: a row that came right since, or whose
    file changed, and that fails anew starts from nothing.
    """
    passing = failed.filter(pc.is_in(failed.column("error"), value_set=pa.array(sorted(PASSING))))
    earlier = {
        row["video_id"]: (row["attempts"], row["run_id"])
        for row in tried.select(["video_id", "attempts", "run_id"]).to_pylist()
    }
    video_ids, attempts, given_up = [], [], 0
    for row in passing.select(["video_id", "run_id"]).to_pylist():
        count, when = earlier.get(row["video_id"], (0, ""))
        if when < row["run_id"]:
            count = 0
        if count < limit:
            video_ids.append(row["video_id"])
            attempts.append(count + 1)
        else:
            given_up += 1
    return Due(video_ids, attempts, given_up)


def tried_before(storage: Storage, step: str) -> pa.Table:
    """The newest retry of each clip in one step."""
    rows = committed.read_newest(storage, RETRIES.name, RETRIES, ["attempts"])
    return rows.filter(pc.equal(rows.column("step"), step))


def note(storage: Storage, step: str, run_id: str, again: Due, only: set[str] | None = None) -> None:
    """Write down what is tried again.

    Before the step, so that a night that is killed counts; once more after it with `only` what was reached,
    which replaces the first note.
    """
    kept = [
        (video_id, count)
        for video_id, count in zip(again.video_ids, again.attempts, strict=True)
        if only is None or video_id in only
    ]
    rows = pa.table(
        {
            "step": [step] * len(kept),
            "video_id": [video_id for video_id, _ in kept],
            "attempts": [count for _, count in kept],
            "run_id": [run_id] * len(kept),
        },
        schema=RETRIES.schema,
    )
    committed.commit(storage, RETRIES.name, RETRIES, f"{run_id}-{step.replace(' ', '-')}", rows)
