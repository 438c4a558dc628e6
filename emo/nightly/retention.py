"""What a night removes, by the rules of the configuration."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from emo.paths import split
from emo.store.runs import FOLDER, run_moment, training_of
from emo.store.storage import Storage

NIGHTS = "nights"
# Settings are compared with those of the newest runs, so these stay however old they are.
RUNS_KEPT = 50
# A bucket that is mounted wrongly looks like one whose clips have all left.
MOST_GONE_SHARE = 0.5


def prune_runs(storage: Storage, days: float, now: datetime) -> int:
    """Remove run files and summaries older than that many days; how many files went."""
    limit = now.astimezone(UTC) - timedelta(days=days)
    removed = 0
    runs, nights = ([entry.path for entry in storage.entries(folder)] for folder in (FOLDER, NIGHTS))
    trainings = [path for path in runs if training_of(split(path)[1]) is not None]
    for paths in (sorted(set(runs) - set(trainings)), trainings, nights):
        ids = sorted({_id(path) for path in paths})
        old = {one for one in ids[:-RUNS_KEPT] if (moment := run_moment(one)) is not None and moment < limit}
        for path in paths:
            if _id(path) in old:
                storage.delete(path)
                removed += 1
    return removed


def _id(path: str) -> str:
    return split(path)[1].partition(".")[0].partition("-")[0]


def gone(manifest: pa.Table, clips: pa.Table) -> tuple[list[str], str | None]:
    """The clips of OUT that the source no longer has; or none of them and the reason why not."""
    there = set(manifest.column("video_id").to_pylist())
    known = clips.column("video_id").to_pylist()
    missing = [video_id for video_id in known if video_id not in there]
    if len(missing) > MOST_GONE_SHARE * len(known):
        return [], (
            f"{len(missing)} of {len(known)} clips have left the source, more than {MOST_GONE_SHARE:.0%}: "
            "none is removed, in case it is the source that is not right"
        )
    return missing, None
