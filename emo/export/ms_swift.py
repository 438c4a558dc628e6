"""The captions with their media as ms-swift trains on them: what `emo caption --export` writes."""

from collections.abc import Collection
from typing import ClassVar

from emo import uses
from emo.captions.export import export, folder_of
from emo.captions.messages import FramesAs
from emo.clips import ingested
from emo.errors import InputError
from emo.export.protocol import Exported, Exporter
from emo.paths import split
from emo.store import committed, planning
from emo.store.storage import Storage
from emo.store.tables import CAPTIONS


class MsSwift(Exporter):
    """Frames and sound always go along; captions of clips that are not exported are left out."""

    summary: ClassVar[str] = "the captions as messages, with their frames as a video and sound, for ms-swift"
    media: ClassVar[bool] = False
    frames: ClassVar[FramesAs] = "video"

    def media_of(self, target: Storage, ids: Collection[str]) -> list[str]:
        folders = {f"{kind}/{folder_of(video_id)}" for kind in ("images", "audios") for video_id in ids}
        return [
            path for kind in ("images", "audios") for path in target.names(kind) if split(path)[0] in folders
        ]

    def write(self, exported: Exported) -> list[str]:
        source = exported.source
        rows = committed.read_newest(source, CAPTIONS.name, CAPTIONS, CAPTIONS.schema.names)
        wanted = {row["video_id"] for row in exported.rows}
        rows = uses.allowed(source, planning.well(rows), training=True)
        kept = [row for row in rows.to_pylist() if row["video_id"] in wanted]
        if not kept:
            raise InputError(f"{source.url} has no caption of these clips; emo caption makes them")
        counts = export(source, ingested(source), kept, exported.target, self.frames)
        return [f"{split}.jsonl" for split, count in counts.items() if count]


class MsSwiftImages(MsSwift):
    """The same for whoever trains on pictures that stand beside each other."""

    summary: ClassVar[str] = "the same with each frame as an image of its own"
    frames: ClassVar[FramesAs] = "images"
