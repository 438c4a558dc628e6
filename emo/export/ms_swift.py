"""The captions with their media as ms-swift trains on them: what `emo caption --export` writes."""

from typing import ClassVar

from emo.captions.export import FramesAs, export
from emo.clips import ingested
from emo.errors import InputError
from emo.export.protocol import Exported, Exporter
from emo.store import committed, planning
from emo.store.tables import CAPTIONS


class MsSwift(Exporter):
    """Frames and sound always go along; captions of clips that are not exported are left out."""

    summary: ClassVar[str] = "the captions as messages, with their frames as a video and sound, for ms-swift"
    media: ClassVar[bool] = False
    frames: ClassVar[FramesAs] = "video"

    def write(self, exported: Exported) -> list[str]:
        source = exported.source
        rows = committed.read_newest(source, CAPTIONS.name, CAPTIONS, CAPTIONS.schema.names)
        wanted = {row["video_id"] for row in exported.rows}
        kept = [row for row in planning.well(rows).to_pylist() if row["video_id"] in wanted]
        if not kept:
            raise InputError(f"{source.url} has no caption of these clips; emo caption makes them")
        counts = export(source, ingested(source), kept, exported.target, self.frames)
        return [f"{split}.jsonl" for split, count in counts.items() if count]


class MsSwiftImages(MsSwift):
    """The same for whoever trains on pictures that stand beside each other."""

    summary: ClassVar[str] = "the same with each frame as an image of its own"
    frames: ClassVar[FramesAs] = "images"
