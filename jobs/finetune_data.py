"""captions + clips, or files of samples → the prepared data of a finetuning run, and batches of it.

list the samples  →  read their clips, encode each once (Ray Data)  →  data/*.parquet and data/samples.parquet
steps from the cursor on  →  read, encode, collate ahead of the training (Ray Data)  →  batches of one worker
"""

import hashlib
import io
import json
import pickle
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo.captions import messages
from emo.captions.messages import Sample, Turn
from emo.captions.prompts import load_caption_prompt
from emo.captions.published import read_published, to_sample
from emo.engines.models import resolve_model
from emo.errors import EmoError, InputError, RowError, StorageError
from emo.experts.protocol import Clip
from emo.finetuning import batching, prepared, samples
from emo.finetuning.batching import Cursor
from emo.finetuning.collate import Batch, collate
from emo.finetuning.masking import Encoder, TrainingInput
from emo.finetuning.prepared import HELD_OUT, TRAIN, ClipReader, Entry
from emo.finetuning.settings import Finetune
from emo.media.audio import flac
from emo.media.decoded import DecodeSettings
from emo.media.sandbox import Decoder
from emo.media.wave import AUDIO_HZ
from emo.sources.folders import read_through
from emo.sources.source import VIDEO_SUFFIXES
from emo.store import committed
from emo.store.storage import S3Settings, Storage, storage_of, use_s3
from emo.store.tables import CAPTIONS, CLIPS, OK

# Files of captions that others published; any other file holds messages.
PUBLISHED_SUFFIXES = (".csv", ".json")
# Clips of one prepared file, about 10 MB.
SHARD_CLIPS = 32
# Batches that wait, encoded, for their worker.
AHEAD = 4
_CLIP_COLUMNS = ["video_id", "duration_s", "frame_times", "frames", "audio", "transcript", "language"]


@dataclass(frozen=True)
class Listed:
    """A sample before its media were read: `media` names them, `where` a person finds it."""

    entry: Entry
    clip: str | None = None  # video_id in the clips table
    images: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()
    audios: tuple[str, ...] = ()
    where: str | None = None


def list_samples(out: Storage, settings: Finetune) -> tuple[list[Listed], str]:
    """All samples, refused ones with their error, and the fingerprint of the data."""
    if settings.data == "captions":
        listed = _from_table(out, settings)
        what = f"{out.full(CAPTIONS.name)}"
    else:
        listed = _from_file(settings.data, TRAIN, settings, out.s3)
        what = settings.data
        if settings.held_out is not None:
            listed += _from_file(settings.held_out, HELD_OUT, settings, out.s3)
    good = [one for one in listed if one.entry.error is None and one.entry.split == TRAIN]
    if not good:
        bad = [one.entry for one in listed if one.entry.error is not None]
        codes = ", ".join(f"{code} {count}" for code, count in Counter(e.error for e in bad).most_common())
        more = f", refused as: {codes}; for example: {bad[0].error_message}" if bad else ""
        raise InputError(f"{what} holds no sample that can be trained on ({len(listed)} in all){more}")
    return listed, batching.fingerprint([_identity(one) for one in listed])


def _identity(one: Listed) -> Any:
    entry = one.entry
    return (entry, one.clip, one.images, one.videos, one.audios)


def _from_table(out: Storage, settings: Finetune) -> list[Listed]:
    columns = ["video_id", "split", "messages", "frames", "audio", "labels", "source", "status", "filters"]
    rows = committed.read_newest(out, committed.folder(CAPTIONS), CAPTIONS, columns)
    rows = rows.filter(pc.equal(rows.column("status"), OK))
    listed = []
    for row in rows.to_pylist():
        if row["split"] not in (TRAIN, HELD_OUT):
            continue
        entry = Entry(
            row["caption_id"],
            row["split"],
            (),
            frames=None if row["frames"] is None else tuple(row["frames"]),
            window=(row["source"] or {}).get("window"),
            audio=bool(row["audio"]),
            labels=tuple(row["labels"] or ()),
        )
        try:
            turns = messages.turns_of(row["messages"])
            entry = _with_turns(entry, turns, settings, has_media=True)
        except RowError as error:
            entry = replace(entry, error=error.code, error_message=f"{row['caption_id']}: {error.message}")
        listed.append(Listed(entry, clip=row["video_id"]))
    return listed


def _from_file(path: str, split: str, settings: Finetune, s3: S3Settings) -> list[Listed]:
    folder, name = storage_of(path, s3)
    try:
        data = folder.read(name)
    except FileNotFoundError:
        raise InputError(f"finetune.data: {path} does not exist") from None
    if name.endswith(PUBLISHED_SUFFIXES):
        found = _published(data, path, settings, s3)
    else:
        read = messages.read_messages(data, path, folder.url)
        found = [(sample, None) for sample in read]
    digest = hashlib.sha256(data).hexdigest()[:12]
    listed = []
    for number, (sample, labels) in enumerate(found, start=1):
        entry = Entry(f"{digest}-{number:06d}", split, (), labels=labels)
        if isinstance(sample, RowError):
            listed.append(Listed(replace(entry, error=sample.code, error_message=sample.message)))
            continue
        media = {kind: getattr(sample, kind) for kind in messages.TAGS}
        try:
            entry = _with_turns(entry, sample.turns, settings, has_media=any(media.values()))
        except RowError as error:
            entry = replace(entry, error=error.code, error_message=f"{sample.where}: {error.message}")
        listed.append(Listed(entry, **media, where=sample.where))
    return listed


def _published(
    data: bytes, path: str, settings: Finetune, s3: S3Settings
) -> list[tuple[Sample | RowError, tuple[str, ...] | None]]:
    """Captions that others published, each with its video and, where the file holds them, its labels."""
    if settings.videos is None:
        raise InputError(
            f"{path} names its clips by the stems of their videos; set finetune.videos to the folder of these"
        )
    question = load_caption_prompt(settings.prompt).question
    folder = Storage(settings.videos, s3)
    by_stem: dict[str, list[str]] = {}
    # As `emo label` lists the same folder, links included.
    for entry in folder.entries() if folder.on_s3 else read_through(folder.url).entries:
        stem, suffix = posixpath.splitext(posixpath.basename(entry.path))
        if suffix.lower() in VIDEO_SUFFIXES:
            by_stem.setdefault(stem, []).append(folder.full(entry.path))
    if not by_stem:
        raise InputError(f"finetune.videos: {settings.videos} holds no video")
    found: list[tuple[Sample | RowError, tuple[str, ...] | None]] = []
    for caption in read_published(data, path):
        if isinstance(caption, RowError):
            found.append((caption, None))
            continue
        videos = by_stem.get(caption.video_id, [])
        if len(videos) == 1:
            try:
                sample = to_sample(caption, question, videos=tuple(videos))
                found.append((sample, caption.labels or None))
            except RowError as error:
                found.append((RowError(error.code, f"{caption.where}: {error.message}"), None))
            continue
        expected = f"expected one video {caption.video_id!r} below {settings.videos}"
        there = f"{len(videos)} are there: {', '.join(videos)}" if videos else "none is there"
        found.append((RowError("media", f"{caption.where}: {expected}, {there}"), None))
    return found


def _with_turns(entry: Entry, turns: Sequence[Turn], settings: Finetune, has_media: bool) -> Entry:
    sample = samples.from_turns(entry.sample_id, turns, settings.system, has_media)
    return replace(entry, turns=sample.turns, system=sample.system)


def prepare(
    run: Storage, out: Storage, settings: Finetune, listed: Sequence[Listed], workers: int
) -> list[Entry]:
    """Read every clip once, encode every sample once, and write what training reads; all entries."""
    import ray.data

    refused = [one.entry for one in listed if one.entry.error is not None]
    usable = [one for one in listed if one.entry.error is None]
    shards = _shards(usable)
    files: dict[str, str] = {}
    if any(one.clip for one in usable):
        clips = committed.read_newest(out, committed.folder(CLIPS), CLIPS, ["status"], with_file=True)
        clips = clips.filter(pc.equal(clips.column("status"), OK))
        files = dict(zip(clips.column("video_id").to_pylist(), clips.column("file").to_pylist(), strict=True))
    rows = [
        {
            "file": f"{prepared.FOLDER}/clips-{number:05d}.parquet",
            "shard": pickle.dumps((shard, {one.clip: files.get(one.clip) for one in shard if one.clip})),
        }
        for number, shard in enumerate(shards)
    ]
    entries = refused
    if rows:
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _Preparer,
            fn_constructor_args=(run, out, settings),
            compute=ray.data.ActorPoolStrategy(size=max(1, min(workers, len(rows)))),
            num_cpus=0.5,
        )
        for row in dataset.iter_rows():
            entries += pickle.loads(row["entries"])
    if len(entries) != len(listed):
        raise EmoError(f"{len(listed) - len(entries)} samples were lost in the preparation")
    entries.sort(key=lambda entry: entry.sample_id)
    prepared.write_entries(run, entries)
    return entries


def _shards(usable: Sequence[Listed]) -> list[list[Listed]]:
    """Samples with their clips together: those of one clip are encoded where it is read."""
    by_clip: dict[Any, list[Listed]] = {}
    for one in usable:
        media = (*one.images, *one.videos, *one.audios)
        by_clip.setdefault(one.clip or media or one.entry.sample_id, []).append(one)
    groups = [by_clip[key] for key in sorted(by_clip, key=repr)]
    return [
        [one for group in groups[start : start + SHARD_CLIPS] for one in group]
        for start in range(0, len(groups), SHARD_CLIPS)
    ]


class _Preparer:
    """Reads the clips of a shard of samples and encodes each sample once, for its length."""

    def __init__(self, run: Storage, out: Storage, settings: Finetune) -> None:
        self._run, self._out, self._settings = run, out, settings
        assert settings.model is not None
        use_s3(run.s3)
        # Its folder may stand elsewhere on this node.
        base = resolve_model(settings.model, settings.revision, settings.trust_remote_code)
        self._encoder = encoder(settings, base)
        self._decoder: Decoder | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        shard, files = pickle.loads(row["shard"])
        table = self._clips_of_table(files)
        clips: list[Clip] = []
        places: dict[Any, int] = {}
        entries = []
        for one in shard:
            entry: Entry = one.entry
            try:
                key = one.clip or (one.images, one.videos, one.audios)
                if entry.sample.has_media or any((one.clip, one.images, one.videos, one.audios)):
                    if key not in places:
                        clips.append(self._clip(one, table))
                        places[key] = len(clips) - 1
                    entry = replace(entry, file=row["file"], place=places[key])
                clip = None if entry.place is None else prepared.shown(clips[entry.place], entry)
                made = self._encoder.encode(entry.sample, clip)
                entry = replace(entry, tokens=len(made), trained=made.trained)
            except RowError as error:
                message = f"{one.where or entry.sample_id}: {error.message}"
                entry = replace(entry, error=error.code, error_message=message)
            entries.append(entry)
        if clips:
            prepared.write_clips(self._run, row["file"], clips)
        return {"entries": pickle.dumps(entries)}

    def _clips_of_table(self, files: dict[str, str | None]) -> dict[str, Clip]:
        found: dict[str, Clip] = {}
        for path in sorted({file for file in files.values() if file is not None}):
            wanted = [name for name, file in files.items() if file == path]
            rows: pa.Table = committed.read_rows(self._out, CLIPS, path, "video_id", wanted, _CLIP_COLUMNS)
            for row in rows.to_pylist():
                found[row["video_id"]] = Clip(
                    row["video_id"],
                    tuple(row["frames"] or ()),
                    tuple(row["frame_times"] or ()),
                    row["audio"],
                    row["transcript"],
                    row["language"],
                    row["duration_s"],
                )
        return found

    def _clip(self, one: Listed, table: dict[str, Clip]) -> Clip:
        if one.clip is not None:
            if one.clip not in table:
                raise RowError("clip_missing", f"the clips table has no usable clip {one.clip!r}")
            return table[one.clip]
        return self._from_files(one)

    def _from_files(self, one: Listed) -> Clip:
        """Images are the frames of a clip, one second apart; a sound beside them is its sound."""
        if len(one.videos) > 1 or len(one.audios) > 1 or (one.videos and one.images):
            raise RowError("media", "expected one video, or images, and at most one sound")
        if one.videos:
            decoded = self._decode(one.videos[0])
            sound = self._sound(one.audios[0]) if one.audios else decoded.audio
            return Clip(
                one.videos[0], decoded.frames, decoded.frame_times, sound, None, None, decoded.duration_s
            )
        frames = tuple(_jpeg(self._read(path), path) for path in one.images)
        sound = self._sound(one.audios[0]) if one.audios else None
        times = tuple(float(number) for number in range(len(frames)))
        name = (*one.images, *one.audios)[0]
        return Clip(name, frames, times, sound, None, None, max(1.0, float(len(frames))))

    def _read(self, path: str) -> bytes:
        try:
            folder, name = storage_of(path, self._out.s3)
            return folder.read(name)
        except (FileNotFoundError, StorageError) as error:
            raise RowError("media", f"{path} cannot be read: {error}") from None

    def _decode(self, path: str) -> Any:
        if self._decoder is None:
            self._decoder = Decoder(DecodeSettings(frames=self._settings.max_frames))
        try:
            folder, name = storage_of(path, self._out.s3)
            with folder.download(name) as local:
                return self._decoder.decode(local)
        except (FileNotFoundError, StorageError) as error:
            raise RowError("media", f"{path} cannot be read: {error}") from None

    def _sound(self, path: str) -> bytes:
        import librosa
        import soundfile

        try:
            wave, _ = librosa.load(io.BytesIO(self._read(path)), sr=AUDIO_HZ, mono=True)
        except (soundfile.LibsndfileError, ValueError) as error:
            raise RowError("bad_audio", f"{path} cannot be decoded: {error}") from None
        return flac(wave)


def _jpeg(data: bytes, path: str) -> bytes:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.format == "JPEG" and picture.mode == "RGB":
                return data
            buffer = io.BytesIO()
            picture.convert("RGB").save(buffer, "JPEG", quality=95)
            return buffer.getvalue()
    except (UnidentifiedImageError, OSError) as error:
        raise RowError("bad_frames", f"{path} is no picture: {error}") from None


def encoder(settings: Finetune, model: Path) -> Encoder:
    """The encoder of a run."""
    return Encoder(
        settings.family,
        model,
        max_frames=settings.max_frames,
        max_tokens=settings.max_tokens,
        trust_remote_code=settings.trust_remote_code,
    )


class Collator:
    """Makes the batches of places in a list of samples."""

    def __init__(self, run: Storage, settings: Finetune, model: Path, entries: Sequence[Entry]) -> None:
        self.encoder = encoder(settings, model)
        self._reader = ClipReader(run)
        self._entries = entries
        self._dummy: TrainingInput | None = None
        self._always = settings.zero == 3 or not (settings.freeze.vision and settings.freeze.projector)

    def batch(self, places: Sequence[int]) -> Batch:
        """One batch of these samples, with the dummy row where it is needed."""
        chosen = [self._entries[place] for place in places]
        rows = [self.encoder.encode(entry.sample, self._reader.clip(entry)) for entry in chosen]
        if self._dummy is None:
            self._dummy = self.encoder.dummy()
        dummy = self._dummy if self._always or not rows else None
        names = [entry.sample_id for entry in chosen]
        return collate(rows, self.encoder.preprocessor, self.encoder.pad_token, dummy, names)


class _Feeder:
    """A worker of Ray Data: makes the batches of one step of one training worker."""

    def __init__(self, run: Storage, settings: Finetune, model: Path) -> None:
        import torch

        torch.set_num_threads(1)
        entries = training_entries(prepared.read_entries(run))
        self._collator = Collator(run, settings, model, entries)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        batches = [self._collator.batch(places) for places in pickle.loads(row["places"])]
        return {"step": row["step"], "batches": pickle.dumps(batches, protocol=5)}


def training_entries(entries: Sequence[Entry]) -> list[Entry]:
    """Those that are trained on, in the order that the plan of the steps counts."""
    return [entry for entry in entries if entry.error is None and entry.split == TRAIN]


def held_out_entries(entries: Sequence[Entry]) -> list[Entry]:
    """Those that a run is measured on."""
    return [entry for entry in entries if entry.error is None and entry.split == HELD_OUT]


def feed(
    run: Storage,
    settings: Finetune,
    model: Path,
    lengths: Sequence[int],
    start: Cursor,
    rank: int,
    workers: int,
) -> Iterator[tuple[batching.StepPlan, list[Batch]]]:
    """The steps from `start` on, each with the batches of this worker, encoded ahead by Ray Data."""
    import ray.data

    plans = list(
        batching.steps(
            len(lengths), settings.batch, settings.epochs, settings.seed, settings.max_steps, start
        )
    )
    if not plans:
        return
    rows = [
        {
            "step": plan.after.step,
            "places": pickle.dumps(
                batching.micro_batches(plan.samples, lengths, workers, settings.batch_tokens)[rank]
            ),
        }
        for plan in plans
    ]
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    # The training workers may hold every CPU that Ray counts.
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        _Feeder,
        fn_constructor_args=(run, settings, model),
        compute=ray.data.ActorPoolStrategy(size=settings.data_workers),
        num_cpus=0,
    )
    batches = dataset.iter_batches(batch_size=None, prefetch_batches=AHEAD, batch_format="pyarrow")
    found = (row for batch in batches for row in batch.to_pylist())
    for plan, row in zip(plans, found, strict=True):
        if row["step"] != plan.after.step:
            raise EmoError(f"step {row['step']} came in the place of step {plan.after.step}")
        yield plan, pickle.loads(row["batches"])


def about_data(entries: Sequence[Entry], fingerprint: str) -> dict[str, Any]:
    """What manifest and page say about the data."""
    return {"fingerprint": fingerprint, **prepared.counts(entries)}


def as_json(value: Any) -> bytes:
    """A small file of a run."""
    return json.dumps(value, indent=1, ensure_ascii=False).encode()
