"""What every expert is: a batch of clips in, descriptions of each out, aligned with the input."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from emo.errors import RowError
from emo.marks import NoResult
from emo.section import Section

if TYPE_CHECKING:
    from emo.engines.models import NamedModel

FRAMES = "frames"
AUDIO = "audio"
TRANSCRIPT = "transcript"
FACES = "faces"


@dataclass(frozen=True)
class Turn:
    """What was said in a clip before, by whom; text: None where its words are not known."""

    speaker: str | None
    text: str | None


@dataclass(frozen=True)
class Clip:
    """One row of the `clips` table as an expert sees it.

    frames: JPEG images, RGB, in time order; frame_times: seconds, as many as frames; audio: FLAC, 16 kHz
    mono, or None where the clip has no sound; transcript: what is said, or None; language: a code such as
    `en` or `zh`, or None where it is not known; samples: the numbers of the answers that are asked for, None:
    from 0, as many as the expert is set to; speaker: who speaks, or None; before: the turns of the dialogue
    before it, oldest first, as many as the expert is told.
    """

    video_id: str
    frames: tuple[bytes, ...]
    frame_times: tuple[float, ...]
    audio: bytes | None
    transcript: str | None
    language: str | None
    duration_s: float
    samples: tuple[int, ...] | None = None
    speaker: str | None = None
    before: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class Description:
    """What one expert wrote about one clip, once.

    degraded: the modalities that the expert wanted and that the clip does not have; thought: what the model
    thought, where its server hands that out apart from the text; labels: the words that the expert itself
    gives with the strength of each (above 0, at most 1), best first; None where an extractor has to read the
    text; vectors: what the expert's model made of parts of the clip before it named labels, in time order,
    where it is set to keep them.
    """

    text: str
    degraded: tuple[str, ...] = ()
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    finish_reason: str | None = None
    thought: str | None = None
    labels: tuple[tuple[str, float], ...] | None = None
    vectors: tuple[tuple[float, ...], ...] | None = None


OWN_LICENCE = "Apache-2.0 (part of emo)"


@dataclass(frozen=True)
class Card:
    """What an expert is made of; model to licence, and engine, are written beside every description.

    licence, trained_on: what the checkpoint says about itself, None and empty where it says nothing;
    memory_gib: what the model needs on its device, None where that is not known; engine: what runs it, with
    its version.
    """

    name: str
    modalities: tuple[str, ...]
    model: str
    revision: str | None = None
    adapter: str | None = None
    prompt_sha: str | None = None
    licence: str | None = None
    trained_on: tuple[str, ...] = ()
    memory_gib: float | None = None
    engine: str | None = None


class Settings(Section):
    """What a user may set for one expert. Each expert extends it with keys of its own."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The name of the expert in the column `expert`, and of the folder of its tables."""
    kind: str
    """The kind of the expert, or the place of a class as `package.module:Class`."""
    samples: int = Field(1, ge=1, le=100)
    """The number of answers that the expert gives to each clip."""
    first: NoResult[int | None] = Field(None, ge=1)
    """The number of answers in a first round, fewer than `samples`. The others are asked for only where the
    first ones agree less than `enough`. With `null` all are asked for at once.
    """
    seed: int = 0
    """The seed of the random numbers, together with video_id, name and sample."""
    weight: NoResult[float] = Field(1.0, gt=0, allow_inf_nan=False)
    """How much a vote of the expert counts beside those of the others, until `emo judge` learns it. The fewer
    voters did not give a label, the closer to 1 it is taken for that label.
    """
    trained_on: NoResult[tuple[str, ...]] = ()
    """The data sets that the expert was trained on, beside those that its checkpoint tells of. `emo evaluate`
    warns where the expert is scored on one of them.
    """

    @model_validator(mode="after")
    def _fewer_first(self) -> Self:
        if self.first is not None and self.first >= self.samples:
            raise ValueError(f"first is {self.first}; expected fewer than samples, which is {self.samples}")
        return self


@dataclass(frozen=True)
class Resources:
    """What one worker of an expert needs: logical CPUs and GPUs of Ray, memory in GiB (0: not stated).

    light: a worker loads in well under a second, so it may be made anew in a process that other steps of the
    run use too. A worker of another kind has a process to itself.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory_gib: float = 0.0
    light: bool = False


class Expert(ABC):
    """The protocol of all experts, from a page of signal processing to a model of many GPUs.

    A module of an expert imports heavy libraries only inside `__init__` and later, because the
    configuration is validated (through `Settings`, `resources` and `missing`) before anything is loaded.
    """

    Settings: ClassVar[type[Settings]] = Settings
    card: Card

    @abstractmethod
    def __init__(self, settings: Any) -> None:
        """Load what the settings name; raises InputError where that cannot be done."""

    @classmethod
    def resources(cls, settings: Any) -> Resources:
        """What one worker needs."""
        return Resources()

    @classmethod
    def reads_transcript(cls, settings: Any) -> bool:
        """Whether its descriptions already say what the transcript says: then nobody merges it in again."""
        return False

    @classmethod
    def previous_turns(cls, settings: Any) -> int:
        """How many turns of the dialogue before a clip the expert is told, in `Clip.before`."""
        return 0

    @classmethod
    def missing(cls, settings: Any) -> list[str]:
        """What is not there that this expert needs to run, one line each; looks, but loads nothing."""
        return []

    @classmethod
    def models(cls, settings: Any) -> list["NamedModel"]:
        """The checkpoints that these settings name. `key` is that of the expert, such as `model`."""
        return []

    @abstractmethod
    def describe(self, clips: Sequence[Clip]) -> list[list[Description] | RowError]:
        """Describe each clip: as many entries as clips, in their order.

        An entry is the samples of that clip (those that it names, else as many as were configured), or the
        RowError that made the clip fail. A failure of one clip never changes the entry of another. Raises
        only where no clip could have been described (the expert itself is broken).
        """

    def close(self) -> None:  # noqa: B027  (most experts hold nothing)
        """Give back what the expert holds."""
