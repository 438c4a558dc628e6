"""The files of a row of a manifest, as workers read them: a local copy each, and whose fault it is if not."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from emo.errors import InputError, PlaceError, RowError, StorageError
from emo.machine import raise_fault_of_machine
from emo.media.partial import File, Partial
from emo.media.sandbox import Decoder
from emo.media.tasks import Close
from emo.media.transcript import MAX_SIDECAR_BYTES, SidecarFile, too_long
from emo.sources.times import START, recording_of
from emo.store.backend import OtherVersionError
from emo.store.s3 import S3Settings
from emo.store.storage import Storage, storage_of


@contextmanager
def faults_of(uri: str) -> Iterator[None]:
    """Turn what goes wrong with one file into a RowError: `unreadable`, or `unreachable` where it may pass.

    What says that the whole place or this machine is at fault stays what it is.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise_fault_of_machine(error)
        raise RowError("unreadable", f"{uri} is not there") from None
    except InputError as error:
        raise RowError("unreadable", str(error)) from None
    except OtherVersionError:
        raise RowError("replaced", f"{uri} was written while it was read") from None
    except PlaceError:
        raise
    except StorageError as error:
        # Not the clip's own fault: a night tries it again.
        raise RowError("unreachable", str(error)) from None


@contextmanager
def parts_of(storage: Storage, name: str, decoder: Decoder) -> Iterator[File]:
    """A recording of which the decoder reads parts: of S3 only these are fetched, each byte once.

    Raises OtherVersionError where it is replaced meanwhile. The decoder lets go of it in the end.
    """
    with storage.parts(name) as (path, ranges), ExitStack() as stack:
        if ranges is not None:
            stack.enter_context(decoder.filling(ranges.fetch))
        try:
            yield path if ranges is None else Partial(path)
        except RowError:
            decoder.run(Close())
            raise
        decoder.run(Close())


@contextmanager
def sidecar_of(row: Mapping[str, Any], s3: S3Settings) -> Iterator[SidecarFile]:
    """The sidecar of a row, fetched.

    Raises FileNotFoundError where it is gone, and RowError (`bad_subtitle`) where it must not be read.
    """
    storage, name = storage_of(row["sidecar"], s3)
    size = storage.entry(name).size
    if size > MAX_SIDECAR_BYTES:
        raise RowError("bad_subtitle", f"{name}: {too_long(size)}")
    if not storage.on_s3 and not _stays(row):
        raise RowError("bad_subtitle", f"{name}: a link that leaves the source, and is not followed")
    with storage.download(name) as path:
        yield SidecarFile(path, name, row["language"], row["start_s"], row["end_s"])


def _stays(row: Mapping[str, Any]) -> bool:
    """Whether a local sidecar is a file of the source, also where it is a link.

    An id is the path of the video below the source, unless a manifest gave another: then only the folder of
    the sidecar is known to belong to it. So does the folder itself, wherever a link put it.
    """
    sidecar = Path(row["sidecar"])
    stem = Path(row["uri"]).with_suffix("").as_posix()
    file_id = row["video_id"] if row[START] is None else recording_of(row["video_id"])
    root = stem.removesuffix("/" + file_id)
    inside = [sidecar.parent.resolve()]
    if root != stem:
        inside.append(Path(root or "/").resolve())
    return any(sidecar.resolve().is_relative_to(folder) for folder in inside)
