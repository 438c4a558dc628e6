"""Dialogues in the tables: the turns before a clip, those beside it, and what a result was made with.

A dialogue is the clips with one `dialogue_id`, in the order of `turn`. A turn that failed keeps its place:
its words may be known of the manifest. One that is not in the table is not there, and a result is stale as
soon as it comes, goes, or is ingested anew.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo import uses
from emo.cojudgment.votes import codes
from emo.sources.turns import DIALOGUE
from emo.store import committed, planning
from emo.store.storage import Storage
from emo.store.tables import CLIPS

CONTEXT = "context"
"""The ids of the turns before a row, oldest first: list<string>."""
CONTEXT_FILES = "context_files"
"""Beside them the files that hold them."""
PAIR = ("video_id", "neighbour")
BESIDE = "beside"
"""The rows of the neighbours of a row: list<struct>."""
_TURNS = pa.list_(pa.struct([pa.field("speaker", pa.string()), pa.field("text", pa.string())]))


def in_dialogues(storage: Storage) -> pa.Table:
    """The clips that are turns of a dialogue and may be used, failed ones too, each with its file."""
    rows = committed.read_newest(storage, committed.folder(CLIPS), CLIPS, DIALOGUE, with_file=True)
    return uses.allowed(storage, rows.filter(pc.is_valid(rows.column("dialogue_id"))))


def places_before(clips: pa.Table, count: int) -> pa.ListArray:
    """For each clip (`dialogue_id`, `turn`) the rows of the up to `count` turns before it, oldest first."""
    dialogue, _ = codes(clips.column("dialogue_id"))
    order = np.lexsort((clips.column("turn").to_numpy(), dialogue))
    of = dialogue[order]
    rank = np.arange(len(of)) - np.searchsorted(of, of)
    place = np.empty(len(of), dtype=np.int64)
    place[order] = np.arange(len(of))
    lengths = np.minimum(rank, count)[place]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    back = np.repeat(offsets[1:], lengths) - np.arange(offsets[-1])
    return pa.ListArray.from_arrays(
        pa.array(offsets.astype(np.int32)), pa.array(order[np.repeat(place, lengths) - back])
    )


def with_context(storage: Storage, rows: pa.Table, count: int) -> pa.Table:
    """Rows (`video_id`, `run_id`) with the turns before their clips: CONTEXT and CONTEXT_FILES.

    `run_id` becomes that of the newest input, which may be a turn before. count 0: both columns are null.
    """
    if not count:
        nothing = pa.nulls(rows.num_rows, pa.list_(pa.string()))
        return rows.append_column(CONTEXT, nothing).append_column(CONTEXT_FILES, nothing)
    clips = in_dialogues(storage)
    before = places_before(clips, count).take(planning.place(rows, clips, CLIPS.key))
    lengths = pc.fill_null(pc.list_value_length(before), 0).to_numpy()
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    flat = pc.list_flatten(before)
    for name, column in ((CONTEXT, "video_id"), (CONTEXT_FILES, "file")):
        values = clips.column(column).combine_chunks().take(flat)
        rows = rows.append_column(name, pa.ListArray.from_arrays(offsets, values))
    of_row = pa.table(
        {"row": np.repeat(np.arange(len(lengths)), lengths), "run": clips.column("run_id").take(flat)}
    )
    newest = of_row.group_by("row").aggregate([("run", "max")])
    at = pc.index_in(pa.array(np.arange(rows.num_rows)), value_set=newest.column("row").combine_chunks())
    runs = pc.max_element_wise(rows.column("run_id"), newest.column("run_max").take(at))
    return rows.set_column(rows.column_names.index("run_id"), rows.schema.field("run_id"), runs)


def of_same_context(done: pa.Table, given: pa.Table, key: Sequence[str]) -> pa.Array:
    """Whether each row of `done` was told the turns that its row of `given` has now: bool."""
    now = _joined(given).take(planning.place(done, given, tuple(key)))
    return pc.fill_null(pc.equal(_joined(done), now), False)


def _joined(rows: pa.Table) -> pa.Array:
    # No id has this character; null is as good as no turn.
    lists = rows.column(CONTEXT).combine_chunks()
    return pc.fill_null(pc.binary_join(lists, "\0"), "")


def read_turns(storage: Storage, rows: pa.Table) -> pa.Array:
    """Who said what in the turns before each row, by the clips table: list<struct<speaker, text>>."""
    lists = rows.column(CONTEXT).combine_chunks()
    wanted = pa.table(
        {
            "video_id": pc.list_flatten(lists),
            "file": pc.list_flatten(rows.column(CONTEXT_FILES).combine_chunks()),
        }
    )
    once = wanted.group_by(["video_id", "file"]).aggregate([])
    found = committed.read_given(storage, CLIPS, once, ["speaker", "transcript"])
    said = {
        row["video_id"]: {"speaker": row["speaker"], "text": row["transcript"]} for row in found.to_pylist()
    }
    return pa.array([ids and [said[one] for one in ids] for ids in lists.to_pylist()], _TURNS)


def neighbours(storage: Storage) -> pa.Table:
    """Which clips are next to each other among the turns of one speaker: pairs `video_id`, `neighbour`.

    Each pair is there both ways. A clip whose speaker is not known has none.
    """
    clips = in_dialogues(storage)
    clips = clips.filter(pc.is_valid(clips.column("speaker")))
    dialogue, speaker = (codes(clips.column(name))[0] for name in ("dialogue_id", "speaker"))
    order = np.lexsort((clips.column("turn").to_numpy(), speaker, dialogue))
    next_to = (dialogue[order][1:] == dialogue[order][:-1]) & (speaker[order][1:] == speaker[order][:-1])
    one, other = order[:-1][next_to], order[1:][next_to]
    ids = clips.column("video_id")
    pairs = (np.concatenate([one, other]), np.concatenate([other, one]))
    return pa.table({name: ids.take(pa.array(at)) for name, at in zip(PAIR, pairs, strict=True)})


def with_neighbours(rows: pa.Table, pairs: pa.Table) -> pa.Table:
    """Rows (`video_id`, `run_id`, `seen`, others) with those of their neighbours as BESIDE.

    `run_id` becomes that of the newest of them, and `seen` a digest of all.
    """
    pairs = pairs.filter(pc.and_(*(pc.is_in(pairs[name], value_set=_ids(rows)) for name in PAIR)))
    one, other = (pc.index_in(pairs[name], value_set=_ids(rows)).to_numpy().astype(np.int64) for name in PAIR)
    order = np.lexsort((other, one))
    one, other = one[order], other[order]
    offsets = np.searchsorted(one, np.arange(rows.num_rows + 1)).astype(np.int32)
    near = rows.take(pa.array(other)).combine_chunks()
    structs = pa.StructArray.from_arrays(
        [column.combine_chunks() for column in near.columns], near.column_names
    )
    beside = pa.ListArray.from_arrays(pa.array(offsets), structs)
    newest = pa.table({"row": one, "run": near.column("run_id")}).group_by("row").aggregate([("run", "max")])
    at = pc.index_in(pa.array(np.arange(rows.num_rows)), value_set=newest.column("row").combine_chunks())
    runs = pc.max_element_wise(rows.column("run_id"), newest.column("run_max").take(at))
    seen = rows.column("seen").to_numpy().copy()
    np.add.at(seen, one, _digest(near))
    for name, values in (("run_id", runs), ("seen", pa.array(seen))):
        rows = rows.set_column(rows.column_names.index(name), rows.schema.field(name), values)
    return rows.append_column(BESIDE, beside)


def _digest(rows: pa.Table) -> np.ndarray:
    """A number below 2^48 for each row, by its clip and what is seen of it."""
    told = zip(rows.column("video_id").to_pylist(), rows.column("seen").to_pylist(), strict=True)
    return np.array(
        [
            int.from_bytes(hashlib.blake2b(f"{name}\0{seen}".encode(), digest_size=6).digest())
            for name, seen in told
        ],
        dtype=np.int64,
    )


def beside(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Of rows with BESIDE: those neighbours that are not among them, each once, and all pairs."""
    lists = rows.column(BESIDE).combine_chunks()
    near = pa.Table.from_struct_array(pc.list_flatten(lists))
    of = rows.column("video_id").take(pc.list_parent_indices(lists))
    first = pc.index_in(pc.unique(near.column("video_id")), value_set=_ids(near))
    pairs = pa.table(dict(zip(PAIR, (of, near.column("video_id")), strict=True)))
    return planning.not_in(near.take(first), rows, CLIPS.key), pairs


def _ids(rows: pa.Table) -> pa.Array:
    return rows.column("video_id").combine_chunks()
