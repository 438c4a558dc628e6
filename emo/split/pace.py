"""How long recordings are and how many pieces they have, before anybody has opened them: by their bytes."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from emo.split.table import current
from emo.store.storage import Storage

# Of a film as people have it, where none has been split yet.
_BYTES_PER_S = 300_000.0
_PIECES_PER_HOUR = 500.0


@dataclass(frozen=True)
class Pace:
    """bytes_per_s: of a recording; pieces_per_hour: that become clips; recordings: on so many of OUT this was
    measured (0: it is assumed); mean_bytes: of one of them.
    """

    bytes_per_s: float = _BYTES_PER_S
    pieces_per_hour: float = _PIECES_PER_HOUR
    recordings: int = 0
    mean_bytes: float = 0.0

    def hours(self, size: int) -> float:
        """About how many hours of recording so many bytes are."""
        return size / self.bytes_per_s / 3600

    def pieces(self, size: int) -> float:
        """About how many pieces recordings of so many bytes have."""
        return self.hours(size) * self.pieces_per_hour


def pace_of(storage: Storage) -> Pace:
    """The pace of the recordings that were split; each is taken to end where its last piece does."""
    rows = current(storage, ["size", "end_s", "kept"])
    kept = pc.fill_null(rows.column("kept"), False).cast(pa.int64())
    rows = rows.set_column(rows.column_names.index("kept"), "kept", kept)
    each = rows.group_by("recording").aggregate([("size", "max"), ("end_s", "max"), ("kept", "sum")])
    each = each.filter(pc.and_(pc.is_valid(each.column("end_s_max")), pc.is_valid(each.column("size_max"))))
    seconds, size, pieces = (
        pc.sum(each.column(name)).as_py() for name in ("end_s_max", "size_max", "kept_sum")
    )
    if not seconds or not size:
        return Pace()
    return Pace(size / seconds, pieces / (seconds / 3600), each.num_rows, size / each.num_rows)


def bytes_of(recordings: pa.Table) -> int:
    """The bytes of all recordings of a manifest."""
    return int(pc.sum(recordings.column("size")).as_py() or 0)
