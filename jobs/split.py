"""recordings → segments: where the pieces are that become clips.

manifest minus segments  →  look (sandboxed, one CPU each)  →  segments  →  the manifest of ingest
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from emo import uses
from emo.aligned import row_failure
from emo.errors import InputError, RowError
from emo.experts.protocol import Resources
from emo.machine import raise_fault_of_machine
from emo.marks import deciding
from emo.media.decoded import DecodeSettings
from emo.media.sandbox import Decoder
from emo.media.transcript import SidecarFile
from emo.needs import Need
from emo.sources.fetching import faults_of, parts_of, sidecar_of
from emo.sources.lookup import MANIFEST, look_up
from emo.sources.times import END, START, piece_id
from emo.split.diarise import missing
from emo.split.finder import Finder, Pieces
from emo.split.pace import Pace, bytes_of, pace_of
from emo.split.segment import reason_to_leave_out
from emo.split.settings import Split
from emo.split.table import current, supersede
from emo.step import Pass, Step
from emo.store import committed, planning
from emo.store.s3 import S3Settings
from emo.store.storage import Storage, storage_of
from emo.store.tables import CLIPS, SEGMENTS, Table

# How much of a recording one worker does in a second: by speech and by shots.
_TIMES_REAL = {"subtitles": 2000.0, "fixed": 2000.0, "shots": 15.0}
_TIMES_REAL_SPEECH = 100.0
_OF_SEGMENT = ("text", "speaker", "speech_share", "music", "people", "light")
_FILE_VERSION = ("size", "modified", "transcript_version")
# One recording is hours of work for a worker: each is committed when it is done.
_SHARD_ROWS = 1


@dataclass(frozen=True, eq=False)
class SplitStep(Step):
    """Find the pieces of every recording of a manifest: of its rows without times."""

    config: Split
    s3: S3Settings
    manifest: pa.Table | None = None

    table: ClassVar[Table] = SEGMENTS
    key: ClassVar[tuple[str, ...]] = ("recording",)
    did: ClassVar[str] = "split"

    @property
    def name(self) -> str:
        return "split"

    @property
    def assumed_seconds(self) -> float:
        recordings = MANIFEST.empty_table() if self.manifest is None else recordings_of(self.manifest)
        return self._assumed(Pace(), recordings)

    def _assumed(self, pace: Pace, recordings: pa.Table) -> float:
        times_real = _TIMES_REAL.get(self.config.by or "", _TIMES_REAL_SPEECH)
        return pace.hours(bytes_of(recordings)) * 3600 / max(1, recordings.num_rows) / times_real

    def rate(self, storage: Storage, left: pa.Table, measured: tuple[float, int] | None) -> tuple[float, int]:
        """By the bytes: a recording of two hours takes longer than those of a minute that were split."""
        pace = pace_of(storage)
        if measured is None or not pace.recordings or not left.num_rows:
            return measured or (self._assumed(pace, left), 0)
        seconds, rows = measured
        return seconds * bytes_of(left) / left.num_rows / pace.mean_bytes, rows

    def given(self, storage: Storage) -> pa.Table:
        if self.manifest is None:
            return self.made(storage)
        rows = recordings_of(uses.read(self.manifest))
        turns = rows.filter(pc.is_valid(rows.column("dialogue_id")))
        if turns.num_rows:
            raise InputError(
                f"{turns.column('video_id')[0].as_py()!r} is a turn of a dialogue, and would be split into "
                "several; give turns as rows with start_s and end_s, or leave dialogue_id and turn out"
            )
        return _keyed(rows.append_column("recording", rows.column("video_id")))

    def made(self, storage: Storage) -> pa.Table:
        """One row per recording: failed where any of its rows is; `video_id` is that of the recording."""
        rows = current(storage, ["uri", "status", *_FILE_VERSION])
        order = rows.sort_by([("recording", "ascending"), ("status", "ascending")])
        first = order.group_by("recording", use_threads=False).aggregate(
            [(name, "first") for name in ("uri", "status", "run_id", *_FILE_VERSION)]
        )
        names = [name.removesuffix("_first") for name in first.column_names]
        first = first.rename_columns(names)
        return _keyed(first.append_column("video_id", first.column("recording")))

    def left(self, storage: Storage, given: pa.Table, retry: bool = False) -> pa.Table:
        before = self.made(storage)
        return planning.clips_to_ingest(given, planning.well(before) if retry else before, _FILE_VERSION)

    def all_failed(self, storage: Storage) -> pa.Table:
        rows = current(storage, ["status", "error", "error_message"])
        failed = planning.failed_rows(rows)
        place = failed.column_names.index("video_id")
        return _keyed(failed.set_column(place, "video_id", failed.column("recording")))

    def settle(self, storage: Storage, run_id: str) -> str | None:
        """Pieces that a recording no longer has, and what was one clip and is pieces now, count no more."""
        timed = None if self.manifest is None else timed_of(self.manifest)
        clips = supersede(storage, run_id, MANIFEST.empty_table() if timed is None else timed)
        if not clips:
            return None
        return (
            f"split: {clips} clips of earlier runs count no more, since their recordings have other pieces "
            "now; their rows stay in the files of OUT until a night merges them"
        )

    def arriving(self, storage: Storage, planned: Mapping[str, int]) -> int:
        return 0

    def settings(self) -> dict[str, Any]:
        return deciding(self.config.model_dump(mode="json"), Split)

    def resources(self) -> Resources:
        """One CPU each. A worker loads nothing but a decoder: what hears speech or sees faces is small, and
        is loaded for the first recording that asks for it.
        """
        return Resources(light=True)

    def needs(self) -> list[Need]:
        asked = self.config.diarise
        if asked is None:
            return []
        return [Need(self.name, "split.diarise", partial(missing, asked), self.resources)]

    def work(self, storage: Storage, run_id: str, rows: pa.Table) -> Pass:
        config, s3 = self.config, self.s3
        return Pass(
            step=self.name,
            table=SEGMENTS,
            where=self.where,
            rows=rows,
            key=self.key,
            worker=lambda: SplitWorker(config, s3, run_id),
            failed=lambda lost, error: pa.concat_tables(
                [failed_row(row, error, run_id) for row in lost.to_pylist()]
            ),
            resources=self.resources(),
            shard_rows=_SHARD_ROWS,
            workers=None if config.workers == "auto" else config.workers,
        )


def _keyed(rows: pa.Table) -> pa.Table:
    """The rows with ids that are never null, as those of other steps, beside which they are put."""
    fields = [
        pa.field(field.name, field.type, field.nullable and field.name not in ("recording", "video_id"))
        for field in rows.schema
    ]
    return rows.cast(pa.schema(fields))


def recordings_of(manifest: pa.Table) -> pa.Table:
    """The rows of a manifest that are whole files."""
    return manifest.filter(pc.is_null(manifest.column(START)))


def timed_of(manifest: pa.Table) -> pa.Table:
    """The rows of a manifest that are parts of files."""
    return manifest.filter(pc.is_valid(manifest.column(START)))


def pieces_manifest(storage: Storage, manifest: pa.Table) -> pa.Table:
    """The manifest of ingest: rows with times as they are, and of each recording the pieces that are kept."""
    recordings = recordings_of(manifest)
    rows = current(storage, ["status", "kept", START, END, "language"])
    # A recording without a piece has one row, and it is not kept.
    wanted = pc.and_(pc.equal(rows.column("status"), "ok"), pc.fill_null(rows.column("kept"), False))
    kept = rows.filter(wanted)
    at = pc.index_in(kept.column("recording"), value_set=recordings.column("video_id").combine_chunks())
    kept = kept.filter(pc.is_valid(at))
    of_file = recordings.take(pc.drop_null(at))
    columns = {name: of_file.column(name) for name in MANIFEST.names}
    columns |= {name: kept.column(name) for name in ("video_id", START, END)}
    columns["language"] = pc.coalesce(of_file.column("language"), kept.column("language"))
    # Words of a manifest are those of the whole recording.
    columns["subtitle"] = pa.nulls(kept.num_rows, pa.string())
    pieces = pa.table({name: columns[name] for name in MANIFEST.names}, schema=MANIFEST)
    return pa.concat_tables([timed_of(manifest).select(MANIFEST.names), pieces]).sort_by("video_id")


def recordings_again(storage: Storage, s3: S3Settings, wanted: pa.Table) -> pa.Table:
    """The manifest rows of those recordings that were split before, by the files as they are now.

    wanted: their ids, as `video_id`.
    """
    before = current(storage, ["uri", "language"])
    wanted = wanted.select(["video_id"]).rename_columns(["recording"])
    before = planning.in_both(before, wanted, ("recording",))
    once = before.group_by(["recording", "uri"]).aggregate([("language", "min")])
    rows = once.rename_columns(["video_id", "uri", "language"])
    for name, kind in (("subtitle", pa.string()), (START, pa.float64()), (END, pa.float64())):
        rows = rows.append_column(name, pa.nulls(rows.num_rows, kind))
    return look_up(uses.allowed(storage, rows), s3)


def dropped(storage: Storage, manifest: pa.Table) -> tuple[list[str], list[str]]:
    """What a night removes of what was split, by `video_id`: pieces, of recordings that are not in the
    manifest and those that a later run has not found again; and of these the clips.
    """
    every = committed.read_newest(storage, committed.folder(SEGMENTS), SEGMENTS, [])
    there = recordings_of(manifest).select(["video_id"]).rename_columns(["recording"])
    gone = planning.not_in(every, there, ("recording",))
    old = planning.not_in(committed.superseded(storage, SEGMENTS), every, ("video_id",))
    pieces = pa.concat_tables([gone.select(["video_id"]), old.select(["video_id"])])
    clips = committed.superseded(storage, CLIPS)
    return pieces.column("video_id").to_pylist(), clips.column("video_id").to_pylist()


class SplitWorker:
    """Finds the pieces of recordings one after the other."""

    def __init__(self, config: Split, s3: S3Settings, run_id: str) -> None:
        self._config = config
        self._finder = Finder(config, Decoder(DecodeSettings(deadline_s=config.deadline_s)))
        self._decoder = self._finder.decoder
        self._s3 = s3
        self._run_id = run_id

    def __call__(self, rows: pa.Table) -> pa.Table:
        return pa.concat_tables([self._rows_of(row) for row in rows.to_pylist()])

    def _rows_of(self, row: dict[str, Any]) -> pa.Table:
        try:
            return segment_rows(row, self._find(row), self._config, self._run_id)
        except BaseException as error:
            return failed_row(row, row_failure(error), self._run_id)

    def _find(self, row: dict[str, Any]) -> Pieces:
        storage, name = storage_of(row["uri"], self._s3)
        with faults_of(row["uri"]), ExitStack() as stack:
            file = stack.enter_context(parts_of(storage, name, self._decoder))
            return self._finder.find(file, self._sidecar(row, stack))

    def _sidecar(self, row: dict[str, Any], stack: ExitStack) -> SidecarFile | None:
        if not row["sidecar"]:
            return None
        try:
            return stack.enter_context(sidecar_of(row, self._s3))
        except FileNotFoundError as error:
            # One that was deleted since the listing is one that the recording does not have.
            raise_fault_of_machine(error)
        except RowError:
            # By subtitles nothing else will do. Else the clips get a note that says what is wrong with it.
            if self._config.by == "subtitles":
                raise
        return None


def segment_rows(row: dict[str, Any], found: Pieces, config: Split, run_id: str) -> pa.Table:
    """Rows of `segments` for the pieces of a recording; one that says so where there is none.

    What the recording promises and does not have is a failed row.
    """
    pieces: list[dict[str, Any]] = []
    seen: set[str] = set()
    for one in found.segments:
        video_id = piece_id(row["video_id"], one.start_s, one.end_s)
        if video_id in seen:
            continue
        seen.add(video_id)
        reason = reason_to_leave_out(one, config)
        pieces.append(
            {
                "video_id": video_id,
                START: one.start_s,
                END: one.end_s,
                "kept": reason is None,
                "reason": reason,
            }
            | {name: getattr(one, name) for name in _OF_SEGMENT}
        )
    errors: list[RowError | None] = [None] * len(pieces)
    for lost in found.missing:
        times = {START: lost.start_s, END: lost.end_s}
        pieces.append({"video_id": piece_id(row["video_id"], lost.start_s, lost.end_s)} | times)
        errors.append(lost.why)
    if not pieces:
        pieces.append({"video_id": row["video_id"], "kept": False, "reason": f"no piece by {found.by}"})
        errors.append(None)
    return _rows(row, pieces, errors, run_id, by=found.by, language=row["language"] or found.language)


def failed_row(row: dict[str, Any], error: RowError, run_id: str) -> pa.Table:
    """The row of a recording that could not be split."""
    return _rows(row, [{"video_id": row["video_id"]}], [error], run_id, by=None, language=row["language"])


def _rows(
    row: dict[str, Any], pieces: list[dict[str, Any]], errors: list[RowError | None], run_id: str, **same: Any
) -> pa.Table:
    every = same | {"recording": row["video_id"]} | {name: row[name] for name in ("uri", *_FILE_VERSION)}
    names = [name for name in SEGMENTS.schema.names if name not in every]
    columns = {name: [piece.get(name) for piece in pieces] for name in names}
    return SEGMENTS.rows(
        columns | {name: [value] * len(pieces) for name, value in every.items()}, run_id, errors
    )
