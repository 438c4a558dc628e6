"""What an export format is, and what it is given."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from emo.store.storage import Storage


@dataclass(frozen=True)
class Exported:
    """What is to be exported.

    rows: one mapping per clip, sorted by video_id: video_id, uri, labels (best first), scores (beside the
    labels, None where there is none), agreement, description, transcript, language, duration_s, labelled_by
    (people or machine), reviewers, run_id; media: the path of the clip's file below the target, by video_id,
    empty where no media are wanted; facts: what a reader of the data must know, by name.
    """

    source: Storage
    target: Storage
    rows: Sequence[Mapping[str, Any]]
    media: Mapping[str, str]
    facts: Mapping[str, Any]


class Exporter(ABC):
    """One format. summary: what it writes and what opens it; media: whether files of clips can go along."""

    summary: ClassVar[str]
    media: ClassVar[bool] = True

    def folder(self) -> str:
        """Where the media go, below the target."""
        return "videos"

    @abstractmethod
    def write(self, exported: Exported) -> list[str]:
        """Write everything but the media, which are there; the paths of the files, below the target.

        Files are written whole, and the same rows give the same files: an export that was cut short is
        finished by the same command. Raises InputError where there is nothing that the format can hold.
        """
