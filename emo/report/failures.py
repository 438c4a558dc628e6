"""Failed rows by step and error, without those that only repeat the failure of an earlier step."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from emo.report.pieces import BY_HASH, HASHED, First, hashed, ranked
from emo.store import tables

FILES_PER_ERROR = 20
MESSAGE_LENGTH = 300
CLIPS_PER_ERROR = 500  # for the gallery
_NO_SAMPLE = -1
_FILE = {
    "expert": pa.string(),
    "error": pa.string(),
    "video_id": pa.string(),
    "sample": pa.int32(),
    "message": pa.string(),
}


@dataclass(frozen=True)
class FailedRow:
    """One failed row; the sample number where an expert failed, else None."""

    video_id: str
    sample: int | None
    message: str


@dataclass(frozen=True)
class FailureGroup:
    """All failed rows of one step with one error code; `files` holds the first of them by video_id.

    step: the table that the rows stand in; expert: empty where the step has none.
    """

    step: str
    expert: str
    error: str
    rows: int
    files: tuple[FailedRow, ...]


class Failures:
    """The failed rows of one step, without those whose clip or answer had failed in an earlier step."""

    def __init__(self, step: str, key: Sequence[str], *earlier: "Failures") -> None:
        self.step, self._key, self._earlier = step, key, earlier
        self.rows = 0
        self._counts: Counter[tuple[str, str]] = Counter()
        self._files = First(_FILE, ["expert", "error"], ["video_id", "sample"], FILES_PER_ERROR)
        self._pool = First({**HASHED, "error": pa.string()}, ["error"], BY_HASH, CLIPS_PER_ERROR)
        self._keys: list[pa.ChunkedArray] = []
        self._known: pa.ChunkedArray | None = None

    def add(self, rows: pa.Table) -> None:
        """Take the failed ones of these rows."""
        rows = rows.filter(pc.equal(rows.column("status"), tables.FAILED))
        for step in self._earlier:
            rows = step.without(rows)
        if not len(rows):
            return
        message = pc.utf8_slice_codeunits(rows.column("error_message").fill_null(""), 0, MESSAGE_LENGTH)
        of_answer = "expert" in self._key
        rows = pa.table(
            {
                "video_id": rows.column("video_id"),
                "expert": rows.column("expert") if of_answer else pa.repeat("", len(rows)),
                "sample": rows.column("sample") if of_answer else pa.repeat(_NO_SAMPLE, len(rows)),
                "error": rows.column("error").fill_null("unknown"),
                "message": message,
            }
        )
        self.rows += len(rows)
        self._keys.append(_joined(rows, self._key))
        self._known = None
        counts = rows.group_by(["expert", "error"]).aggregate([([], "count_all")])
        for row in counts.to_pylist():
            self._counts[row["expert"], row["error"]] += row["count_all"]
        self._files.add(rows)
        if not of_answer:
            self._pool.add(hashed(rows))

    def without(self, rows: pa.Table) -> pa.Table:
        """The rows that this step did not fail."""
        if not self._keys or not len(rows):
            return rows
        if self._known is None:
            self._known = pa.chunked_array([part for keys in self._keys for part in keys.chunks])
        return rows.filter(pc.invert(pc.is_in(_joined(rows, self._key), value_set=self._known)))

    def of_experts(self) -> Counter[str]:
        """Failed rows per expert."""
        counts: Counter[str] = Counter()
        for (expert, _), rows in self._counts.items():
            counts[expert] += rows
        return counts

    def groups(self) -> list[FailureGroup]:
        files: dict[tuple[str, str], list[FailedRow]] = {}
        for row in self._files.table().to_pylist():
            sample = None if row["sample"] == _NO_SAMPLE else row["sample"]
            failed = FailedRow(row["video_id"], sample, row["message"])
            files.setdefault((row["expert"], row["error"]), []).append(failed)
        return [
            FailureGroup(self.step, expert, error, rows, tuple(files[expert, error]))
            for (expert, error), rows in self._counts.items()
        ]

    def pools(self) -> list[tuple[str, ...]]:
        """The clips of each error, the most frequent error first; empty where experts fail, not clips."""
        pools = self._pool.ids_by_group()
        return [pools[error] for (_, error), _ in ranked(self._counts)]


def _joined(rows: pa.Table, key: Sequence[str]) -> pa.ChunkedArray:
    """The columns of a key as one string."""
    columns = [rows.column(name).cast(pa.string()) for name in key]
    return columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, "\x00")
