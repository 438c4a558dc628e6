"""One export, whole: what is selected, with or without media, in one format."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from emo.errors import InputError, StorageError
from emo.export import REGISTRY, media, noted, selection
from emo.export.noted import Asked
from emo.export.protocol import Exported
from emo.store.storage import Storage

# What those who get the data must know, where the format itself has no place for it.
FACTS = "export.json"


@dataclass(frozen=True)
class Written:
    """clips: how many; files: paths below the target, without media; gone: clips left out, whose file is
    gone.
    """

    clips: int
    files: list[str]
    gone: list[str]


def export(
    source: Storage, target: Storage, asked: Asked, tell: Callable[[str], None], may_be_empty: bool = False
) -> Written:
    """Write the labels that count of an OUT; the same call goes on with an export that was cut short.

    Raises InputError where what is asked for does not fit, or where no clip is to be exported.
    """
    exporter = REGISTRY.named(asked.format)()
    if asked.media and not exporter.media:
        raise InputError(f"--media: {asked.format} has media of its own")
    if asked.min_agreement is not None and not 0 <= asked.min_agreement <= 1:
        raise InputError(f"--min-agreement is {asked.min_agreement:g}; expected a share from 0 to 1")
    selection.check_target(source, target)
    rows = selection.select(source, asked.reviewed, asked.min_agreement)
    if not rows and not may_be_empty:
        raise InputError(f"{source.url}: no clip is to be exported")
    try:
        # Before anything is written there.
        noted.note(source, target, asked)
    except StorageError as error:
        tell(f"OUT cannot note this export, so emo forget will not reach it: {error}")
    paths = media.paths(rows, exporter.folder()) if asked.media else {}
    gone = set(media.copy(rows, paths, target, source.s3, tell)) if asked.media else set()
    rows = [row for row in rows if row["video_id"] not in gone]
    there = {video_id: path for video_id, path in paths.items() if video_id not in gone}
    facts = selection.facts(source, rows)
    files = exporter.write(Exported(source, target, rows, there, facts))
    if not exporter.tells_facts:
        told: dict[str, Any] = {**asdict(asked), **facts}
        target.write(FACTS, json.dumps(told, ensure_ascii=False, indent=1).encode("utf-8", "replace"))
        files.append(FACTS)
    return Written(len(rows), files, sorted(gone))
