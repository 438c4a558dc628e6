"""The committed rows of a table: written one shard at a time, read as the newest row of each key.

Longer than most files here: which files and which rows count is decided in this one place, so that no reader
comes to another answer.
"""

import errno
import io
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emo.errors import DamagedError, StorageError
from emo.paths import split
from emo.store import fences, index, planning
from emo.store.backend import Entry
from emo.store.index import LEAST_FILES, Known
from emo.store.storage import Storage
from emo.store.tables import SCHEMA_KEY, SCHEMA_VERSION, SUPERSEDED, Table

# Reads wait for the disk or for S3, not for the processor.
READ_THREADS = 16
# A file with more rows is decoded by several threads at once; for fewer rows they cost more than they bring.
THREADS_FROM = 100_000
# About 50 bytes each, as they are packed, and the place of the clip's file.
REMEMBERED_ROWS = 2_000_000
# Columns in which many rows have the same few texts.
_REPEATING = ("expert", "run_id", "status", "error", "judge", "file")
# A scan holds the footers of all its files until it ends: of 20,000 files they weigh more than a gigabyte.
SCAN_FILES = 500
# With fewer files the import of what scans costs more than it spares.
SCAN_FROM = 16
# Files that compaction made of many begin with this; those that workers commit begin with their run's id.
MERGED = "merged-"
# Linux's NFS client keeps a folder's entries for up to a minute.
LISTED_S = 90.0
LIST_AGAIN_S = 0.5
# A reader that meets a compaction lists again, and reads only what is new to it: that ends soon.
LISTINGS = 100


def folder(table: Table, expert: str | None = None) -> str:
    """The folder of a table under OUT; descriptions and votes have one per expert.

    Not `expert=NAME`: other programs make a column of such a name, beside the one that the files have.
    """
    return f"{table.name}/{expert}" if expert else table.name


def _earlier_folder(where: str) -> str | None:
    """Where versions before schema 2 wrote what now goes to `where`; None: there as well."""
    table, given, expert = where.partition("/")
    return f"{table}/expert={expert}" if given else None


def _folder_now(path: str) -> str:
    """The folder that a compaction of this file's folder writes to."""
    return split(path)[0].replace("/expert=", "/", 1)


def folders(storage: Storage, table: Table) -> list[str]:
    """The folders that hold files of a table, of experts too that no configuration names any more."""
    return sorted({_folder_now(path) for path in files(storage, table.name)})


def is_earlier(path: str) -> bool:
    """Whether a file stands in a folder of versions before schema 2."""
    return "/expert=" in path


def commit(storage: Storage, where: str, table: Table, name: str, rows: pa.Table) -> str:
    """Make one shard visible in one step: `OUT/where/name.parquet`; its path below OUT.

    The same name is given to the same rows, so that a task that the engine repeats replaces its own file.
    """
    sink = io.BytesIO()
    rows = rows.cast(table.schema).replace_schema_metadata({SCHEMA_KEY: str(SCHEMA_VERSION)})
    pq.write_table(rows, sink, compression="zstd", row_group_size=table.row_group_rows)
    path = f"{where}/{name}.parquet"
    storage.write(path, sink.getvalue())
    return path


def files(storage: Storage, where: str) -> list[str]:
    """The committed files of a table that count, sorted; other files are none of ours."""
    names = storage.names(where)
    if earlier := _earlier_folder(where):
        names = sorted([*names, *storage.names(earlier)])
    return fences.inside(storage, (path for path in names if path.endswith(".parquet")))


def entries(storage: Storage, where: str) -> list[Entry]:
    """The committed files of a table with their sizes, in no order, also those that do not count."""
    found = storage.entries(where)
    if earlier := _earlier_folder(where):
        found += storage.entries(earlier)
    return [entry for entry in found if entry.path.endswith(".parquet")]


@contextmanager
def _parquet(storage: Storage, path: str) -> Iterator[pq.ParquetFile]:
    with storage.errors(path):
        try:
            # On a disk there is nothing to fetch ahead.
            with storage.open(path) as handle, pq.ParquetFile(handle, pre_buffer=storage.on_s3) as file:
                yield file
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
            if isinstance(error, OSError) and (error.errno is not None or type(error) is not OSError):
                # The place's own; Arrow gives its errors about the content no number.
                raise
            reason = str(error).splitlines()[0]
            raise DamagedError(f"{storage.full(path)} is not a readable Parquet file: {reason}") from error


def read_file(storage: Storage, table: Table, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Some columns of one committed file; raises DamagedError where it is not a file of that table.

    A column that the version which wrote the file did not have is null.
    """
    schema = pa.schema([table.schema.field(name) for name in columns or table.schema.names])
    with _parquet(storage, path) as file:
        found = file.schema_arrow
        fault = _fault(found, schema, table.needs)
        threads = file.metadata.num_rows > THREADS_FROM
        rows = None if fault else file.read(columns=_there(found, schema), use_threads=threads)
        rows = None if rows is None else _filled(rows, schema)
        fault = fault or _fault_of_rows(rows, schema)
        if rows is None or fault:
            raise DamagedError(f"{storage.full(path)} is not a file of the {table.name} table: {fault}")
        return rows


def _there(found: pa.Schema, expected: pa.Schema) -> list[str]:
    there = set(found.names)
    return [name for name in expected.names if name in there]


def _filled(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of the schema, those that are not there as nulls."""
    there = set(rows.schema.names)
    columns = [
        rows.column(field.name) if field.name in there else pa.nulls(rows.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def schema_version(storage: Storage, path: str) -> int:
    """The schema that a committed file was written in; 1: before files said so."""
    with _parquet(storage, path) as file:
        return int((file.schema_arrow.metadata or {}).get(SCHEMA_KEY.encode(), b"1"))


def _fault(found: pa.Schema, expected: pa.Schema, needs: Collection[str]) -> str | None:
    """What a file lacks of the columns that are expected, for a person."""
    there = set(found.names)
    for field in expected:
        if field.name not in there:
            if field.nullable and field.name not in needs:
                continue
            return f"it has no column {field.name!r}"
        if found.field(field.name).type != field.type:
            return f"column {field.name!r} is {found.field(field.name).type}, expected {field.type}"
    return None


def _fault_of_rows(rows: pa.Table | None, expected: pa.Schema) -> str | None:
    for field in expected:
        if rows is not None and not field.nullable and rows.column(field.name).null_count:
            return f"column {field.name!r} has rows without a value"
    return None


def read_newest(
    storage: Storage, where: str, table: Table, columns: Iterable[str], *, with_file: bool = False
) -> pa.Table:
    """The newest row of each key, with its key, `run_id` and the given columns, sorted by key; none of a key
    whose newest row says that it is superseded.

    with_file adds a column `file`: where the row stands. Meant for light columns: everything is held in
    memory. The table's own light columns are read once and remembered for as long as no file changes.
    """
    names = list(dict.fromkeys([*table.key, "run_id", *columns]))
    rows = _newest_rows(storage, where, table, names, with_file)
    if "status" in rows.column_names:
        gone = pc.equal(rows.column("status"), SUPERSEDED)
        rows = rows.filter(pc.invert(gone)) if pc.any(gone).as_py() else rows
    return rows.select([*names, "file"] if with_file else names)


def superseded(storage: Storage, table: Table) -> pa.Table:
    """The keys of a table whose newest row says that they are superseded."""
    rows = _newest_rows(storage, folder(table), table, [*table.key, "run_id", "status"], False)
    return rows.filter(pc.equal(rows.column("status"), SUPERSEDED)).select(list(table.key))


def _newest_rows(
    storage: Storage, where: str, table: Table, names: Sequence[str], with_file: bool
) -> pa.Table:
    """The newest row of each key with these columns and maybe more, `status` where the table has one."""
    if not set(names) <= {*table.key, "run_id", *table.light}:
        stated = [*names, "status"] if "status" in table.schema.names else names
        return newest(read_all(storage, where, table, stated, with_file=with_file), table.key)
    known = _remembered.setdefault(storage, {})
    paths = files(storage, where)
    if where not in known or known[where].files != paths:
        rows = _newest_light(storage, where, table, paths, known.pop(where, None))
        if rows.num_rows <= REMEMBERED_ROWS:
            known[where] = Known(paths, rows)
    else:
        rows = known[where].rows
    stated = ["status"] if "status" in rows.column_names else []
    kept = dict.fromkeys([*names, *stated, *(["file"] if with_file else [])])
    return _unpacked(rows.select(list(kept)))


def _packed(rows: pa.Table) -> pa.Table:
    """The rows in a third of the memory: each text of a repeating column once, and its number in the rows."""
    for name in _REPEATING:
        if name in rows.column_names:
            at = rows.column_names.index(name)
            column = rows.column(name).dictionary_encode()
            rows = rows.set_column(at, rows.schema.field(name).with_type(column.type), column)
    return rows


def _unpacked(rows: pa.Table) -> pa.Table:
    return rows.cast(index.without_dictionaries(rows.schema))


# Light columns by storage and folder, with the files that they are of: committed files never change.
_remembered: WeakKeyDictionary[Storage, dict[str, Known]] = WeakKeyDictionary()
_indexed: WeakSet[Storage] = WeakSet()


def keep_index(storage: Storage) -> None:
    """From now on write down what is read of many files, for the runs that come; for who holds the lease."""
    _indexed.add(storage)


def _newest_light(
    storage: Storage, where: str, table: Table, paths: list[str], before: Known | None
) -> pa.Table:
    """The newest light row of each key, packed, with `file`; only files that nothing is known of are read.

    before: what was read in this process.
    """
    counts = set(paths)
    few = before is not None and len(counts) - len(before.files) < LEAST_FILES
    if before is not None and few and counts.issuperset(before.files):
        return _with_rest(storage, where, table, before)
    there = {entry.path: entry for entry in entries(storage, where) if entry.path in counts}
    schema, known = _light_schema(table), None
    if len(there) >= LEAST_FILES:
        known = index.load(
            storage, where, schema, there, [name for name in _REPEATING if name in schema.names]
        )
    if known is None:
        known = Known((), _packed(schema.empty_table()))
    rows = _with_rest(storage, where, table, known)
    if storage in _indexed and len(there) - len(known.files) >= LEAST_FILES:
        index.save(storage, where, _unpacked(rows), there.values())
    return rows


def _light_schema(table: Table) -> pa.Schema:
    names = dict.fromkeys([*table.key, "run_id", *table.light])
    return pa.schema([*(table.schema.field(name) for name in names), pa.field("file", pa.string())])


def _with_rest(storage: Storage, where: str, table: Table, known: Known) -> pa.Table:
    rest = read_all(storage, where, table, table.light, with_file=True, known=known.files)
    if rest.num_rows == 0:
        return known.rows
    return _packed(newest(pa.concat_tables([_unpacked(known.rows), rest]), table.key))


def read_all(
    storage: Storage,
    where: str,
    table: Table,
    columns: Iterable[str],
    *,
    with_file: bool = False,
    known: Collection[str] = (),
) -> pa.Table:
    """Every committed row, older ones of a key included: its key, `run_id` and the given columns.

    known: files that are passed over. Needs no lease: a compaction that goes on meanwhile is noticed, and the
    table read again.
    """
    names = list(dict.fromkeys([*table.key, "run_id", *columns]))
    schema = pa.schema([table.schema.field(name) for name in names])
    if with_file:
        schema = schema.append(pa.field("file", pa.string()))

    def one(path: str) -> pa.Table | None:
        try:
            rows = read_file(storage, table, path, names)
        except FileNotFoundError:
            return None
        return rows.append_column("file", pa.repeat(path, rows.num_rows)) if with_file else rows

    read = set(known)
    listed = False
    parts: list[pa.Table] = []
    with ThreadPoolExecutor(READ_THREADS) as pool:
        for _ in range(LISTINGS):
            unread = [path for path in files(storage, where) if path not in read]
            # Also a first listing is not enough: taken page by page, it may have missed a new file and the
            # old ones both. What was read of a file that is gone by now stands in a merged one too.
            if not unread or (listed and not any(_is_merged(path) for path in unread)):
                return pa.concat_tables([schema.empty_table(), *parts])
            listed = True
            many = len(unread) >= SCAN_FROM and not storage.on_s3
            fast = _scan_local(storage, unread, schema, table.needs) if many else None
            found = [fast] if fast is not None else list(pool.map(one, unread))
            parts += [rows for rows in found if rows is not None]
            # A file that is gone is not listed again.
            read.update(unread)
    raise StorageError(f"{storage.full(where)} changes faster than it can be read")


def _scan_local(
    storage: Storage, paths: Sequence[str], schema: pa.Schema, needs: Collection[str] = ()
) -> pa.Table | None:
    """The columns of the schema of all files in one scan without Python between files, three times as fast.

    None where anything is odd: reading file by file then says what and where.
    """
    # Only where it is worth its import.
    import pyarrow.dataset as ds

    stored = pa.schema([field for field in schema if field.name != "file"])
    with_file = "file" in schema.names
    names = [*stored.names, *(["__filename"] if with_file else [])]
    parts = []
    try:
        for start in range(0, len(paths), SCAN_FILES):
            full = [storage.full(path) for path in paths[start : start + SCAN_FILES]]
            dataset = ds.dataset(full, schema=stored, format="parquet")
            parts.append(dataset.to_table(names))
            # Where a file has no such column, or another type, the scan makes it up; the footers are read.
            if any(_fault(file.physical_schema, stored, needs) for file in dataset.get_fragments()):
                return None
    except (pa.ArrowException, OSError):
        return None
    rows = pa.concat_tables(parts)
    if _fault_of_rows(rows, stored):
        return None
    if with_file:
        places = pc.utf8_slice_codeunits(rows.column("__filename"), len(storage.full("x")) - 1)
        rows = rows.drop_columns("__filename").append_column("file", places)
    return rows.cast(schema)


def _is_merged(path: str) -> bool:
    return split(path)[1].startswith(MERGED)


def newest(rows: pa.Table, key: Sequence[str]) -> pa.Table:
    """Of the rows with one key, that of the newest run; sorted by key.

    Works on numbers that sort like the values: sorting the strings themselves takes twenty times as long.
    """
    if rows.num_rows == 0:
        return rows
    place = np.zeros(rows.num_rows, dtype=np.int64)
    for name in key:
        ranks, distinct = _ranks(rows.column(name))
        place = place * distinct + ranks
    if (place[1:] > place[:-1]).all():
        # Sorted, each key once, which is how one run leaves them.
        return rows.combine_chunks()
    order = np.lexsort((_ranks(rows.column("run_id"))[0], place))
    placed = place[order]
    last_of_key = np.append(placed[1:] != placed[:-1], True)
    return rows.take(pa.array(order[last_of_key])).combine_chunks()


def _ranks(column: pa.ChunkedArray) -> tuple[np.ndarray, int]:
    """For each value its rank among the distinct ones (int64), and how many these are."""
    encoded = column.combine_chunks().dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank[encoded.indices.to_numpy()], len(order)


def read_given(storage: Storage, table: Table, rows: pa.Table, columns: Iterable[str]) -> pa.Table:
    """Given rows (their keys and `file`, as `read_newest` gives them) with these columns, file by file.

    Raises StorageError where one of them is not there any more.
    """
    names = list(dict.fromkeys([*table.key, *columns]))
    parts = [pa.schema([table.schema.field(name) for name in names]).empty_table()]
    for path, wanted in planning.by_file(rows):
        ids = pc.unique(wanted.column("video_id")).to_pylist()
        found = read_rows(storage, table, path, "video_id", ids, names).select(names)
        parts.append(planning.in_both(found, wanted, table.key))
    given = pa.concat_tables(parts)
    if given.num_rows != rows.num_rows:
        lost = rows.num_rows - given.num_rows
        raise StorageError(f"{lost} rows of {table.name} vanished from {storage.url} meanwhile")
    return given


def read_parts(storage: Storage, table: Table, rows: pa.Table, columns: Iterable[str]) -> Iterator[pa.Table]:
    """The same, a row group at a time, in the order in which they stand: for texts that no memory holds."""
    names = list(dict.fromkeys([*table.key, *columns]))
    key = list(table.key)
    for path, wanted in planning.by_file(rows):
        given: list[pa.Table] = []
        try:
            for part in _row_groups(storage, table, path, wanted, names):
                given.append(part.select(key))
                yield part
        except FileNotFoundError:
            # A compaction took the file away; what it made of it has the rest.
            rest = planning.not_in(wanted, pa.concat_tables(given), table.key) if given else wanted
            for part in batched(rest, table.row_group_rows):
                yield read_given(storage, table, part, names)
            continue
        if (lost := wanted.num_rows - sum(part.num_rows for part in given)) != 0:
            raise StorageError(f"{lost} rows of {table.name} vanished from {storage.url} meanwhile")


def _row_groups(
    storage: Storage, table: Table, path: str, wanted: pa.Table, names: Sequence[str]
) -> Iterator[pa.Table]:
    """The wanted rows of each row group of a file."""
    schema = pa.schema([table.schema.field(name) for name in names])
    with _parquet(storage, path) as file:
        there = _there(file.schema_arrow, schema)
        groups = range(file.metadata.num_row_groups)
        # As a rule all rows are wanted, and need not be looked for.
        if file.metadata.num_rows == wanted.num_rows:
            for group in groups:
                yield _filled(file.read_row_group(group, columns=there), schema)
            return
        found = pc.is_valid(planning.place(file.read(columns=list(table.key)), wanted, table.key))
        start = 0
        for group in groups:
            count = file.metadata.row_group(group).num_rows
            fits = found.slice(start, count)
            start += count
            if pc.any(fits).as_py():
                yield _filled(file.read_row_group(group, columns=there), schema).filter(fits)


def read_rows(
    storage: Storage, table: Table, path: str, column: str, values: Sequence[str], columns: Sequence[str]
) -> pa.Table:
    """The rows of one file whose `column` is among `values`, in the order of `values`.

    Row groups that cannot hold any of them are not read. Needs no lease: where a compaction has taken the
    file away since it was listed, the rows are looked for in the merged files, the newest of each key.
    """
    names = list(dict.fromkeys([column, *columns]))
    try:
        found = _rows_of_file(storage, table, path, column, values, names)
    except FileNotFoundError:
        found = _rows_of_merged(storage, table, _folder_now(path), column, values, names)
    at = pc.index_in(found.column(column), value_set=pa.array(list(values)))
    return found.take(pc.sort_indices(at))


def _rows_of_merged(
    storage: Storage, table: Table, where: str, column: str, values: Sequence[str], names: Sequence[str]
) -> pa.Table:
    """Rows of a file that is gone. FileNotFoundError where no merged file can have taken its place."""
    wanted = list(dict.fromkeys([*names, *table.key, "run_id"]))
    for _ in range(LISTINGS):
        merged = [path for path in files(storage, where) if _is_merged(path)]
        try:
            parts = [_rows_of_file(storage, table, path, column, values, wanted) for path in merged]
        except FileNotFoundError:
            # The next compaction took this one too.
            continue
        if not parts:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), storage.full(where))
        return newest(pa.concat_tables(parts), table.key).select(list(names))
    raise StorageError(f"{storage.full(where)} changes faster than it can be read")


def _rows_of_file(
    storage: Storage, table: Table, path: str, column: str, values: Sequence[str], names: Sequence[str]
) -> pa.Table:
    wanted = pa.array(sorted(values))
    schema = pa.schema([table.schema.field(name) for name in names])
    low, high = wanted[0].as_py(), wanted[-1].as_py()
    parts = []
    with _parquet(storage, path) as file:
        index = file.schema_arrow.get_field_index(column)
        leaf = [file.metadata.row_group(0).column(i).path_in_schema for i in range(file.metadata.num_columns)]
        position = leaf.index(file.schema_arrow.field(index).name)
        for group in range(file.metadata.num_row_groups):
            statistics = file.metadata.row_group(group).column(position).statistics
            if (
                statistics is not None
                and statistics.has_min_max
                and (statistics.max < low or statistics.min > high)
            ):
                continue
            rows = file.read_row_group(group, columns=_there(file.schema_arrow, schema))
            parts.append(_filled(rows.filter(pc.is_in(rows.column(column), value_set=wanted)), schema))
    return pa.concat_tables([schema.empty_table(), *parts])


def await_listed(storage: Storage, paths: Iterable[str], note: Callable[[str], None]) -> None:
    """Return once all these committed files show in a listing; StorageError where one does not in LISTED_S.

    Network file systems keep what a folder holds for half a minute, and some object stores list late. What a
    step reads from a listing would lack what the step before it has made. note: told what is waited for.
    """
    unseen = set(paths)
    began = time.monotonic()
    told = False
    while True:
        for where in {split(path)[0] for path in unseen}:
            unseen.difference_update(storage.names(where))
        if not unseen:
            return
        some = f"{len(unseen)} committed files, such as {min(unseen)}"
        if time.monotonic() - began >= LISTED_S:
            raise StorageError(
                f"{storage.url}: {some}, do not show in a listing after {LISTED_S:.0f} s; the same command "
                "goes on once they do"
            )
        if not told:
            told = True
            note(f"{some}, do not show in a listing yet; waiting up to {LISTED_S:.0f} s")
        time.sleep(LIST_AGAIN_S)


def batched(rows: pa.Table, size: int) -> Iterator[pa.Table]:
    """Slices of at most `size` rows."""
    return (rows.slice(start, size) for start in range(0, rows.num_rows, size))
