"""Clips of the table `clips` as experts, captions and trainers see them."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from emo import uses
from emo.experts.protocol import Clip, Turn
from emo.store import committed, planning
from emo.store.storage import Storage
from emo.store.tables import CLIPS

# What a Clip is made of, some of it large.
CLIP_COLUMNS = [
    *("video_id", "duration_s", "frame_times", "frames", "audio", "transcript", "language", "speaker")
]


def ingested(storage: Storage, columns: Sequence[str] = (), training: bool = False) -> pa.Table:
    """The clips whose newest row is ok and that may be used, with the file that holds them and the given
    columns; training: only those that may be trained on.
    """
    names = ["status", *columns]
    rows = committed.read_newest(storage, committed.folder(CLIPS), CLIPS, names, with_file=True)
    return uses.allowed(storage, planning.well(rows), training)


def read_clips(storage: Storage, rows: pa.Table) -> pa.Table:
    """The large columns of the clips of a shard, from the committed files that hold them."""
    return committed.read_given(storage, CLIPS, rows, CLIP_COLUMNS)


def to_clip(row: dict[str, Any]) -> Clip:
    """A row of the `clips` table as experts see it; `before`: its turns before, where it has them."""
    return Clip(
        video_id=row["video_id"],
        frames=tuple(row["frames"] or ()),
        frame_times=tuple(row["frame_times"] or ()),
        audio=row["audio"],
        transcript=row["transcript"],
        language=row["language"],
        duration_s=row["duration_s"],
        speaker=row["speaker"],
        before=tuple(Turn(**turn) for turn in row.get("before") or ()),
    )
