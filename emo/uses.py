"""What clips may be used for, as manifests say it: the column `use`.

`train`: everything, as a clip of which nothing is said; `label`: labels, and no training; `none`: nothing,
its file is not read. What was said stays until a later manifest says otherwise; an empty cell says nothing.
"""

import pyarrow as pa
import pyarrow.compute as pc

from emo.sources.times import PIECE
from emo.store import committed, planning
from emo.store.storage import Storage
from emo.store.tables import USES

TRAIN, LABEL, NONE = "train", "label", "none"
ALL = (LABEL, TRAIN, NONE)


def note(storage: Storage, run_id: str, manifest: pa.Table) -> int:
    """Write down what a manifest says anew of its clips; how many those are. For the holder of the lease."""
    said = manifest.filter(pc.is_valid(manifest.column("use"))).select(["video_id", "use"])
    before = known(storage)
    at = planning.place(said, before, USES.key)
    same = pc.fill_null(pc.equal(before.column("use").take(at), said.column("use")), False)
    rows = said.filter(pc.invert(same))
    if rows.num_rows:
        rows = rows.append_column("run_id", pa.repeat(run_id, rows.num_rows)).cast(USES.schema)
        committed.commit(storage, USES.name, USES, f"{run_id}-uses", rows)
    return int(rows.num_rows)


def known(storage: Storage) -> pa.Table:
    """What was said last of each clip: `video_id`, `run_id` and `use`."""
    return committed.read_newest(storage, USES.name, USES, ["use"])


def allowed(storage: Storage, rows: pa.Table, training: bool = False) -> pa.Table:
    """The rows (with `video_id`) of clips that may be used; training: of those that may be trained on."""
    refused = [NONE, LABEL] if training else [NONE]
    return planning.kept(rows, pc.invert(pc.is_in(of(storage, rows), value_set=pa.array(refused))))


def of(storage: Storage, rows: pa.Table) -> pa.ChunkedArray:
    """What the clips of these rows may be used for, null where nobody said; a piece of a recording that was
    split may be used as the recording.
    """
    said = known(storage)
    if not said.num_rows:
        return pa.chunked_array([pa.nulls(rows.num_rows, pa.string())])
    ids = rows.column("video_id")
    if not said.num_rows:
        return pa.chunked_array([pa.nulls(rows.num_rows, pa.string())])
    recordings = pa.table({"video_id": pc.replace_substring_regex(ids, PIECE, "")})
    own, whole = (said.column("use").take(planning.place(one, said, USES.key)) for one in (rows, recordings))
    return pc.coalesce(own, whole)


def not_read(manifest: pa.Table) -> pa.Table:
    """The rows of a manifest whose files must not be read."""
    return manifest.filter(pc.fill_null(pc.equal(manifest.column("use"), NONE), False))


def read(manifest: pa.Table) -> pa.Table:
    """The other rows."""
    return planning.kept(manifest, pc.fill_null(pc.not_equal(manifest.column("use"), NONE), True))
