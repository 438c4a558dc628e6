"""Many small committed files become few, while readers read.

A merged file is written first and the files that it replaces are deleted after it. A reader in between sees
rows twice and takes one of each; one that listed earlier and misses a file lists again. A kill at any moment
leaves rows twice at the worst, and the next compaction takes up there.
"""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from emo.errors import StorageError
from emo.store import committed, fences, index
from emo.store.storage import Storage
from emo.store.tables import SCHEMA_VERSION, Table

# A file whose share of superseded rows is above this is written anew, however large it is.
DEAD_SHARE = 0.3
# Of Python's and Arrow's memory, a merge takes about three times the bytes of its file; 256 MiB suit a head
# node, and a clips file of that size holds some 500 clips.
TARGET_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Part:
    """One committed file: its size in bytes, its rows, and how many of them still count."""

    path: str
    size: int
    rows: int
    live: int


@dataclass(frozen=True)
class Compacted:
    """What a compaction did with the files of one folder."""

    files_before: int
    files_after: int
    rows_dropped: int


def groups(parts: Sequence[Part], target_bytes: int = TARGET_BYTES) -> list[list[Part]]:
    """Which files become one: those well below the target, or with many dead rows, in the order of paths.

    The live bytes of a group stay within the target unless a single file is larger. A file that would only
    be copied is in no group.
    """
    found: list[list[Part]] = []
    group: list[Part] = []
    weight = 0.0
    for part in sorted(parts, key=lambda part: part.path):
        dead = part.rows - part.live
        if part.size >= target_bytes / 2 and dead <= DEAD_SHARE * part.rows:
            continue
        live_bytes = part.size * part.live / max(part.rows, 1)
        if group and weight + live_bytes > target_bytes:
            found.append(group)
            group, weight = [], 0.0
        group.append(part)
        weight += live_bytes
    if group:
        found.append(group)
    return [group for group in found if len(group) > 1 or group[0].live < group[0].rows]


def compact(
    storage: Storage,
    where: str,
    table: Table,
    run_id: str,
    *,
    target_bytes: int = TARGET_BYTES,
    drop: Collection[str] = (),
    check: Callable[[], None] = lambda: None,
) -> Compacted:
    """Merge the small files of one folder of a table, without superseded rows and those of `drop`.

    For the holder of the lease only: two compactions of one folder would delete each other's work.
    drop: video_ids of which nothing is kept. check: called before every merge, raises to stop there.
    """
    listed = {entry.path: entry.size for entry in committed.entries(storage, where)}
    sizes = {path: listed[path] for path in fences.inside(storage, listed)}
    for path in listed.keys() - sizes.keys():
        # Of a run that had lost OUT when it committed: nobody reads it.
        storage.delete(path)
    everything = committed.read_all(storage, where, table, ["video_id"] if drop else [], with_file=True)
    live = committed.newest(everything, table.key)
    if drop:
        gone = pc.is_in(live.column("video_id"), value_set=pa.array(sorted(drop), pa.string()))
        live = live.filter(pc.invert(gone))
    rows, living = _per_file(everything), _per_file(live)
    # A file that came after the listing is not looked at: nobody but this run commits.
    parts = [Part(path, size, rows.get(path, 0), living.get(path, 0)) for path, size in sizes.items()]
    chosen = groups(parts, target_bytes)
    if drop:
        # A large file is otherwise left alone while few of its rows are dead; these must go now.
        known = {part.path for group in chosen for part in group}
        holding = pc.unique(everything.filter(_is_in(everything, drop)).column("file")).to_pylist()
        chosen += [[part] for part in parts if part.path in holding and part.path not in known]
    # Folders of an earlier version are emptied, so that other programs find one kind.
    known = {part.path for group in chosen for part in group}
    chosen += [[part] for part in parts if committed.is_earlier(part.path) and part.path not in known]
    # A later version may have written columns that this one does not know and would lose.
    chosen = [group for group in chosen if not _is_of_later_version(storage, group)]
    if chosen:
        # It would keep the ids of rows that are gone.
        index.remove(storage, table.name)
    written = deleted = 0
    for group in chosen:
        check()
        written += _merge(storage, where, table, run_id, group, live)
        for part in group:
            storage.delete(part.path)
        deleted += len(group)
    merged_rows = sum(part.rows for group in chosen for part in group)
    merged_live = sum(part.live for group in chosen for part in group)
    return Compacted(len(parts), len(parts) - deleted + written, merged_rows - merged_live)


def _is_of_later_version(storage: Storage, group: Sequence[Part]) -> bool:
    return any(committed.schema_version(storage, part.path) > SCHEMA_VERSION for part in group)


def _is_in(rows: pa.Table, video_ids: Collection[str]) -> pa.ChunkedArray:
    return pc.is_in(rows.column("video_id"), value_set=pa.array(sorted(video_ids), pa.string()))


def _per_file(rows: pa.Table) -> dict[str, int]:
    counted = rows.group_by("file").aggregate([("run_id", "count")])
    return dict(
        zip(counted.column("file").to_pylist(), counted.column("run_id_count").to_pylist(), strict=True)
    )


def _merge(
    storage: Storage, where: str, table: Table, run_id: str, group: Sequence[Part], live: pa.Table
) -> int:
    """Write one file with the live rows of a group; how many files that are (none: no row lives)."""
    paths = [part.path for part in group if part.live]
    if not paths:
        return 0
    keys = live.filter(pc.is_in(live.column("file"), value_set=pa.array(paths, pa.string())))
    pieces = [committed.read_file(storage, table, path) for path in paths]
    # All files of a group at once: file by file would be quadratic where they are many.
    merged = committed.newest(_only(pa.concat_tables(pieces), keys, table.key), table.key)
    if merged.num_rows != keys.num_rows:
        # Nothing is deleted of which a row would be missing afterwards.
        raise StorageError(
            f"{storage.full(where)}: {merged.num_rows} of {keys.num_rows} rows found; nothing was merged"
        )
    digest = hashlib.sha256("\0".join(part.path for part in group).encode()).hexdigest()[:16]
    committed.commit(storage, where, table, f"{committed.MERGED}{run_id}-{digest}", merged)
    return 1


def _only(rows: pa.Table, keys: pa.Table, key: Sequence[str]) -> pa.Table:
    """The rows whose key and run are among `keys`."""
    names = [*key, "run_id"]
    keys = keys.select(names)
    numbered = rows.select(names).append_column("row", pa.array(range(rows.num_rows), pa.int64()))
    kept = numbered.join(keys, keys=names, join_type="left semi")
    return rows.take(kept.column("row").combine_chunks().sort())
