"""The data of a run as it lies on the disk: clips that can be read one by one, and the list of samples."""

from __future__ import annotations

import io
import json
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, overload

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emo.captions.messages import Turn
from emo.captions.windows import cut_audio, parse_window
from emo.errors import TooManyFailedError
from emo.experts.protocol import Clip
from emo.finetuning import batching, senses
from emo.finetuning.samples import Sample
from emo.finetuning.spool import in_parts_of
from emo.store import planning
from emo.store.storage import Storage

FOLDER = "data"
SAMPLES = f"{FOLDER}/samples.parquet"
TRAIN, HELD_OUT, TEST = "train", "validation", "test"
# The error of a sample whose clip may not be trained on.
NOT_FOR_TRAINING = "not_for_training"
# Lines about samples that cannot be trained on, for each reason.
REFUSALS_SHOWN = 20
_OPEN_FILES = 16
# Samples that are read at once where one of them is needed; and how many such parts are kept. Reading fewer
# takes as long, and each part costs who writes it or opens the list.
_PART_ROWS, _PARTS_KEPT = 512, 16
# Such parts that are written at once.
_PARTS_WRITTEN = 16
# No reader looks for values, and few columns repeat theirs: statistics would only copy texts into the footer.
WRITTEN: dict[str, Any] = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}
_LOSS = {None: "null", False: "false", True: "true"}
# What an outline of a sample has; and how many are made at once.
_OUTLINE = ["split", "error", "error_message", "weight"]
_OUTLINED = 65_536

_CLIP = pa.schema(
    [
        pa.field("video_id", pa.string()),
        pa.field("frames", pa.list_(pa.binary())),
        pa.field("frame_times", pa.list_(pa.float64())),
        pa.field("audio", pa.binary()),
        pa.field("duration_s", pa.float64()),
    ]
)
# The list of samples.
SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string()),
        pa.field("split", pa.string()),
        pa.field("file", pa.string()),
        pa.field("place", pa.int32()),
        pa.field("frames", pa.list_(pa.int32())),
        pa.field("window", pa.string()),
        pa.field("audio", pa.bool_()),
        pa.field("pictures", pa.bool_()),
        pa.field("system", pa.string()),
        pa.field("turns", pa.string()),
        pa.field("labels", pa.list_(pa.string())),
        pa.field("tokens", pa.int32()),
        pa.field("trained", pa.int32()),
        pa.field("weight", pa.float64()),
        pa.field("error", pa.string()),
        pa.field("error_message", pa.string()),
    ]
)


@dataclass(frozen=True)
class Entry:
    """One sample in the list.

    file, place: where its clip lies (file below the run's folder, row group), None without media; frames: the
    places of the clip's frames that it shows, None for all; window: the part of the clip whose sound it
    plays, None for all of it; audio: whether it plays any; pictures: see Sample; labels: of its answer, None
    where nobody said; tokens, trained: its length and how much of it counts, 0 where it was refused with
    `error`; weight: how often an epoch uses it, on the mean.
    """

    sample_id: str
    split: str
    turns: tuple[Turn, ...]
    system: str | None = None
    file: str | None = None
    place: int | None = None
    frames: tuple[int, ...] | None = None
    window: str | None = None
    audio: bool = True
    pictures: bool = False
    labels: tuple[str, ...] | None = None
    tokens: int = 0
    trained: int = 0
    error: str | None = None
    error_message: str | None = None
    # Out of the text that the fingerprint of the data is made of: runs without weights began before it was.
    weight: float = field(default=1.0, repr=False)

    @property
    def sample(self) -> Sample:
        """What is encoded."""
        return Sample(self.sample_id, self.system, self.turns, self.file is not None, self.pictures)


def write_clips(run: Storage, file: str, clips: Sequence[Clip]) -> None:
    """Write clips, each in a row group of its own: training reads them one by one in any order."""
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, _CLIP, compression="none") as writer:
        for clip in clips:
            row = {name: getattr(clip, name) for name in _CLIP.names}
            writer.write_table(pa.Table.from_pylist([row], schema=_CLIP))
    run.write(file, sink.getvalue())


def table_of(entries: Iterable[Entry]) -> pa.Table:
    """Samples as rows of the list."""
    names = [name for name in SCHEMA.names if name != "turns"]
    rows = [
        {**{name: getattr(entry, name) for name in names}, "turns": turns_text(entry.turns)}
        for entry in entries
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def turns_text(turns: Iterable[Turn]) -> str:
    """The column `turns`; what `entry_of` reads back."""
    return f"[{', '.join(map(turn_text, turns))}]"


def turn_text(turn: Turn) -> str:
    """One turn of the column `turns`, a third as long as json.dumps takes: there are millions of them."""
    return f"[{quoted(turn.role)}, {quoted(turn.content)}, {_LOSS[turn.loss]}]"


def completed(rows: pa.Table) -> pa.Table:
    """Samples that were not prepared, refused ones, as rows of the list."""
    empty = {"file": None, "place": None, "tokens": 0, "trained": 0}
    for name, value in empty.items():
        column = pa.repeat(pa.scalar(value, SCHEMA.field(name).type), rows.num_rows)
        rows = rows.append_column(name, column)
    return rows.select(SCHEMA.names).cast(SCHEMA)


def write_entries(run: Storage, parts: Iterable[pa.Table]) -> None:
    """Write the list of samples; the last thing of the preparation, so that where it is all is.

    parts: its rows in their order, see `table_of`.
    """
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, SCHEMA, **WRITTEN) as writer:
        for rows in in_parts_of(_PARTS_WRITTEN * _PART_ROWS, parts):
            writer.write_table(rows, row_group_size=_PART_ROWS)
    run.write(SAMPLES, sink.getvalue())


def read_entries(run: Storage) -> list[Entry]:
    """The list of samples; raises FileNotFoundError where the preparation has not ended."""
    return [entry_of(row) for row in pq.read_table(io.BytesIO(run.read(SAMPLES))).to_pylist()]


def read_outlines(run: Storage) -> list[Entry]:
    """What counts and tells of samples: split, weight and error; raises as `read_entries` does.

    Usable samples that are alike in these are one and the same object: a million of them are a list.
    """
    file = pq.ParquetFile(run.open(SAMPLES), pre_buffer=False)
    known: dict[tuple[str, float], Entry] = {}
    outlines: list[Entry] = []
    for batch in file.iter_batches(_OUTLINED, columns=_OUTLINE):
        rows = pa.table(batch)
        if "weight" not in rows.column_names:
            # A run that another version prepared has no weights.
            rows = rows.append_column("weight", pa.repeat(1.0, rows.num_rows))
        kinds = [planning.flat(rows, name).dictionary_encode() for name in ("split", "weight")]
        splits, weights = (kind.dictionary.to_pylist() for kind in kinds)
        alike = [
            known.setdefault((split, weight), Entry("", split, (), weight=weight))
            for split in splits
            for weight in weights
        ]
        numbers = kinds[0].indices.to_numpy() * len(weights) + kinds[1].indices.to_numpy()
        found = [alike[number] for number in numbers.tolist()]
        for place in pc.indices_nonzero(pc.is_valid(rows.column("error"))).to_pylist():
            error, message = (rows.column(name)[place].as_py() for name in ("error", "error_message"))
            found[place] = replace(found[place], error=error, error_message=message)
        outlines += found
    return outlines


def entry_of(row: dict[str, Any]) -> Entry:
    """A row of the list as a sample; columns that it lacks are as Entry sets them."""
    row["turns"] = tuple(Turn(*turn) for turn in json.loads(row["turns"]))
    for name in ("frames", "labels"):
        row[name] = None if row[name] is None else tuple(row[name])
    return Entry(**row)


class Stored(Sequence[Entry]):
    """The usable samples of one split, in the order that the plan of the steps counts.

    Their texts stay in the file: a million of them in every process of a node would fill its memory.
    tokens, weights: the length and the weight of each, by place. Raises FileNotFoundError where the
    preparation has not ended.
    """

    def __init__(self, run: Storage, split: str) -> None:
        self._file = pq.ParquetFile(run.open(SAMPLES), pre_buffer=False)
        columns = self._file.read(["split", "error", "tokens", "weight"])
        fits = pc.and_(pc.equal(columns["split"], split), pc.is_null(columns["error"]))
        self._rows = pc.indices_nonzero(fits).to_numpy()
        self.tokens: list[int] = columns["tokens"].filter(fits).to_pylist()
        # A run that another version prepared has none.
        weighted = "weight" in columns.column_names
        self.weights: Sequence[float] = columns["weight"].filter(fits).to_numpy() if weighted else ()
        meta = self._file.metadata
        sizes = [meta.row_group(number).num_rows for number in range(meta.num_row_groups)]
        self._starts = [0, *accumulate(sizes)]
        self._parts: OrderedDict[int, pa.Table] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Entry: ...
    @overload
    def __getitem__(self, place: slice) -> list[Entry]: ...
    def __getitem__(self, place: int | slice) -> Entry | list[Entry]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        row = int(self._rows[place])
        number = bisect_right(self._starts, row) - 1
        [found] = self._part(number).slice(row - self._starts[number], 1).to_pylist()
        return entry_of(found)

    def _part(self, number: int) -> pa.Table:
        if number in self._parts:
            self._parts.move_to_end(number)
        else:
            self._parts[number] = self._file.read_row_group(number)
            if len(self._parts) > _PARTS_KEPT:
                self._parts.popitem(last=False)
        return self._parts[number]


class ClipReader:
    """Reads the clips of samples; keeps the footers of some files."""

    def __init__(self, run: Storage) -> None:
        self._run = run
        self._open: OrderedDict[str, pq.ParquetFile] = OrderedDict()

    def clip(self, entry: Entry) -> Clip | None:
        """The clip as the sample shows it; None for a sample without media."""
        if entry.file is None or entry.place is None:
            return None
        row = self._file(entry.file).read_row_group(entry.place).to_pylist()[0]
        whole = Clip(
            row["video_id"],
            tuple(row["frames"] or ()),
            tuple(row["frame_times"] or ()),
            row["audio"],
            None,
            None,
            row["duration_s"] or 0.0,
        )
        return shown(whole, entry)

    def _file(self, name: str) -> pq.ParquetFile:
        if name in self._open:
            self._open.move_to_end(name)
        else:
            self._open[name] = pq.ParquetFile(self._run.open(name), pre_buffer=False)
            if len(self._open) > _OPEN_FILES:
                self._open.popitem(last=False)[1].close()
        return self._open[name]


def shown(clip: Clip, entry: Entry) -> Clip:
    """The part of a clip that a sample shows and plays, with times that begin where its window does."""
    window = parse_window(entry.window or "0-100")
    start = clip.duration_s * window.start / 100
    places = range(len(clip.frames)) if entry.frames is None else entry.frames
    audio = clip.audio if entry.audio else None
    return replace(
        clip,
        frames=tuple(clip.frames[place] for place in places),
        frame_times=tuple(max(0.0, clip.frame_times[place] - start) for place in places),
        audio=None if audio is None else cut_audio(audio, window),
        duration_s=clip.duration_s * (window.end - window.start) / 100,
    )


def counts(entries: Sequence[Entry]) -> dict[str, Any]:
    """How many samples of each split are used, and how many were refused with which code."""
    usable = [entry for entry in entries if entry.error is None]
    refused: dict[str, int] = {}
    for entry in entries:
        if entry.error is not None:
            refused[entry.error] = refused.get(entry.error, 0) + 1
    return {
        "train": sum(entry.split == TRAIN for entry in usable),
        "held_out": sum(entry.split == HELD_OUT for entry in usable),
        "refused": refused,
    }


def check_refused(entries: Sequence[Entry], share: float) -> None:
    """Raise TooManyFailedError where more than this share of the samples was refused.

    Those that speak of another sense, and those that must not be trained on, do not count: they are left out
    on purpose.
    """
    tried = [entry for entry in entries if entry.error not in (senses.CODE, NOT_FOR_TRAINING)]
    refused = sum(entry.error is not None for entry in tried)
    if refused > share * len(tried):
        raise TooManyFailedError(
            f"{refused} of {len(tried)} samples were refused, more than max_failed_share={share:g}; nothing "
            "was trained"
        )


def about(entries: Sequence[Entry], fingerprint: str) -> dict[str, Any]:
    """What manifest and page say about the data.

    epoch: the samples of an epoch, by their weights; test: those of the split `test` that can be asked about.
    """
    weights = [entry.weight for entry in training_entries(entries)]
    return {
        "fingerprint": fingerprint,
        **counts(entries),
        "epoch": batching.epoch_size(weights),
        "test": len(usable(entries, TEST)),
    }


def training_entries(entries: Sequence[Entry]) -> list[Entry]:
    """Those that are trained on, in the order that the plan of the steps counts."""
    return usable(entries, TRAIN)


def usable(entries: Sequence[Entry], split: str) -> list[Entry]:
    """Those of a split that were not refused."""
    return [entry for entry in entries if entry.error is None and entry.split == split]


def refusals(entries: Sequence[Entry]) -> list[str]:
    """What a person reads of the samples that cannot be trained on: how many, and the first of each kind."""
    by_code: dict[str, list[str]] = {}
    for entry in entries:
        if entry.error is not None:
            by_code.setdefault(entry.error, []).append(str(entry.error_message))
    lines = []
    for code, messages in sorted(by_code.items()):
        more = f"; the first {REFUSALS_SHOWN}, the others are in {SAMPLES}"
        lines.append(f"{len(messages)} samples refused as {code}{more * (len(messages) > REFUSALS_SHOWN)}:")
        lines += [f"  {message}" for message in messages[:REFUSALS_SHOWN]]
    return lines
