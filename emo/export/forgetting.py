"""Clips that are to be forgotten, in the exports that OUT has noted."""

import json
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path, PurePosixPath

from emo.errors import EmoError
from emo.export import REGISTRY
from emo.export.exporting import export
from emo.export.noted import FOLDER, Asked
from emo.store.storage import Storage


def forget(source: Storage, ids: Collection[str], tell: Callable[[str], None]) -> list[str]:
    """Write every noted export anew, without the media of these clips; a line for each that is not reached.

    Their rows must be gone from the tables.
    """
    beyond = []
    for path in source.names(FOLDER):
        told = json.loads(source.read(path))
        to = told.pop("to")
        told.pop("exported_at")
        try:
            asked, target = Asked(**told), Storage(to, source.s3)
            if not target.is_there():
                # It was removed; a folder is not made again for it.
                source.delete(path)
                continue
            for file in REGISTRY.named(asked.format)().media_of(target, ids):
                target.delete(file)
                _drop_empty(target, file)
            written = export(source, target, asked, tell, may_be_empty=True)
            tell(f"the export {to} was written anew, with {written.clips} clips")
        except EmoError as error:
            beyond.append(f"the export {to} ({told['format']}): {error}")
    return beyond


def _drop_empty(target: Storage, file: str) -> None:
    """Remove the folders that a file leaves empty on a disk: their names may be those of people."""
    if not target.on_s3:
        with suppress(OSError):
            for folder in PurePosixPath(file).parents[:-1]:
                Path(target.full(str(folder))).rmdir()
