"""Which files hold the votes of a clip, where clips and files are many."""

import numpy as np
import pyarrow as pa

from emo.jobs import judge
from emo.store import committed
from emo.store.tables import VOTES

MANY = 70_000


def test_clips_times_files_may_be_more_than_32_bits_hold(monkeypatch):
    ids = pa.array([f"clip{number:05d}" for number in range(MANY)])
    rows = pa.table(
        {
            "video_id": ids,
            "expert": pa.repeat("voice", MANY),
            "sample": pa.array(np.zeros(MANY, np.int32)),
            "run_id": pa.repeat("1", MANY),
            "file": [f"votes/voice/{number}.parquet" for number in range(MANY)],
        }
    )
    monkeypatch.setattr(committed, "read_newest", lambda *given, **told: rows)
    for more in ([], ["another"]):
        clips = pa.table({"video_id": pa.concat_arrays([pa.array(more, pa.string()), ids])})
        found = judge._files(None, VOTES, ["voice"], clips).column("files").to_pylist()
        assert found == [None] * len(more) + [[path] for path in rows.column("file").to_pylist()]
