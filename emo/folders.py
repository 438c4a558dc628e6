"""What stands in a local source folder, links included: nothing that may be a video is passed over."""

import os
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from emo.paths import on_disk, readable
from emo.storage import Entry, is_folder, is_regular, list_folder, local_entry


@dataclass
class Found:
    """entries: the files; unusable: what is neither file nor folder, such as a link that leads nowhere.

    All paths are relative to the folder that was read.
    """

    entries: list[Entry] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)


def read_through(root: str) -> Found:
    """Everything below a folder. Raises StorageError that names a folder which cannot be read.

    Links to folders are followed after all folders proper, in the order of their names, and each folder is
    read once: a link to one that is read anyway adds nothing, and no link leads in a circle. One to a folder
    above the root is not followed, and that is said: it would lead into everything beside the root.
    """
    found = Found()
    root = on_disk(root)
    cut = len(root.rstrip("/")) + 1
    seen: set[tuple[int, int]] = set()
    above = {_identity(parent) for parent in Path(os.path.realpath(root)).parents}
    folders, links = deque([root]), deque[str]()
    while folders or links:
        linked = not folders
        folder = links.popleft() if linked else folders.popleft()
        try:
            identity = _identity(folder)
        except FileNotFoundError:
            continue
        if linked and identity in above:
            print(f"{folder}: links to a folder above the source and is not followed", file=sys.stderr)
            continue
        if identity in seen:
            continue
        seen.add(identity)
        for item in sorted(list_folder(folder), key=lambda one: one.name):
            if item.is_dir(follow_symlinks=False):
                folders.append(item.path)
            elif is_regular(item):
                # A file may be gone since its folder was read; then it is not there.
                with suppress(FileNotFoundError):
                    found.entries.append(local_entry(item, cut))
            elif is_folder(item.path):
                links.append(item.path)
            else:
                found.unusable.append(readable(item.path[cut:]))
    return found


def _identity(folder: str | Path) -> tuple[int, int]:
    stat = Path(folder).stat()
    return stat.st_dev, stat.st_ino
