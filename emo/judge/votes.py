"""Votes as the co-judgment reads them: checked, of every key the newest run, the voters that answered."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo import tables
from emo.errors import InputError

_NEEDED = ("video_id", "expert", "sample", "labels")


@dataclass(frozen=True)
class Voters:
    """One row per voter, in no particular order.

    table: video_id, expert, sample, labels, all of them without nulls; a voter without labels is silent.
    clips: every video_id of the table, of those too whose voters all failed.
    duplicates: rows that were left out because a newer run voted for the same key; failed: rows of experts
    that failed on their clip, which are no voters.
    """

    table: pa.Table
    clips: pa.Array
    duplicates: int
    failed: int


def check_schema(schema: pa.Schema, where: str = "votes") -> None:
    """Raises InputError that names the column of a votes table that is missing or of the wrong type.

    `status`, `run_id` and the other columns of the schema need not be there: a table of labels made elsewhere
    is a votes table too.
    """
    for name in _NEEDED:
        if schema.get_field_index(name) < 0:
            raise InputError(
                f"{where}: no column {name!r}; a votes table has video_id, expert, sample and labels, "
                f"this one has {', '.join(schema.names) or 'no column'}"
            )
        found = schema.field(name).type
        if name == "sample":
            right, expected = pa.types.is_integer(found), "an integer"
        elif name == "labels":
            right, expected = _is_list(found) and _is_text(found.value_type), "a list of strings"
        else:
            right, expected = _is_text(found), "a string"
        if not right:
            raise InputError(f"{where}: column {name!r} is {found}; expected {expected}")


def read_voters(votes: pa.Table, where: str = "votes") -> Voters:
    """The voters of a votes table; raises InputError where it is not one.

    Rows of one key are resolved by the newest `run_id` (without that column, by the last row), failed ones
    included: an expert whose newest run failed is not a voter. Null labels of a row that did not fail are
    refused, because they are neither an answer nor silence.
    """
    check_schema(votes.schema, where)
    votes = votes.combine_chunks()
    for name in ("video_id", "expert", "sample"):
        if votes[name].null_count:
            raise InputError(f"{where}: column {name!r} has {votes[name].null_count} null(s)")
    newest = _newest(votes)
    kept = votes if newest is None else votes.take(newest)
    answered = kept
    if "status" in kept.schema.names:
        answered = kept.filter(pc.equal(kept["status"], tables.OK))
    if answered["labels"].null_count:
        row = answered.filter(pc.is_null(answered["labels"])).slice(0, 1).to_pylist()[0]
        raise InputError(
            f"{where}: {row['video_id']}, expert {row['expert']}, sample {row['sample']} has null labels; "
            f"expected a list (empty: no emotion seen) or status {tables.FAILED!r}"
        )
    table = pa.table(
        {
            "video_id": answered["video_id"].cast(pa.string()),
            "expert": answered["expert"].cast(pa.string()),
            "sample": answered["sample"].cast(pa.int32()),
            "labels": answered["labels"].cast(pa.list_(pa.string())),
        }
    ).combine_chunks()
    clips = pc.unique(kept["video_id"].cast(pa.string()))
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


def _newest(votes: pa.Table) -> pa.Array | None:
    """The rows that count, where keys repeat; None where every key is there once."""
    clip, _ = codes(votes["video_id"])
    expert, experts = codes(votes["expert"])
    sample = votes["sample"].to_numpy().astype(np.int64)
    low, high = (int(sample.min()), int(sample.max())) if len(sample) else (0, 0)
    key = (clip * max(len(experts), 1) + expert) * (high - low + 1) + (sample - low)
    row = np.arange(len(key))
    if "run_id" in votes.schema.names:
        run, _ = codes(votes["run_id"].fill_null(""))
        order = np.lexsort((row, run, key))
    else:
        order = np.lexsort((row, key))
    last = np.append(key[order][1:] != key[order][:-1], True) if len(key) else np.zeros(0, dtype=bool)
    if last.all():
        return None
    return pa.array(np.sort(order[last]))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)
