"""The video of a clip as a browser plays it: pieces of the file as it is, or of one that was made of it."""

import os
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from emo.errors import EmoError, RowError, StorageError
from emo.review.part import Part
from emo.store.s3 import S3Settings
from emo.store.storage import Storage, storage_of

# Files that were made stay for those who go back; they are small.
KEPT = 200
DEADLINE_S = 180
LONGEST_SIDE = 720
_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm"}
_SOUNDS = {".mp3": "audio/mpeg", ".wav": "audio/wav", ".flac": "audio/flac", ".m4a": "audio/mp4"}


_Key = tuple[str, Part | None]


@dataclass(frozen=True)
class Playable:
    """A file that browsers play: where, how many bytes, its media type, and the part of it that is the clip
    (None: all of it).
    """

    storage: Storage
    path: str
    size: int
    kind: str
    part: Part | None = None

    def open(self) -> BinaryIO:
        """For random reads, as ranges on S3."""
        return self.storage.open(self.path)


class Media:
    """Finds what a browser can play of a file, and makes it where there is nothing; for use by threads."""

    def __init__(self, s3: S3Settings) -> None:
        self._s3 = s3
        self._folder = tempfile.TemporaryDirectory(prefix="emo-review-")
        self._known: OrderedDict[_Key, Playable] = OrderedDict()
        self._lock = threading.Lock()
        self._busy: dict[_Key, threading.Lock] = {}

    def close(self) -> None:
        """Remove what was made."""
        self._folder.cleanup()

    def playable(self, uri: str, part: Part | None = None) -> Playable:
        """What a browser can play of the file at that place, or of a part of it: the file itself, or one that
        was made of it, which then is that part alone.

        Raises FileNotFoundError where the file is gone, RowError where it can be read by nobody, StorageError
        where the place does not answer.
        """
        key = (uri, part)
        with self._lock:
            busy = self._busy.setdefault(key, threading.Lock())
        # Two browsers that want one file wait for one transcoding.
        with busy:
            with self._lock:
                if key in self._known:
                    self._known.move_to_end(key)
                    return self._known[key]
            found = self._find(uri, part)
            with self._lock:
                self._known[key] = found
                if len(self._known) > KEPT:
                    self._drop(self._known.popitem(last=False)[1])
            return found

    def _find(self, uri: str, part: Part | None) -> Playable:
        storage, name = storage_of(uri, self._s3)
        entry = storage.entry(name)
        with storage.download(name) as local:
            suffix = Path(name).suffix.lower()
            if _run("--plays", local) == "yes":
                kind = {**_TYPES, **_SOUNDS}.get(suffix, "video/mp4")
                return Playable(storage, name, entry.size, kind, part)
            handle, target = tempfile.mkstemp(suffix=".mp4", dir=self._folder.name)
            os.close(handle)
            try:
                make(local, target, LONGEST_SIDE, part)
            except BaseException:
                Path(target).unlink(missing_ok=True)
                raise
        made, made_name = storage_of(target)
        return Playable(made, made_name, Path(target).stat().st_size, "video/mp4")

    def _drop(self, old: Playable) -> None:
        if old.storage.url == str(Path(self._folder.name).absolute()):
            with suppress(EmoError):
                old.storage.delete(old.path)


def make(source: str, target: str, longest_side: int | None, part: Part | None) -> None:
    """`transcode` in a process of its own; raises RowError where that fails, crashes or does not end."""
    asked = part or Part()
    times = (f"{asked.start_s!r}", "" if asked.end_s is None else f"{asked.end_s!r}")
    _run(source, target, str(longest_side or 0), *times)


def _run(*arguments: str) -> str:
    """Run `emo.review.transcode` on a file that may crash it or never end; raises RowError."""
    command = [sys.executable, "-m", "emo.review.transcode", *arguments]
    paths = os.pathsep.join(path for path in sys.path if path)
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DEADLINE_S,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths},
        )
    except subprocess.TimeoutExpired:
        raise RowError("timeout", f"making a file for the browser took longer than {DEADLINE_S} s") from None
    except OSError as error:
        raise StorageError(f"no process can be started: {error}") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise RowError("decode_failed", (said[-1] if said else f"exit code {done.returncode}")[:300])
    return done.stdout.strip()
