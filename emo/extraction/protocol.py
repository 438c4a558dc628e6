"""What every extractor is: a batch of descriptions in, the labels of each out, aligned with the input."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from emo.errors import RowError
from emo.experts.protocol import Resources, Turn
from emo.section import Section

if TYPE_CHECKING:
    from emo.engines.models import NamedModel


@dataclass(frozen=True)
class ExtractRow:
    """One description as an extractor sees it.

    text: what the expert wrote; transcript: what is said in the clip, or None where there is none or where
    the expert has read it already; key: names the row (`video_id/expert/sample`), and with the seed of the
    settings decides the random numbers, so that a row gives the same labels in any batch; speaker, before:
    who says it, and the turns of the dialogue before it, oldest first, where these are asked for.
    """

    text: str
    transcript: str | None
    key: str
    speaker: str | None = None
    before: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class Reading:
    """labels: as of `extract`; alternatives: groups of at least two of them between which the text leaves it
    open, a label in one group at most; merged: the text that was read where it is not the description itself;
    with_transcript: what is said was read with the description; notes: what is not as it should be, and why
    there is no label where no model was asked.
    """

    labels: list[str]
    alternatives: tuple[tuple[str, ...], ...] = ()
    merged: str | None = None
    with_transcript: bool = False
    notes: tuple[str, ...] = ()


class Settings(Section):
    """What a user may set for an extractor. Each extractor extends it."""

    kind: str
    """The kind of the extractor, or the place of a class as `package.module:Class`."""


class Extractor(ABC):
    """The protocol of all extractors.

    name: what the `extractor` column says; it names everything that decides the labels, with versions.
    As with experts, heavy libraries are imported inside `__init__` and later.
    """

    Settings: ClassVar[type[Settings]] = Settings
    name: str

    @abstractmethod
    def __init__(self, settings: Any) -> None:
        """Load what the settings name; raises InputError where that cannot be done."""

    @classmethod
    def resources(cls, settings: Any) -> Resources:
        """What one worker needs."""
        return Resources()

    @classmethod
    def previous_turns(cls, settings: Any) -> int:
        """How many turns of the dialogue before a clip go with its transcript, in `ExtractRow.before`."""
        return 0

    @classmethod
    def missing(cls, settings: Any) -> list[str]:
        """What is not there that this extractor needs to run, one line each; looks, but loads nothing."""
        return []

    @classmethod
    def models(cls, settings: Any) -> list["NamedModel"]:
        """The checkpoints that these settings name. `key` is that of the extractor, such as `model`."""
        return []

    @abstractmethod
    def extract(self, rows: Sequence[ExtractRow]) -> list[list[str] | RowError]:
        """The labels of each row, as many entries as rows, in their order.

        An entry is the labels in the order in which the text gives them, lower case, without repeats, empty
        where the text names no emotion; or the RowError that made the row fail. A failure of one row never
        changes the entry of another.
        """

    def read(self, rows: Sequence[ExtractRow]) -> list[Reading | RowError]:
        """The same with what was read and noted on the way; for extractors that have something to tell."""
        return [row if isinstance(row, RowError) else Reading(row) for row in self.extract(rows)]

    def close(self) -> None:  # noqa: B027  (most extractors hold nothing)
        """Give back what the extractor holds."""
