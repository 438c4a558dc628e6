"""The rows of `segments` that count: a recording that is split anew has other pieces than before."""

import pyarrow as pa
import pyarrow.compute as pc

from emo.store import committed, planning
from emo.store.storage import Storage
from emo.store.tables import SEGMENTS


def current(storage: Storage, columns: list[str]) -> pa.Table:
    """The rows of each recording that its newest run made."""
    rows = committed.read_newest(storage, committed.folder(SEGMENTS), SEGMENTS, columns)
    newest = rows.group_by("recording").aggregate([("run_id", "max")])
    last = newest.column("run_id_max").take(planning.place(rows, newest, ("recording",)))
    return rows.filter(pc.equal(rows.column("run_id"), last))
