"""Where Ray Train keeps checkpoints, which of them are whole, and writing them on a disk that may be full."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emo.finetuning.record import as_json
from emo.finetuning.result import RESULT
from emo.finetuning.state import STATE
from emo.paths import S3_PREFIX
from emo.store.storage import Storage

# The folder of a training below that of its run, and Ray Train's list of the checkpoints in it.
TRAINING, SNAPSHOT = "train", "train/checkpoint_manager_snapshot.json"
# In a checkpoint, for each worker: the sizes of the files that it wrote.
PARTS = "files-{:05d}.json"
# A disk with less room is full: pieces of a checkpoint may be larger.
_FULL_BYTES = 1 << 20


def drop_half_written(place: Storage) -> None:
    """Delete checkpoints that were being written when a disk was full or a worker died.

    Those are the ones that Ray's list does not name; where the list is torn, those that are not whole.
    Nothing else may be writing: that is while no worker runs.
    """
    taken = _listed(place)
    files = _checkpoint_files(place)
    kept = {name for name in files if (name in taken if taken is not None else _is_whole(place, name, files))}
    for name in files.keys() - kept:
        for path in files[name]:
            place.delete(f"{TRAINING}/{name}/{path}")
    if not place.on_s3:
        for folder in Path(place.full(TRAINING)).glob("checkpoint-*/"):
            if folder.name not in kept:
                shutil.rmtree(folder)


def find_checkpoint(place: Storage) -> str | None:
    """The checkpoint (below `place`) to go on from where Ray's list of them is torn or missing, else None.

    Ray overwrites its list in place, when a checkpoint is there and when one is judged: what is killed, or
    has no space left, just then leaves half of it, perhaps while the next checkpoint is half there too.
    """
    if _listed(place) is not None:
        return None
    place.delete(SNAPSHOT)  # Ray refuses to start from half of one
    whole = whole_checkpoints(place)
    return f"{TRAINING}/{whole[-1]}" if whole else None


def whole_checkpoints(place: Storage) -> list[str]:
    """The names of those of which all is there, the newest last."""
    files = _checkpoint_files(place)
    return [name for name in sorted(files) if _is_whole(place, name, files)]


@contextmanager
def checkpoint_folder(place: Storage, name: str) -> Iterator[str]:
    """A local folder with the result and the state of a checkpoint."""
    with tempfile.TemporaryDirectory(prefix="emo-checkpoint-") as path:
        source = f"{TRAINING}/{name}/"
        for entry in place.entries(source.rstrip("/")):
            file = entry.path.removeprefix(source)
            if file == STATE or file.startswith(f"{RESULT}/"):
                Path(path, file).parent.mkdir(parents=True, exist_ok=True)
                Path(path, file).write_bytes(place.read(entry.path))
        yield path


def _listed(place: Storage) -> str | None:
    """Ray's list, a text that names the checkpoints to be kept; None where there is none or half of one."""
    try:
        text = place.read(SNAPSHOT).decode()
        json.loads(text)
    except (FileNotFoundError, ValueError):
        return None
    return text


def _checkpoint_files(place: Storage) -> dict[str, dict[str, int]]:
    """Name of a checkpoint -> path of a file in it -> bytes."""
    found: dict[str, dict[str, int]] = {}
    for entry in place.entries(TRAINING):
        name, _, path = entry.path.removeprefix(f"{TRAINING}/").partition("/")
        if name.startswith("checkpoint-"):
            found.setdefault(name, {})[path] = entry.size
    return found


def _is_whole(place: Storage, name: str, files: dict[str, dict[str, int]]) -> bool:
    """Whether all that every worker wrote of a checkpoint is there."""
    try:
        state = json.loads(place.read(f"{TRAINING}/{name}/{STATE}"))
        lists = [
            json.loads(place.read(f"{TRAINING}/{name}/{PARTS.format(rank)}"))
            for rank in range(state["workers"])
        ]
    except (FileNotFoundError, ValueError):
        return False
    return all(files[name].get(path) == size for part in lists for path, size in part.items())


def list_part(folder: Path, rank: int) -> None:
    """Write which files of which size a worker adds to a checkpoint; they may arrive in any order."""
    sizes = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    (folder / PARTS.format(rank)).write_bytes(as_json(sizes))


@contextmanager
def telling_of_space(folder: str) -> Iterator[None]:
    """Turn what writing into a folder raises into OSError ENOSPC where its disk is full."""
    try:
        yield
    except Exception as error:
        # PyTorch then tells of positions in its file, and is no OSError.
        if isinstance(error, OSError) or shutil.disk_usage(folder).free >= _FULL_BYTES:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder) from error


def train_storage(place: Storage) -> tuple[str, Any]:
    """Where Ray Train keeps its checkpoints; on S3 through Arrow's client, which pickles."""
    if not place.on_s3:
        return place.url, None
    from pyarrow.fs import S3FileSystem

    values = _s3_values(place)
    options: dict[str, Any] = {"anonymous": True} if values["anonymous"] else {}
    if values["key"] and values["secret"]:
        options = {
            "access_key": values["key"],
            "secret_key": values["secret"],
            "session_token": values["token"],
        }
    if values["region"]:
        options["region"] = values["region"]
    if values["endpoint_url"]:
        scheme, _, address = values["endpoint_url"].partition("://")
        options |= {"scheme": scheme, "endpoint_override": address}
    return place.url.removeprefix(S3_PREFIX), S3FileSystem(**options)


def _s3_values(place: Storage) -> dict[str, Any]:
    values = place.s3.model_dump()
    return {
        key: value.get_secret_value() if hasattr(value, "get_secret_value") else value
        for key, value in values.items()
    }
