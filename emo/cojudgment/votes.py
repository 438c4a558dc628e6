"""Votes as the co-judgment reads them: checked, of every key the newest run, the voters that answered."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo.errors import InputError
from emo.sources.labelsets import MOST_LABELS, as_labels
from emo.sources.record import Records, check_text, is_missing, short
from emo.store import tables

_NEEDED = ("video_id", "expert", "sample", "labels")
_OPTIONAL = ("run_id", "status", "strengths", "alternatives", "from_transcript")
_MAY_BE_NULL = ("labels", "run_id", "strengths", "alternatives", "from_transcript")
_NAMES = ("video_id", "expert")
_LAST_SAMPLE = 2**31 - 1


@dataclass(frozen=True)
class Voters:
    """One row per voter, in no particular order.

    table: video_id, expert, sample, labels, all of them without nulls; strengths, beside the labels of a
    voter that says how sure it is of each, null for the others; alternatives, beside the labels of a voter
    that could not tell some of them apart, null for the others; from_transcript where the votes tell it. A
    voter without labels is silent.
    clips: every video_id of the table, of those too whose voters all failed.
    duplicates: rows that were left out because a newer run voted for the same key; failed: rows of experts
    that failed on their clip, which are no voters.
    """

    table: pa.Table
    clips: pa.Array
    duplicates: int
    failed: int


def as_votes(votes: pa.Table, where: str = "votes") -> pa.Table:
    """The columns that a judgment needs, in the types of the schema; raises InputError where one is wrong.

    video_id, expert, sample and labels must be there. `status` and `run_id` need not: a table of labels made
    elsewhere is a votes table too, in which no expert failed. The message names `where`, the column, what is
    in it and what was expected.
    """
    there = [name for name in (*_NEEDED, *_OPTIONAL) if votes.schema.get_field_index(name) >= 0]
    missing = [name for name in _NEEDED if name not in there]
    if missing:
        raise InputError(
            f"{where}: no column {missing[0]!r}; a votes table has video_id, expert, sample and labels, "
            f"this one has {', '.join(votes.schema.names) or 'no column'}"
        )
    columns = {name: votes[name] for name in there}
    for name, column in columns.items():
        _check_column(name, column, where)
    typed = {name: column.cast(tables.VOTES.schema.field(name).type) for name, column in columns.items()}
    if "status" not in typed:
        typed["status"] = pa.repeat(tables.OK, votes.num_rows)
    beside = ("strengths", "alternatives")
    for name in beside:
        if name not in typed:
            typed[name] = pa.nulls(votes.num_rows, tables.VOTES.schema.field(name).type)
    table = pa.table(typed).combine_chunks()
    for name in beside:
        _check_beside_labels(table, name, where)
    strengths = pc.list_flatten(table["strengths"])
    right = pc.and_(pc.greater(strengths, 0.0), pc.less_equal(strengths, 1.0))
    if not pc.all(pc.fill_null(right, False)).as_py() and len(strengths):
        raise InputError(f"{where}: column 'strengths' has a value that is no number above 0 and at most 1")
    return table


def _check_beside_labels(votes: pa.Table, name: str, where: str) -> None:
    given = votes.filter(pc.is_valid(votes[name]))
    lengths = pc.fill_null(pc.list_value_length(given["labels"]), -1)
    if pc.any(pc.not_equal(lengths, pc.list_value_length(given[name]))).as_py():
        raise InputError(f"{where}: column {name!r} has a row with more or fewer numbers than labels")


def written_votes(found: Records) -> pa.Table:
    """A votes table that was written as text (CSV, JSON); raises InputError that names the row at fault."""
    columns: dict[str, list[Any]] = {name: [] for name in (*_NEEDED, *_OPTIONAL) if name in found.columns}
    for record in found.sound():
        failed = record.values.get("status") == tables.FAILED
        for name, column in columns.items():
            column.append(_written(name, record.values.get(name), record.where, may_lack=failed))
    types = {name: tables.VOTES.schema.field(name).type for name in columns}
    return pa.table({name: pa.array(column, types[name]) for name, column in columns.items()})


def _written(name: str, value: Any, where: str, may_lack: bool) -> Any:
    if name == "labels":
        return None if may_lack and is_missing(value) else as_labels(value, where)
    if name == "strengths" and not is_missing(value):
        # A number of hundreds of digits is a number in JSON, and none here.
        if isinstance(value, list) and all(isinstance(one, int | float) and abs(one) <= 1 for one in value):
            return [float(one) for one in value]
        raise InputError(f"{where}: strengths is {short(value)}; expected a list of numbers up to 1")
    if name == "alternatives" and not is_missing(value):
        if isinstance(value, list) and all(type(one) is int and 0 <= one <= _LAST_SAMPLE for one in value):
            return value
        raise InputError(f"{where}: alternatives is {short(value)}; expected a list of whole numbers from 0")
    if is_missing(value):
        if name in _OPTIONAL:
            return tables.OK if name == "status" else None
        raise InputError(f"{where} has no {name}; a vote has video_id, expert, sample and labels")
    if name == "from_transcript":
        words = {"true": True, "false": False}
        if str(value).lower() not in words:
            raise InputError(f"{where}: from_transcript is {short(value)}; expected true or false")
        return words[str(value).lower()]
    if name != "sample":
        check_text(str(value), where, name)
        return str(value)
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if not 0 <= number <= _LAST_SAMPLE or number != float(value):
        raise InputError(f"{where}: sample is {short(value)}; expected a number from 0 to {_LAST_SAMPLE}")
    return number


def _check_column(name: str, column: pa.ChunkedArray, where: str) -> None:
    if name == "sample":
        right, expected = pa.types.is_integer(column.type), "an integer"
    elif name == "strengths":
        right = _is_list(column.type) and (
            pa.types.is_floating(column.type.value_type) or pa.types.is_integer(column.type.value_type)
        )
        expected = "a list of numbers"
    elif name == "alternatives":
        right = _is_list(column.type) and (
            pa.types.is_integer(column.type.value_type) or pa.types.is_null(column.type.value_type)
        )
        expected = "a list of integers"
    elif name == "from_transcript":
        right, expected = pa.types.is_boolean(column.type) or pa.types.is_null(column.type), "a boolean"
    elif name == "labels":
        right, expected = _is_list(column.type) and _is_word(column.type.value_type), "a list of strings"
    else:
        right, expected = _is_text(column.type), "a string"
    if not right:
        raise InputError(f"{where}: column {name!r} is {column.type}; expected {expected}")
    if name not in _MAY_BE_NULL and column.null_count:
        raise InputError(f"{where}: column {name!r} has {column.null_count} null(s)")
    if name == "labels" and (longest := pc.max(pc.list_value_length(column)).as_py() or 0) > MOST_LABELS:
        raise InputError(f"{where}: a vote has {longest} labels; expected at most {MOST_LABELS}")
    if name in _NAMES and pc.any(pc.equal(pc.utf8_trim_whitespace(column.cast(pa.string())), "")).as_py():
        raise InputError(f"{where}: column {name!r} has an empty text; expected the name of a clip or expert")
    if name in ("sample", "alternatives"):
        numbers = column if name == "sample" else pc.list_flatten(column)
        for bound in pc.min_max(numbers).as_py().values():
            if bound is not None and not 0 <= bound <= _LAST_SAMPLE:
                raise InputError(
                    f"{where}: column {name!r} has {bound}; expected a number from 0 to {_LAST_SAMPLE}"
                )
        if name == "alternatives" and numbers.null_count:
            raise InputError(f"{where}: column {name!r} has a list with a null; expected a number or 0")
    if name == "status":
        for value in pc.unique(column.cast(pa.string())).to_pylist():
            if value not in (tables.OK, tables.FAILED):
                expected = f"{tables.OK!r} or {tables.FAILED!r}"
                raise InputError(f"{where}: column 'status' has {short(value)}; expected {expected}")


def read_voters(votes: pa.Table, where: str = "votes") -> Voters:
    """The voters of a votes table; raises InputError where it is not one (see `as_votes`).

    Rows of one key are resolved by the newest `run_id` (without that column, by the last row), failed ones
    included: an expert whose newest run failed is not a voter. Null labels of a row that did not fail are
    refused, because they are neither an answer nor silence.
    """
    votes = as_votes(votes, where)
    newest = _newest(votes)
    kept = votes if newest is None else votes.take(newest)
    answered = kept.filter(pc.equal(kept["status"], tables.OK))
    if answered["labels"].null_count:
        row = answered.filter(pc.is_null(answered["labels"])).slice(0, 1).to_pylist()[0]
        raise InputError(
            f"{where}: {row['video_id']}, expert {row['expert']}, sample {row['sample']} has null labels; "
            f"expected a list (empty: no emotion seen) or status {tables.FAILED!r}"
        )
    told = [name for name in ("from_transcript",) if name in answered.schema.names]
    table = answered.select([*_NEEDED, "strengths", "alternatives", *told]).combine_chunks()
    clips = pc.unique(kept["video_id"])
    return Voters(table, clips, duplicates=len(votes) - len(kept), failed=len(kept) - len(answered))


def codes(column: pa.ChunkedArray | pa.Array) -> tuple[np.ndarray, pa.Array]:
    """The column as numbers that sort like its values: int64 (rows), and the distinct values, sorted."""
    encoded = pc.dictionary_encode(column)
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks() if encoded.num_chunks != 1 else encoded.chunk(0)
    if isinstance(encoded, pa.ChunkedArray):  # no rows at all
        encoded = pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), pa.array([], column.type))
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank[encoded.indices.to_numpy()], encoded.dictionary.take(pa.array(order))


def key_numbers(votes: pa.Table) -> np.ndarray:
    """A number for each vote that sorts like its clip, expert and sample: int64."""
    clip, _ = codes(votes["video_id"])
    expert, experts = codes(votes["expert"])
    sample = votes["sample"].to_numpy().astype(np.int64)
    low, high = (int(sample.min()), int(sample.max())) if len(sample) else (0, 0)
    return (clip * max(len(experts), 1) + expert) * (high - low + 1) + (sample - low)


def _newest(votes: pa.Table) -> pa.Array | None:
    """The rows that count, where keys repeat; None where every key is there once."""
    key = key_numbers(votes)
    if (key[1:] > key[:-1]).all():
        return None
    ordered = np.sort(key)
    if (ordered[1:] > ordered[:-1]).all():
        return None
    row = np.arange(len(key))
    if "run_id" in votes.schema.names:
        run, _ = codes(votes["run_id"].fill_null(""))
        order = np.lexsort((row, run, key))
    else:
        order = np.lexsort((row, key))
    ordered = key[order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    return pa.array(np.sort(order[last]))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    # Polars hands out views.
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_word(kind: pa.DataType) -> bool:
    # Lists that are all empty have no type of their own.
    return _is_text(kind) or pa.types.is_null(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)
