"""The rows of `segments` that count: a recording that is split anew has other pieces than before."""

import pyarrow as pa
import pyarrow.compute as pc

from emo.errors import CODES
from emo.store import committed, planning
from emo.store.storage import Storage
from emo.store.tables import CLIPS, DESCRIPTIONS, JUDGMENTS, OK, SEGMENTS, VOTES, Table

_PASSING = pa.array([code for code, said in CODES.items() if said.passes])


def current(storage: Storage, columns: list[str]) -> pa.Table:
    """The rows of each recording that its newest run made."""
    return _of_newest_run(committed.read_newest(storage, committed.folder(SEGMENTS), SEGMENTS, columns))


def _of_newest_run(rows: pa.Table) -> pa.Table:
    newest = rows.group_by("recording").aggregate([("run_id", "max")])
    last = newest.column("run_id_max").take(planning.place(rows, newest, ("recording",)))
    return rows.filter(pc.equal(rows.column("run_id"), last))


def supersede(storage: Storage, run_id: str, given: pa.Table) -> int:
    """Write down which clips count no more since their recordings were split anew; how many these are.

    They are pieces that were not found again or are left out now, and whole recordings that are clips in
    pieces now. Nothing is removed: each gets a newer row in every table that has one of it. A recording whose
    newest split failed for a passing reason keeps what it has. given: clips (`video_id`) that stay whatever
    was found. For the holder of the lease.
    """
    columns = ["status", "error", "kept"]
    rows = committed.read_newest(storage, committed.folder(SEGMENTS), SEGMENTS, columns)
    now = _of_newest_run(rows)
    well = planning.well(now).select(["recording"])
    unsure = planning.not_in(
        now.filter(pc.is_in(now.column("error"), value_set=_PASSING)), well, ("recording",)
    )
    old = planning.not_in(planning.not_in(rows, now, SEGMENTS.key), unsure, ("recording",))
    wanted = now.filter(pc.and_(pc.equal(now.column("status"), OK), pc.fill_null(now.column("kept"), False)))
    left_out = planning.not_in(planning.not_in(now, wanted, SEGMENTS.key), unsure, ("recording",))
    whole = well.rename_columns(["video_id"])
    gone = pa.concat_tables([part.select(["video_id"]) for part in (old, left_out, whole)])
    for stays in (wanted, given):
        gone = planning.not_in(gone, stays, ("video_id",))
    clips = 0
    # Clips and segments last: by them a run that was cut short is gone on with.
    for table in (JUDGMENTS, VOTES, DESCRIPTIONS, CLIPS):
        for where in committed.folders(storage, table):
            clips = _write(storage, where, table, run_id, gone, ("video_id",))
    _write(storage, committed.folder(SEGMENTS), SEGMENTS, run_id, old, SEGMENTS.key)
    return clips


def _write(
    storage: Storage, where: str, table: Table, run_id: str, gone: pa.Table, key: tuple[str, ...]
) -> int:
    if not gone.num_rows:
        return 0
    needed = [field.name for field in table.schema if not field.nullable]
    rows = planning.in_both(committed.read_newest(storage, where, table, needed), gone, key)
    if rows.num_rows:
        committed.commit(storage, where, table, f"{run_id}-superseded", table.superseded(rows, run_id))
    return rows.num_rows
