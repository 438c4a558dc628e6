"""videos → clips: the only job that touches video bytes.

manifest minus clips  →  decode (sandboxed, one CPU each)  →  clips
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Any, ClassVar

import pyarrow as pa

from emo import uses
from emo.aligned import row_failure
from emo.errors import InputError, RowError
from emo.experts.protocol import Resources
from emo.jobs.split import arriving_pieces, pieces_manifest, recordings_of
from emo.machine import raise_fault_of_machine
from emo.marks import deciding
from emo.media.decoded import DecodedClip, DecodeSettings
from emo.media.sandbox import Decoder
from emo.media.settings import Ingest
from emo.media.speech import SOURCE, Transcriber
from emo.media.tasks import Close, CuesBeside, Piece
from emo.media.transcript import Cues, Sidecar, guess_language, part_of
from emo.needs import Need
from emo.sources.fetching import faults_of, sidecar_of
from emo.sources.lookup import look_up
from emo.sources.times import END, LONG_S, START
from emo.step import Pass, Step
from emo.store import committed, planning
from emo.store.s3 import S3Settings
from emo.store.storage import Storage, storage_of
from emo.store.tables import CLIPS, Table
from emo.terminal.progress import say

# A file that is replaced while it is read is read so often at most: one that is being written stays busy.
READS = 2


@dataclass(frozen=True, eq=False)
class IngestStep(Step):
    """Decode every clip of a manifest; without one, of nothing.

    split: recordings of the manifest come as the pieces that the step before has found.
    """

    config: Ingest
    s3: S3Settings
    manifest: pa.Table | None = None
    split: bool = False

    table: ClassVar[Table] = CLIPS
    key: ClassVar[tuple[str, ...]] = CLIPS.key
    did: ClassVar[str] = "ingested"
    # Decoding a clip of 5 s at 1280x720 takes a core 0.2 s.
    assumed_seconds: ClassVar[float] = 0.25

    @property
    def name(self) -> str:
        return "ingest"

    def given(self, storage: Storage) -> pa.Table:
        if self.manifest is None:
            return self.made(storage)
        return uses.read(pieces_manifest(storage, self.manifest) if self.split else self.manifest)

    def made(self, storage: Storage) -> pa.Table:
        return committed.read_newest(storage, self.where, CLIPS, ["uri", "status", *planning.VERSION])

    def left(self, storage: Storage, given: pa.Table, retry: bool = False) -> pa.Table:
        """Raises InputError where an id is that of a file elsewhere: two sources must not take each other's
        labels.
        """
        before = self.made(storage)
        elsewhere = planning.moved(given, before)
        if elsewhere.num_rows:
            row = elsewhere.slice(0, 1).to_pylist()[0]
            raise InputError(
                f"{storage.url} holds {elsewhere.num_rows} of these ids for files at another place, the "
                f"first is {row['video_id']!r}, now {row['uri']}; use another OUT, other ids in a manifest, "
                "or, if the files were moved there, --redo"
            )
        return planning.clips_to_ingest(given, planning.well(before) if retry else before)

    def arriving(self, planned: Mapping[str, int]) -> int:
        """Of what is split first, about how many pieces it may have."""
        if not planned.get("split") or self.manifest is None:
            return 0
        recordings = recordings_of(self.manifest)
        return round(arriving_pieces(recordings) * planned["split"] / recordings.num_rows)

    def settings(self) -> dict[str, Any]:
        return deciding(self.config.model_dump(mode="json"), Ingest)

    def resources(self) -> Resources:
        """One CPU each: the decoder process of a worker keeps one core busy, the worker itself only waits."""
        speech = self.config.transcribe
        gpus = self.config.transcribe_gpus if speech and speech.device == "cuda" else 0
        return Resources(cpus=1, gpus=gpus, light=speech is None)

    def needs(self) -> list[Need]:
        speech = self.config.transcribe
        if speech is None:
            return []
        return [Need(self.name, "ingest.transcribe", partial(Transcriber.missing, speech), self.resources)]

    def work(self, storage: Storage, run_id: str, rows: pa.Table) -> Pass:
        config, s3 = self.config, self.s3
        return Pass(
            step=self.name,
            table=CLIPS,
            where=self.where,
            rows=by_file(rows),
            key=self.key,
            worker=lambda: IngestWorker(config, s3, run_id),
            failed=lambda lost, error: clip_rows(lost, [error] * lost.num_rows, run_id),
            resources=self.resources(),
            shard_rows=config.shard_rows,
            together=None if rows.column(START).null_count == rows.num_rows else "uri",
            workers=None if config.workers == "auto" else config.workers,
        )


def note_uses(storage: Storage, run_id: str, manifest: pa.Table) -> None:
    """Write down what a manifest says that its clips may be used for, and tell a person what it shuts out."""
    uses.note(storage, run_id, manifest)
    shut = uses.not_read(manifest)
    if shut.num_rows:
        there = committed.read_newest(storage, committed.folder(CLIPS), CLIPS, [])
        kept = planning.in_both(there, shut, CLIPS.key).num_rows
        before = f"; OUT holds {kept} of them from before, which emo forget removes" if kept else ""
        say(f"{shut.num_rows} clips have the use none and are not read{before}")


def by_file(rows: pa.Table) -> pa.Table:
    """Rows of a manifest, the parts of a file in their order in time, so that shards keep them together."""
    if rows.column(START).null_count == rows.num_rows:
        return rows
    return rows.sort_by([(name, "ascending") for name in ("uri", START, "video_id")])


def failed_before(storage: Storage, s3: S3Settings) -> pa.Table:
    """The manifest rows of the clips that failed, from the table itself and the files as they are now."""
    columns = ["uri", "language", "transcript", "status", START, END]
    failed = planning.failed_rows(committed.read_newest(storage, committed.folder(CLIPS), CLIPS, columns))
    failed = uses.allowed(storage, failed)
    # A failed row holds no transcript but that of its manifest.
    return look_up(failed.rename_columns({"transcript": "subtitle"}), s3)


class IngestWorker:
    """Decodes the clips of a shard one after the other in its decoder process, then writes down their words
    where nobody else has and a Whisper is configured.
    """

    def __init__(self, settings: Ingest, s3: S3Settings, run_id: str) -> None:
        names = DecodeSettings.__dataclass_fields__
        self._decoder = Decoder(DecodeSettings(**{name: getattr(settings, name) for name in names}))
        self._transcriber = Transcriber(settings.transcribe) if settings.transcribe else None
        self._s3 = s3
        self._run_id = run_id
        self._cues: tuple[tuple[str, str | None], Cues] | None = None

    def __call__(self, rows: pa.Table) -> pa.Table:
        results = list(self._decode_all(rows.to_pylist()))
        if self._transcriber is not None:
            transcribe(self._transcriber, results)
        return clip_rows(rows, results, self._run_id)

    def _decode_all(self, rows: list[dict[str, Any]]) -> Iterator["Ingested | RowError"]:
        # The parts of a file come one after the other: it is fetched and opened once for them all.
        for _, group in groupby(enumerate(rows), key=lambda one: _file_of(*one)):
            of_file = [row for _, row in group]
            try:
                yield from self._decode(of_file)
            except BaseException as error:
                yield from [row_failure(error)] * len(of_file)

    def _decode(self, rows: list[dict[str, Any]]) -> "list[Ingested | RowError]":
        """What became of a file, or of some parts of one file, in the order of the rows."""
        uri = rows[0]["uri"]
        storage, name = storage_of(uri, self._s3)
        with faults_of(uri):
            clips, version = self._one_version(rows, storage, name)
            return [
                clip if isinstance(clip, RowError) else self._ingested(row, clip, version)
                for row, clip in zip(rows, clips, strict=True)
            ]

    def _ingested(self, row: dict[str, Any], clip: DecodedClip, version: tuple[int, datetime]) -> "Ingested":
        words = self._words(row, clip)
        language = words.language
        if language is None and words.text:
            language = guess_language(words.text)
        notes = (*clip.notes, *words.notes, *long_clip(row["start_s"], clip.duration_s))
        return Ingested(clip, version, words.text, words.source, language, notes)

    def _one_version(
        self, rows: list[dict[str, Any]], storage: Storage, name: str
    ) -> tuple[list[DecodedClip | RowError], tuple[int, datetime]]:
        """The clips of a file and which version of it they are of: that before and after the read are the
        same.

        What stood in the listing counts as before. Where the file was replaced since, it is read once more.
        """
        version = (rows[0]["size"], rows[0]["modified"])
        for _ in range(READS):
            # The half of one version and the half of another look like a broken file.
            with storage.download(name) as path:
                outcomes = self._read(path, rows)
            now = storage.entry(name)
            before, version = version, (now.size, now.modified)
            if _same(before, version, storage.on_s3):
                return outcomes, before
        raise RowError("replaced", f"{rows[0]['uri']} was written while it was read, {READS} times")

    def _read(self, path: str, rows: list[dict[str, Any]]) -> list[DecodedClip | RowError]:
        """A local file, or parts of it in their order; one that breaks the decoder costs only itself."""
        outcomes: list[DecodedClip | RowError] = []
        for row in rows:
            try:
                if row["start_s"] is None:
                    outcomes.append(self._decoder.decode(path))
                else:
                    outcomes.append(self._decoder.run(Piece(path, row["start_s"], row["end_s"])))
            except RowError as error:
                outcomes.append(error)
        if rows[0]["start_s"] is not None:
            self._decoder.run(Close())
        return outcomes

    def _words(self, row: dict[str, Any], clip: DecodedClip) -> "_Words":
        """What the source says of the words; a sidecar that cannot be used leaves a note and no failure."""
        if row["subtitle"]:
            return _Words(row["subtitle"], "manifest", row["language"])
        notes: tuple[str, ...] = ()
        if row["sidecar"]:
            try:
                read = self._sidecar(row)
                return _Words(read.text, "sidecar", row["language"], read.notes)
            except FileNotFoundError as error:
                # One that was deleted since the listing is one that the clip does not have.
                raise_fault_of_machine(error)
            except RowError as error:
                notes = (f"subtitles: {error.message}",)
        if clip.subtitles:
            return _Words(clip.subtitles, "embedded", row["language"] or clip.subtitles_language, notes)
        return _Words(None, None, row["language"], notes)

    def _sidecar(self, row: dict[str, Any]) -> Sidecar:
        """Raises FileNotFoundError where it is gone, and RowError where it cannot or must not be read."""
        if row["start_s"] is None:
            with sidecar_of(row, self._s3) as file:
                return self._decoder.read_sidecar(file)
        # The pieces of a file come one after the other, and its subtitles may be those of hours.
        key = (row["sidecar"], row["transcript_version"])
        if self._cues is None or self._cues[0] != key:
            with sidecar_of(row, self._s3) as file:
                self._cues = key, self._decoder.run(CuesBeside(file))
        name = storage_of(row["sidecar"], self._s3)[1]
        return part_of(name, self._cues[1], row["start_s"], row["end_s"])


@dataclass(frozen=True)
class _Words:
    """The transcript of a clip as the source gives it: its text, where it is from, its language, notes."""

    text: str | None
    source: str | None
    language: str | None
    notes: tuple[str, ...] = ()


def _file_of(place: int, row: dict[str, Any]) -> tuple[str, int | None]:
    """What rows are read together: parts of one file, and any other file alone."""
    return row["uri"], place if row["start_s"] is None else None


def long_clip(start_s: float | None, duration_s: float) -> tuple[str, ...]:
    """A note where a whole file is longer than a clip should be; start_s: of a clip that is a part of one."""
    if start_s is not None or duration_s <= LONG_S:
        return ()
    note = f"long_clip: {duration_s:.0f} s get the frames and the labels of one clip"
    return (f"{note}; split.by=auto cuts it, or start_s and end_s in a manifest",)


def _same(one: tuple[Any, Any], other: tuple[Any, Any], on_s3: bool) -> bool:
    """Whether size and modification time are equal."""
    if on_s3 and one[1] and other[1]:
        # Asked for one object, S3 tells whole seconds; some servers list them with fractions.
        one, other = (one[0], one[1].replace(microsecond=0)), (other[0], other[1].replace(microsecond=0))
    return one == other


@dataclass
class Ingested:
    """A decoded clip with its transcript; version: size and modification time of the file that it is from;
    notes: what is not as it should be.
    """

    clip: DecodedClip
    version: tuple[int, datetime]
    transcript: str | None
    transcript_source: str | None
    language: str | None
    notes: tuple[str, ...] = ()


def transcribe(transcriber: Transcriber, results: "list[Ingested | RowError]") -> None:
    """Fill the missing transcripts of clips with sound; a sound that cannot be used leaves a note."""
    waiting = [one for one in results if isinstance(one, Ingested) and not one.transcript and one.clip.audio]
    sounds = [one.clip.audio or b"" for one in waiting]
    for one, heard in zip(
        waiting, transcriber.transcribe(sounds, [one.language for one in waiting]), strict=True
    ):
        if isinstance(heard, RowError):
            one.notes += (f"speech: {heard.message}",)
        elif heard.text:
            one.transcript, one.transcript_source = heard.text, SOURCE
            one.language = one.language or heard.language


def clip_rows(rows: pa.Table, results: "list[Ingested | RowError]", run_id: str) -> pa.Table:
    """Rows of the `clips` table for rows of a manifest and what became of each."""
    errors = [result if isinstance(result, RowError) else None for result in results]
    done = [None if isinstance(result, RowError) else result for result in results]
    sizes, times = (rows.column(name).to_pylist() for name in ("size", "modified"))
    subtitles = rows.column("subtitle").to_pylist()
    languages = rows.column("language").to_pylist()

    def of_clip(name: str) -> list[Any]:
        return [getattr(result.clip, name) if result else None for result in done]

    columns = {
        **{name: rows.column(name) for name in ("video_id", "uri", "transcript_version", START, END)},
        "size": [r.version[0] if r else listed for r, listed in zip(done, sizes, strict=True)],
        "modified": [r.version[1] if r else listed for r, listed in zip(done, times, strict=True)],
        **{name: of_clip(name) for name in ("duration_s", "width", "height", "fps", "audio", "decoder")},
        **{name: of_clip(name) for name in ("frame_times", "frames")},
        "notes": [result.notes if result else None for result in done],
        # What the manifest says is known also of a clip that failed.
        "transcript": [r.transcript if r else said for r, said in zip(done, subtitles, strict=True)],
        "transcript_source": [
            r.transcript_source if r else ("manifest" if said else None)
            for r, said in zip(done, subtitles, strict=True)
        ],
        "language": [r.language if r else named for r, named in zip(done, languages, strict=True)],
    }
    return CLIPS.rows(columns, run_id, errors)
