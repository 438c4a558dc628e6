"""Structured logs: one JSON object per line, for whatever collects the logs of a cluster.

Workers write them to their standard error, which Ray keeps in its session's log folder; a person's own
terminal shows none of them.
"""

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Commands without tables log too.
    import pyarrow as pa

# A night in which everything fails must not fill the disk of a worker: the table holds every failure anyway.
FAILURES_PER_SHARD = 100


def log(event: str, **fields: Any) -> None:
    """Write one line: time, event and the given fields."""
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields}
    print(json.dumps(line, ensure_ascii=False), file=sys.stderr, flush=True)


def log_failures(failed: "pa.Table", step: str, run_id: str) -> None:
    """One line per failed row: run_id, step, video_id and the error."""
    for row in failed.slice(0, FAILURES_PER_SHARD).select(["video_id", "error", "error_message"]).to_pylist():
        log("failed", run_id=run_id, step=step, **row)
    if failed.num_rows > FAILURES_PER_SHARD:
        log("failed_more", run_id=run_id, step=step, rows=failed.num_rows - FAILURES_PER_SHARD)
