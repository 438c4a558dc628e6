"""What is left to do: pure functions on the key columns of tables."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo.arrays import truths
from emo.store.tables import FAILED, OK

# The columns by which a clip is seen to have changed.
VERSION = ("size", "modified", "transcript_version", "start_s", "end_s", "dialogue_id", "turn", "speaker")


def clips_to_ingest(manifest: pa.Table, committed: pa.Table, by: Sequence[str] = VERSION) -> pa.Table:
    """Rows of the manifest that are new, or whose file, words, times or turn changed.

    `committed` holds the newest clips row per id with the columns `by`, which tell of a change. A row that
    failed counts as done until its file changes or it is asked for with `failed_keys`.
    """
    at = place(manifest, committed, ("video_id",))
    unchanged = pc.is_valid(at)
    for name in by:
        before = committed.column(name).take(at)
        now = manifest.column(name)
        # A file that is still not there is unchanged: null equals null here.
        same = pc.or_(
            pc.fill_null(pc.equal(before, now), False), pc.and_(pc.is_null(before), pc.is_null(now))
        )
        unchanged = pc.and_(unchanged, same)
    return manifest.filter(pc.invert(unchanged))


def stale(upstream: pa.Table, done: pa.Table, key: tuple[str, ...]) -> pa.Table:
    """Rows of `upstream` without a row in `done` that is at least as new.

    Run ids sort by time, so a result is up to date when its run is not older than that of its input.
    """
    at = place(upstream, done, key)
    result_run = done.column("run_id").take(at)
    fresh = pc.fill_null(pc.greater_equal(result_run, upstream.column("run_id")), False)
    return upstream.filter(pc.invert(fresh))


def not_in_run(rows: pa.Table, done: pa.Table, run_id: str, key: tuple[str, ...]) -> pa.Table:
    """Rows without a row in `done` that this very run committed."""
    return not_in(rows, of_run(done, run_id), key)


def of_run(rows: pa.Table, run_id: str) -> pa.Table:
    """The rows that this very run committed."""
    return rows.filter(pc.equal(rows.column("run_id"), run_id))


def place(rows: pa.Table, among: pa.Table, key: tuple[str, ...]) -> pa.Array:
    """For each row the index of the first row of `among` with the same key, null where there is none."""
    # Tables that were made one of the other have the same keys, row by row, which is seen in a third of the
    # time that looking up takes.
    same = rows.num_rows == among.num_rows and all(
        rows.column(name).equals(among.column(name)) for name in key
    )
    if same and _each_once(rows, key):
        return pa.array(np.arange(rows.num_rows))
    if len(key) == 1:
        return pc.index_in(flat(rows, key[0]), value_set=flat(among, key[0]))
    wanted, there, count = _numbered(rows, among, key)
    if count > 8 * len(there) + 1024:
        return pc.index_in(pa.array(wanted, mask=wanted < 0), value_set=pa.array(there))
    # So few numbers that a table of all of them finds a row at once.
    at = np.full(count, -1, dtype=np.int32)
    at[there[::-1]] = np.arange(len(there))[::-1]
    found = np.where(wanted >= 0, at[wanted], -1)
    return pa.array(found, mask=found < 0)


# Of more parts than there are experts nobody looks at each.
_MOST_PARTS = 100


def _each_once(rows: pa.Table, key: tuple[str, ...]) -> bool:
    """Whether no two rows have one key, as far as rows and their neighbours tell: where the rows are sorted,
    or come in parts that are, each with a value of its own in a column of the key.
    """
    rises = np.zeros(max(rows.num_rows - 1, 0), dtype=bool)
    before_same = ~rises
    stays = {}
    for name in key:
        values = flat(rows, name)
        earlier, later = values.slice(0, len(rises)), values.slice(1)
        rises |= before_same & truths(pc.less(earlier, later))
        stays[name] = truths(pc.equal(earlier, later))
        before_same &= stays[name]
    borders = np.flatnonzero(~rises)
    if len(borders) >= _MOST_PARTS:
        return False
    starts = pa.array(np.append(0, borders + 1))
    return not len(borders) or any(
        np.array_equal(np.flatnonzero(~stays[name]), borders)
        and pc.count_distinct(flat(rows, name).take(starts), mode="all").as_py() == len(starts)
        for name in key
    )


# Numbers of keys stay below it, so that they fit 64 bits.
_MOST_KEYS = 2**62


def _numbered(rows: pa.Table, among: pa.Table, key: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, int]:
    """The keys of both as numbers (int64) below the last value; -1 for a row whose key `among` lacks.

    Numbers are told apart far faster than keys that are put together as texts.
    """
    wanted, there = np.zeros(rows.num_rows, np.int64), np.zeros(among.num_rows, np.int64)
    lacking = np.zeros(rows.num_rows, dtype=bool)
    count = 1
    for name in key:
        ours, theirs = flat(rows, name), flat(among, name)
        encoded = theirs.dictionary_encode()
        codes = encoded.indices.to_numpy()
        # Of tables that were made one of the other a part of the key may be the same, row by row.
        same = ours.equals(theirs)
        found = codes if same else pc.index_in(ours, value_set=encoded.dictionary).fill_null(-1).to_numpy()
        distinct = max(len(encoded.dictionary), 1)
        if count * distinct >= _MOST_KEYS:
            values, there = np.unique(there, return_inverse=True)
            at = np.minimum(np.searchsorted(values, wanted), max(len(values) - 1, 0))
            lacking |= values[at] != wanted if len(values) else True
            wanted, count = at, max(len(values), 1)
        there = there * distinct + codes
        wanted = wanted * distinct + found
        lacking |= found < 0
        count *= distinct
    return np.where(lacking, -1, wanted), there, count


def by_file(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each file that the column `file` names, in their order, sorted by file."""
    files = flat(rows, "file").dictionary_encode()
    places = files.indices.to_numpy()
    order = np.argsort(places, kind="stable")
    ends = np.cumsum(np.bincount(places, minlength=len(files.dictionary)))
    for path, number in sorted((path, number) for number, path in enumerate(files.dictionary.to_pylist())):
        begin = ends[number - 1] if number else 0
        yield path, rows.take(pa.array(order[begin : ends[number]]))


def not_in(rows: pa.Table, done: pa.Table, key: tuple[str, ...]) -> pa.Table:
    """The rows whose key does not stand in `done`."""
    return kept(rows, pc.is_null(place(rows, done, key)))


def in_both(rows: pa.Table, wanted: pa.Table, key: tuple[str, ...]) -> pa.Table:
    """The rows whose key stands in `wanted`."""
    return kept(rows, pc.is_valid(place(rows, wanted, key)))


def failed_rows(committed: pa.Table) -> pa.Table:
    """The rows that failed."""
    return committed.filter(pc.equal(committed.column("status"), FAILED))


def well(rows: pa.Table) -> pa.Table:
    """The rows that did not fail."""
    return kept(rows, pc.equal(rows.column("status"), OK))


def workers_that_fit(nodes: Sequence[Mapping[str, float]], needed: Mapping[str, float]) -> int:
    """Workers that the nodes hold together; one worker never spans two nodes."""
    asked = {name: amount for name, amount in needed.items() if amount > 0}
    return sum(
        min((int(node.get(name, 0) / amount) for name, amount in asked.items()), default=1) for node in nodes
    )


def fit_together(
    nodes: Sequence[Mapping[str, float]], pools: Sequence[tuple[Mapping[str, float], int]]
) -> bool:
    """Whether the nodes hold all these pools at once, each so many workers that need the same."""
    free = [dict(node) for node in nodes]
    for needed, workers in pools:
        for node in free:
            placed = min(workers, workers_that_fit([node], needed))
            workers -= placed
            for name, amount in needed.items():
                node[name] = node.get(name, 0) - placed * amount
        if workers:
            return False
    return True


def older(rows: pa.Table, done: pa.Table, since: str, key: tuple[str, ...]) -> pa.Table:
    """The rows that no run from `since` on has made."""
    return not_in(rows, done.filter(pc.greater_equal(done.column("run_id"), since)), key)


def current(descriptions: pa.Table, clips: pa.Table) -> pa.Table:
    """The descriptions that count: made since their clip was ingested (which went well), and not older than
    the first answer of their expert to it (see `answering`).
    """
    at = place(descriptions, clips, ("video_id",))
    ingested = clips.column("run_id").take(at)
    usable = pc.equal(clips.column("status").take(at), OK)
    fresh = pc.greater_equal(descriptions.column("run_id"), ingested)
    return answering(kept(descriptions, pc.and_(usable, fresh)))


def numbered(rows: pa.Table, numbers: range) -> pa.ChunkedArray:
    """Whether the number of each answer (`sample`) is one of these: bool per row."""
    sample = rows.column("sample")
    return pc.and_(pc.greater_equal(sample, numbers.start), pc.less(sample, numbers.stop))


def answering(descriptions: pa.Table) -> pa.Table:
    """The descriptions that are not older than the answer 0 of their expert to their clip.

    Later rounds may be of later runs. What is older was made before the expert was asked anew: an earlier run
    may have asked for more answers.
    """
    key = ("video_id", "expert")
    first = kept(descriptions, pc.equal(descriptions.column("sample"), 0))
    began = first.column("run_id").take(place(descriptions, first, key))
    fresh = pc.greater_equal(descriptions.column("run_id"), began)
    return kept(descriptions, fresh)


def moved(manifest: pa.Table, committed: pa.Table) -> pa.Table:
    """Rows of the manifest whose id is committed for a file at another place."""
    before = committed.column("uri").take(place(manifest, committed, ("video_id",)))
    return manifest.filter(pc.fill_null(pc.not_equal(before, manifest.column("uri")), False))


def pool_size(rows: int, most: int, shard_rows: int) -> int:
    """Workers for so many rows: at most `most`, each with a row and a quarter of a shard to do at the least.

    A worker takes seconds to start: for a few rows one more costs more than it brings.
    """
    return max(1, min(most, rows, math.ceil(4 * rows / shard_rows)))


def shard_size(rows: int, workers: int, most: int) -> int:
    """Rows per shard: at most `most`, and few enough that every worker gets about four.

    Four, because the last shards to finish then leave a worker idle for a small part of the pass only.
    """
    return max(1, min(most, math.ceil(rows / (4 * workers))))


def shards(rows: pa.Table, size: int, together: str | None = None) -> list[pa.Table]:
    """Slices of at most `size` rows, in their order.

    together: rows that follow one another with the same value in this column are in one slice; where there
    are more of them than `size`, in as few slices as hold them.
    """
    if together is None or not rows.num_rows:
        return [rows.slice(start, size) for start in range(0, rows.num_rows, size)]
    begins = [*starts(flat(rows, together)).tolist(), rows.num_rows]
    borders = [0]
    for start, end in pairwise(begins):
        if end - borders[-1] <= size:
            continue
        if start > borders[-1]:
            borders.append(start)
        parts = math.ceil((end - start) / size)
        # What remains of a long run may share its slice with what follows.
        borders += [start + (end - start) * part // parts for part in range(1, parts)]
    return [rows.slice(start, end - start) for start, end in pairwise([*borders, rows.num_rows])]


def flat(table: pa.Table, name: str) -> pa.Array:
    """A column in one piece."""
    column = table.column(name)
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def starts(values: pa.Array) -> np.ndarray:
    """The places of the values that differ from the one before them, and of the first: int64, rising."""
    if len(values) == 0:
        return np.zeros(0, dtype=np.int64)
    differs = pc.not_equal(values.slice(1), values.slice(0, len(values) - 1))
    return np.append(0, np.flatnonzero(differs.to_numpy(zero_copy_only=False)) + 1)


def rises(values: pa.Array | pa.ChunkedArray) -> bool:
    """Whether each value is greater than the one before it."""
    return len(values) < 2 or bool(
        pc.all(pc.less(values.slice(0, len(values) - 1), values.slice(1)), skip_nulls=False).as_py()
    )


def kept(rows: pa.Table, keep: pa.Array | pa.ChunkedArray) -> pa.Table:
    """The rows where it is true; all of them, which is the rule, are not copied."""
    return rows if pc.all(keep, skip_nulls=False).as_py() else rows.filter(keep)
