"""Every trace of some clips leaves an OUT: rows, frames, sounds, captions, reviews, pages, exports.

trainings  →  run files, nights  →  tables, then clips  →  reviews since  →  noted exports  →  report
"""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo.errors import EmoError, InputError
from emo.export import forgetting as exported
from emo.finetuning import forgetting as finetuned
from emo.nightly import summary as nights
from emo.nightly.retention import NIGHTS
from emo.report import write as report
from emo.run.session import Session
from emo.store import committed, compaction, fences, index
from emo.store.runs import FOLDER as RUNS
from emo.store.storage import Storage, storage_of
from emo.store.tables import CLIPS, EVERY, REVIEWS, Table

# Fields of run files and summaries of nights that may name a file or a clip.
_SPOKEN = ("source", "error", "notes")
_GONE = "(forgotten)"
_SHOWN = 3


@dataclass
class Forgotten:
    """rows: how many were removed of each table, older ones of a clip included; beyond: what emo cannot
    reach, a line each for a person.
    """

    rows: dict[str, int] = field(default_factory=dict)
    beyond: list[str] = field(default_factory=list)


def run(session: Session, clips: Mapping[str, str | None], tell: Callable[[str], None]) -> Forgotten:
    """Remove these clips: video_id -> address of the file, if it is known.

    A removal that was cut short is finished by the same call. Raises EmoError where a row is left, and
    LeaseHeldError where a training reads one of them.
    """
    storage, run_id, check = session.storage, session.run_id, session.check
    done = Forgotten()
    # It tells of rows by their keys.
    index.remove(storage)
    _drop_unread(storage)
    done.beyond += finetuned.forget(storage, clips)
    for path in (*_of_runs(storage, RUNS), *_of_runs(storage, NIGHTS)):
        _scrub(storage, path, clips)
    # Clips late: what a removal that is cut short leaves is found again by them. Then reviews again: people
    # go on, and only a review of a clip that is gone is refused.
    tables = (*(one for one in EVERY if one is not CLIPS), CLIPS, REVIEWS)
    for table in tables:
        removed = _remove(storage, table, clips.keys(), run_id, check)
        if removed:
            done.rows[table.name] = done.rows.get(table.name, 0) + removed
            tell(f"{table.name}: {removed} rows removed")
    # After the tables, of which the files are written anew.
    done.beyond += exported.forget(storage, clips.keys(), tell)
    done.beyond += _sources(storage, clips)
    if aside := storage.names("set-aside"):
        done.beyond.append(
            f"{len(aside)} damaged files in {storage.full('set-aside')}: nobody can tell what they hold; "
            "delete the folder"
        )
    if storage.has(report.PATH):
        report.write(storage, session.config.report.gallery, session.run, session.config.asked_in_rounds)
    return done


def _drop_unread(storage: Storage) -> None:
    """Delete what a run committed after it had lost OUT: nobody reads it, so no clip is found there."""
    for table in EVERY:
        paths = [entry.path for entry in committed.entries(storage, table.name)]
        for path in set(paths) - set(fences.inside(storage, paths)):
            storage.delete(path)


def _remove(
    storage: Storage, table: Table, ids: Collection[str], run_id: str, check: Callable[[], None]
) -> int:
    """Remove the rows of these clips from a table; how many there were."""
    before = _rows_of(storage, table, ids)
    if not before.num_rows:
        return 0
    for where in committed.folders(storage, table):
        # A target of no bytes: only files that hold such rows are written anew.
        compaction.compact(storage, where, table, run_id, target_bytes=0, drop=ids, check=check)
    left = _rows_of(storage, table, ids)
    if table is REVIEWS:
        # A person may answer meanwhile. Those of this file alone must be gone.
        left = left.filter(pc.is_in(left.column("file"), value_set=before.column("file").combine_chunks()))
    if left.num_rows:
        path = left.column("file")[0].as_py()
        raise EmoError(
            f"{storage.full(path)} still holds {left.num_rows} rows of these clips: it was written by a "
            "later version of emo, which must do this"
        )
    return int(before.num_rows)


def _rows_of(storage: Storage, table: Table, ids: Collection[str]) -> pa.Table:
    columns = [] if "video_id" in table.key else ["video_id"]
    rows = committed.read_all(storage, table.name, table, columns, with_file=True)
    return rows.filter(pc.is_in(rows.column("video_id"), value_set=pa.array(sorted(ids), pa.string())))


def _of_runs(storage: Storage, folder: str) -> list[str]:
    return [path for path in storage.names(folder) if path.endswith(".json")]


def _scrub(storage: Storage, path: str, clips: Mapping[str, str | None]) -> None:
    """Take the names of the clips out of what a run or a night says; its page is then written anew."""
    try:
        told = json.loads(storage.read(path))
    except ValueError:
        raise EmoError(f"{storage.full(path)} is no JSON; emo repair moves it away") from None
    names = sorted({*clips, *filter(None, clips.values())}, key=len, reverse=True)
    # A whole name only: the id `a` is no part of `annotated`.
    pattern = re.compile(rf"(?<![\w/.-])(?:{'|'.join(map(re.escape, names))})(?![\w/-])")
    changed = {name: _without(told[name], pattern) for name in _SPOKEN if name in told}
    if all(told[name] == value for name, value in changed.items()):
        return
    told |= changed
    if path.startswith(f"{NIGHTS}/"):
        nights.write(storage, told)
    else:
        storage.write(path, json.dumps(told, indent=1, ensure_ascii=False).encode())


def _without(value: Any, pattern: re.Pattern[str]) -> Any:
    if isinstance(value, list):
        return [_without(one, pattern) for one in value]
    return pattern.sub(_GONE, value) if isinstance(value, str) else value


def _sources(storage: Storage, clips: Mapping[str, str | None]) -> list[str]:
    """A line where files of the clips are still there: the next run would read them again."""
    there = [uri for uri in sorted({*filter(None, clips.values())}) if _is_there(uri, storage)]
    if not there:
        return []
    shown = ", ".join(there[:_SHOWN]) + (f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else "")
    told = "the next emo label reads them again, unless they are removed or a manifest gives them `none`"
    return [f"the files themselves: {shown}; {told}"]


def _is_there(uri: str, storage: Storage) -> bool:
    try:
        folder, name = storage_of(uri, storage.s3)
        return folder.has(name)
    except InputError:
        return False


def lines(done: Forgotten, clips: int, unknown: Sequence[str]) -> list[str]:
    """What became of it, for a person."""
    told = []
    if unknown:
        told.append(f"{len(unknown)} names are of no clip of this OUT, such as {unknown[0]}")
    told += [f"not reached: {line}" for line in done.beyond]
    told.append(f"emo forget: {clips} clips, {sum(done.rows.values())} rows removed")
    return told
