"""Runs that lost OUT to another run: what they had committed by then counts, and nothing after it.

A run may stand still (paused, cut off) while another takes its place, and its workers may go on. A check
before each commit cannot close that: there is always a moment between the check and the write. So the run
that takes over writes down which files the earlier one had committed, before it reads anything itself. Every
file that begins with that run's id and is not among them is passed over by all readers.

Run ids sort by time and are never given twice, so they serve as the number of the lease. Files of a
compaction have other names: they hold only rows that had been committed before.
"""

import json
from collections.abc import Iterable, Sequence
from weakref import WeakKeyDictionary

from emo.errors import StorageError
from emo.paths import split
from emo.store.storage import Storage
from emo.store.tables import EVERY

FOLDER = "fences"


def fence(storage: Storage, run_id: str) -> None:
    """From now on nothing that this run commits counts; nothing happens where it has a fence.

    For the holder of the lease, before it reads a table.
    """
    if is_fenced(storage, run_id):
        return
    files = [
        path
        for table in EVERY
        for path in storage.names(table.name)
        if path.endswith(".parquet") and _run_of(path) == run_id
    ]
    storage.write(_path(run_id), json.dumps({"run": run_id, "files": files}).encode())


def is_fenced(storage: Storage, run_id: str) -> bool:
    """Whether another run has taken the place of this one."""
    return storage.has(_path(run_id))


def check(storage: Storage, run_id: str) -> None:
    """Raise StorageError where this run must not commit any more."""
    if is_fenced(storage, run_id):
        raise StorageError(f"{storage.url}: another run has taken the place of run {run_id}; it stops")


def inside(storage: Storage, paths: Iterable[str]) -> list[str]:
    """The files that count, of those of a listing."""
    paths = list(paths)
    fenced = {split(path)[1].removesuffix(".json") for path in storage.names(FOLDER)}
    if not fenced:
        return paths
    # A fence is read only while its run has files: compaction makes others of them in time.
    return [path for path in paths if (run := _run_of(path)) not in fenced or path in _files(storage, run)]


def _path(run_id: str) -> str:
    return f"{FOLDER}/{run_id}.json"


def _run_of(path: str) -> str:
    return split(path)[1].partition("-")[0]


def _files(storage: Storage, run_id: str) -> frozenset[str]:
    known = _read.setdefault(storage, {})
    if run_id not in known:
        known[run_id] = _load(storage, run_id)
    return known[run_id]


# A fence never changes.
_read: WeakKeyDictionary[Storage, dict[str, frozenset[str]]] = WeakKeyDictionary()


def _load(storage: Storage, run_id: str) -> frozenset[str]:
    path = _path(run_id)
    try:
        files: Sequence[str] = json.loads(storage.read(path))["files"]
        return frozenset(files)
    except (ValueError, TypeError, KeyError):
        raise StorageError(f"{storage.full(path)} is not a fence: it names no files") from None
