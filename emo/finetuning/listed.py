"""The samples that a run is asked to train on, before their media are read: on the disk, in any number."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo.captions.messages import TAGS, Video
from emo.finetuning import batching, prepared
from emo.finetuning.prepared import TEST, Entry
from emo.finetuning.spool import Spool, is_sorted, sorted_by
from emo.store import planning

# Clips of one prepared file, about 10 MB.
SHARD_CLIPS = 32
# Rows of files that are Python values at one time.
_MADE_ROWS = 4096
_DIGEST = 16  # bytes of the hash of a row
# No text of a chat, a path or a name holds it.
_BETWEEN = "\x1f"

_OF_ENTRY = (
    "sample_id", "split", "frames", "window", "audio", "pictures", "system", "turns", "labels", "weight",
    "error", "error_message",
)  # fmt: skip
SCHEMA = pa.schema(
    [
        *(prepared.SCHEMA.field(name) for name in _OF_ENTRY),
        pa.field("video_id", pa.string()),  # the clip in the clips table, or the first of its files
        pa.field("media", pa.string()),  # images, videos, audios and frame_times as JSON; null: no files
        pa.field("where", pa.string()),  # where a person finds the row
        pa.field("group", pa.string()),  # samples of one group show one clip
    ]
)
# What makes a sample another one, beside its entry.
_SHOWN = ("video_id", "media")


@dataclass(frozen=True)
class Listed:
    """A sample before its media were read: `media` names them, `where` a person finds it."""

    entry: Entry
    clip: str | None = None  # video_id in the clips table
    images: tuple[str, ...] = ()
    videos: tuple[Video, ...] = ()
    audios: tuple[str, ...] = ()
    frame_times: tuple[tuple[float, ...], ...] = ()
    where: str | None = None


class Listing:
    """Samples on this machine's disk, in the order of their sources; iteration gives each as Listed."""

    def __init__(self) -> None:
        self._rows = Spool(SCHEMA)
        self._refused = Spool(prepared.SCHEMA)
        # What is sorted, to be without an order, is a hash of each row and no text.
        self._hashed: list[np.ndarray] = []
        # The last sample by clip, as long as all of them came by clip.
        self._last: str | None = ""

    def __len__(self) -> int:
        return self._rows.rows

    def __iter__(self) -> Iterator[Listed]:
        return (one for rows in self._rows for one in listed_of(rows))

    def add(self, rows: pa.Table) -> None:
        """Put these rows (SCHEMA) behind the others; not after the first reading."""
        self._rows.add(rows)
        kept = rows.filter(pc.not_equal(rows.column("split"), TEST))
        hashed = b"".join([blake2b(text, digest_size=_DIGEST).digest() for text in _texts(kept)])
        self._hashed.append(np.frombuffer(hashed, f"S{_DIGEST}"))
        bad = rows.filter(pc.is_valid(rows.column("error")))
        if bad.num_rows:
            self._refused.add(prepared.completed(bad.select(list(_OF_ENTRY))))
        order = _order(_good(rows))
        if self._last is not None and len(order):
            follows = order[0].as_py() >= self._last and is_sorted(order)
            self._last = order[-1].as_py() if follows else None

    def refused(self) -> Iterator[pa.Table]:
        """The refused samples, as rows of the list of prepared ones."""
        return iter(self._refused)

    def shards(self) -> Iterator[pa.Table]:
        """The other samples with their clips together, by clip: those of one are encoded where it is read."""
        good = (_good(rows) for rows in self._rows)
        if self._last is None:
            in_order = (rows.append_column("order", _order(rows)) for rows in good)
            good = (rows.drop_columns("order") for rows in sorted_by(in_order, "order"))
        waiting = SCHEMA.empty_table()
        for rows in good:
            waiting = pa.concat_tables([waiting, rows])
            starts = planning.starts(planning.flat(waiting, "group"))
            # The last clip may have more samples among the rows that come.
            last = (len(starts) - 1) // SHARD_CLIPS * SHARD_CLIPS if len(starts) else 0
            for number in range(0, last, SHARD_CLIPS):
                begin, end = int(starts[number]), int(starts[number + SHARD_CLIPS])
                yield waiting.slice(begin, end - begin)
            waiting = waiting.slice(int(starts[last]) if last else 0).combine_chunks()
        if waiting.num_rows:
            yield waiting

    def fingerprint(self) -> str:
        """A hash of what a run is trained on; neither the order of the samples matters, nor what is asked at
        the end, which decides nothing that is trained.
        """
        hashed = np.sort(np.concatenate([np.empty(0, f"S{_DIGEST}"), *self._hashed]))
        return hashlib.sha256(hashed.tobytes()).hexdigest()[:16]

    def earlier_fingerprint(self) -> str:
        """The same as emo 0.1 made it, which holds all texts in memory: for a run that began there."""
        return batching.fingerprint(_identity(one) for one in self if one.entry.split != TEST)


def _good(rows: pa.Table) -> pa.Table:
    return planning.kept(rows, pc.is_null(rows.column("error")))


def _order(rows: pa.Table) -> pa.Array:
    """By what the samples of a clip come together, and each at the same place whatever the order."""
    joined = pc.binary_join_element_wise(rows.column("group"), rows.column("sample_id"), "\0")
    return joined.combine_chunks()


def _texts(rows: pa.Table) -> list[bytes]:
    """Each row as one text that differs from that of any other row."""
    columns = []
    for name in (*_OF_ENTRY, *_SHOWN):
        column = rows.column(name)
        if pa.types.is_list(column.type):
            column = pc.binary_join(column.cast(pa.list_(pa.string())), "\x1e")
        columns.append(column.cast(pa.string()))
    texts = pc.binary_join_element_wise(*columns, _BETWEEN, null_handling="replace", null_replacement="\0")
    found: list[bytes] = texts.cast(pa.binary()).to_pylist()
    return found


def _identity(one: Listed) -> Any:
    entry = one.entry
    times = one.frame_times
    weight = [] if entry.weight == 1.0 else [entry.weight]
    return (entry, one.clip, one.images, one.videos, one.audios, *([times] if times else []), *weight)


def tables_of(listed: Iterable[Listed]) -> Iterator[pa.Table]:
    """Samples as rows of SCHEMA, some thousand at a time."""
    rows: list[dict[str, Any]] = []
    for one in listed:
        rows.append(_row(one))
        if len(rows) == _MADE_ROWS:
            yield pa.Table.from_pylist(rows, schema=SCHEMA)
            rows = []
    if rows:
        yield pa.Table.from_pylist(rows, schema=SCHEMA)


def _row(one: Listed) -> dict[str, Any]:
    shown = {name: getattr(one, name) for name in (*TAGS, "frame_times") if getattr(one, name)}
    media = json.dumps(shown) if shown else None
    return {
        **{name: getattr(one.entry, name) for name in _OF_ENTRY},
        "turns": prepared.turns_text(one.entry.turns),
        "video_id": one.clip or next(iter(_files(one)), None),
        "media": media,
        "where": one.where,
        "group": one.clip or media or one.entry.sample_id,
    }


def _files(one: Listed) -> Iterator[str]:
    for medium in (*one.images, *one.videos, *one.audios):
        yield from (medium,) if isinstance(medium, str) else medium


def listed_of(rows: pa.Table) -> list[Listed]:
    """Rows of SCHEMA as samples."""
    return [_listed(row) for row in rows.select(SCHEMA.names).to_pylist()]


def _listed(row: dict[str, Any]) -> Listed:
    shown: dict[str, Sequence[Any]] = json.loads(row["media"]) if row["media"] else {}
    media: dict[str, Any] = {
        name: tuple(tuple(m) if isinstance(m, list) else m for m in shown[name]) for name in shown
    }
    entry = prepared.entry_of({name: row[name] for name in _OF_ENTRY})
    return Listed(entry, clip=None if shown else row["video_id"], where=row["where"], **media)
