"""Listed samples → prepared ones: each clip is read once, each sample is encoded once, for its length."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from emo.clips import CLIP_COLUMNS, to_clip
from emo.engines.models import resolve_model
from emo.errors import MachineError, PlaceError, RowError, StorageError, one_line
from emo.experts.protocol import Clip
from emo.finetuning import prepared
from emo.finetuning.collator import encoder
from emo.finetuning.listed import Listed
from emo.finetuning.prepared import Entry
from emo.finetuning.settings import Finetune
from emo.machine import raise_fault_of_machine
from emo.media.decoded import DecodedClip, DecodeSettings
from emo.media.sandbox import Decoder
from emo.store import committed
from emo.store.s3 import use_s3
from emo.store.storage import Storage, storage_of
from emo.store.tables import CLIPS


class Preparer:
    """Reads the clips of a shard of samples and encodes each sample once, for its length."""

    def __init__(self, run: Storage, out: Storage, settings: Finetune) -> None:
        self._run, self._out, self._settings = run, out, settings
        assert settings.model is not None
        use_s3(run.s3)
        # Its folder may stand elsewhere on this node.
        base = resolve_model(settings.model, settings.revision, settings.trust_remote_code)
        self._encoder = encoder(settings, base)
        self._decoder: Decoder | None = None

    def prepare(self, shard: Sequence[Listed], files: Mapping[str, str | None], file: str) -> list[Entry]:
        """The samples of a shard with their lengths, refused ones with their error; their clips go to `file`.

        files: the file of the clips table that holds each clip, by its video_id.
        """
        table = self._clips_of_table(files)
        clips: list[Clip] = []
        places: dict[Any, int] = {}
        entries = []
        for one in shard:
            entry: Entry = one.entry
            try:
                key = one.clip or (one.images, one.videos, one.audios, one.frame_times)
                if entry.sample.has_media or any((one.clip, one.images, one.videos, one.audios)):
                    if key not in places:
                        clips.append(self._clip(one, table))
                        places[key] = len(clips) - 1
                    entry = replace(entry, file=file, place=places[key])
                clip = None if entry.place is None else prepared.shown(clips[entry.place], entry)
                made = self._encoder.encode(entry.sample, clip)
                entry = replace(entry, tokens=len(made), trained=made.trained)
            except RowError as error:
                message = f"{one.where or entry.sample_id}: {error.message}"
                entry = replace(entry, error=error.code, error_message=message)
            except (PlaceError, MachineError, MemoryError):
                raise
            except Exception as error:  # libraries raise what they like of a medium that is odd
                message = f"{one.where or entry.sample_id}: {one_line(error)}"
                entry = replace(entry, error="not_prepared", error_message=message)
            entries.append(entry)
        if clips:
            prepared.write_clips(self._run, file, clips)
        return entries

    def _clips_of_table(self, files: Mapping[str, str | None]) -> dict[str, Clip]:
        found: dict[str, Clip] = {}
        for path in sorted({file for file in files.values() if file is not None}):
            wanted = [name for name, file in files.items() if file == path]
            rows: pa.Table = committed.read_rows(self._out, CLIPS, path, "video_id", wanted, CLIP_COLUMNS)
            found |= {row["video_id"]: to_clip(row) for row in rows.to_pylist()}
        return found

    def _clip(self, one: Listed, table: dict[str, Clip]) -> Clip:
        if one.clip is not None:
            if one.clip not in table:
                raise RowError("clip_missing", f"the clips table has no usable clip {one.clip!r}")
            return table[one.clip]
        return self._from_files(one)

    def _from_files(self, one: Listed) -> Clip:
        """The clip of a row of a file; its images are the frames, and a sound beside them is its sound."""
        if len(one.videos) > 1 or len(one.audios) > 1 or (one.videos and one.images):
            raise RowError("media", "expected one video, or images, and at most one sound")
        sound = self._sound(one.audios[0]) if one.audios else None
        video = one.videos[0] if one.videos else one.images
        if not isinstance(video, str):
            return self._from_frames(one, video, sound)
        decoded = self._decode(video)
        sound = sound or decoded.audio
        return Clip(video, decoded.frames, decoded.frame_times, sound, None, None, decoded.duration_s)

    def _from_frames(self, one: Listed, paths: Sequence[str], sound: bytes | None) -> Clip:
        """A clip of these pictures. Where nobody said when a picture was taken they are one second apart."""
        frames = []
        for path in paths:
            with self._fetched(path) as local:
                frames.append(_jpeg(Path(local).read_bytes(), path))
        times = one.frame_times[0] if one.frame_times else tuple(map(float, range(len(frames))))
        # The first frame and the last stand half a step from the ends of a clip, or on its first moment.
        step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 1.0
        length = times[-1] + (times[0] or step) if times else 1.0
        return Clip((*paths, *one.audios)[0], tuple(frames), times, sound, None, None, max(length, step))

    @contextmanager
    def _fetched(self, path: str) -> Iterator[str]:
        """A medium as a local file.

        Raises RowError `media` where it cannot be read, and what says that the whole place or this machine is
        at fault.
        """
        try:
            folder, name = storage_of(path, self._out.s3)
            with folder.download(name) as local:
                # A local file is used where it lies, or where it does not.
                Path(local).stat()
                yield local
        except PlaceError:
            raise
        except (FileNotFoundError, StorageError) as error:
            raise_fault_of_machine(error)
            raise RowError("media", f"{path} cannot be read: {error}") from None

    def _decode(self, path: str) -> DecodedClip:
        if self._decoder is None:
            self._decoder = Decoder(DecodeSettings(frames=self._settings.max_frames))
        with self._fetched(path) as local:
            return self._decoder.decode(local)

    def _sound(self, path: str) -> bytes:
        sound = self._decode(path).audio
        if sound is None:
            raise RowError("bad_audio", f"{path} has no sound")
        return sound


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
