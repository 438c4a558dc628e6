"""Clips in the tables of an OUT, for tests that decode no video."""

import pyarrow as pa

from emo.errors import RowError
from emo.jobs.ingest import Ingested, clip_rows
from emo.media.decoded import DecodedClip
from emo.sources.lookup import MANIFEST
from emo.store import committed
from emo.store.tables import CLIPS


def commit_clips(storage, run, clips, errors=()):
    """Clips of one frame, as ingest leaves them; errors: those that could not be read."""
    clip = DecodedClip(1.0, 8, 8, 25.0, (0.5,), (b"jpeg",), None, None, None, "pyav")
    rows = pa.table(
        {
            field.name: clips if field.name in ("video_id", "uri") else pa.nulls(len(clips), field.type)
            for field in MANIFEST
        },
        schema=MANIFEST,
    )
    results = [
        RowError("empty", "") if name in errors else Ingested(clip, (None, None), None, None, None)
        for name in clips
    ]
    committed.commit(storage, committed.folder(CLIPS), CLIPS, f"{run}-clips", clip_rows(rows, results, run))
