"""What an export format is, and what it is given."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from emo.export import media
from emo.store.storage import Storage


@dataclass(frozen=True)
class Exported:
    """What is to be exported.

    rows: one mapping per clip, sorted by video_id: video_id, uri, start_s, end_s (of a clip that is a part of
    its file, else None), labels (best first), scores (beside the labels, None where there is none),
    agreement, description, transcript, language, duration_s, use (None: not said), labelled_by (people or
    machine), reviewers, run_id; media: the path of the clip's file below the target, by video_id, empty where
    no media are wanted; facts: what a reader of the data must know, by name.
    """

    source: Storage
    target: Storage
    rows: Sequence[Mapping[str, Any]]
    media: Mapping[str, str]
    facts: Mapping[str, Any]


class Exporter(ABC):
    """One format. summary: what it writes and what opens it; media: whether files of clips can go along;
    tells_facts: whether the format itself says them.
    """

    summary: ClassVar[str]
    media: ClassVar[bool] = True
    tells_facts: ClassVar[bool] = False

    def folder(self) -> str:
        """Where the media go, below the target."""
        return "videos"

    def media_of(self, target: Storage, ids: Collection[str]) -> list[str]:
        """The files of these clips that an export holds, below the target."""
        return media.of_clips(target, self.folder(), ids)

    @abstractmethod
    def write(self, exported: Exported) -> list[str]:
        """Write everything but the media, which are there; the paths of the files, below the target.

        Files are written whole, and the same rows give the same files: an export that was cut short is
        finished by the same command. Raises InputError where there is nothing that the format can hold.
        """
