"""What every expert is: a batch of clips in, one or more descriptions per clip out, aligned with the input."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from emo.errors import RowError

FRAMES = "frames"
AUDIO = "audio"
TRANSCRIPT = "transcript"


@dataclass(frozen=True)
class Clip:
    """One row of the `clips` table as an expert sees it.

    frames: JPEG images, RGB, in time order; frame_times: seconds, as many as frames; audio: FLAC, 16 kHz
    mono, or None where the clip has no sound; transcript: what is said, or None; language: a code such as
    `en` or `zh`, or None where it is not known.
    """

    video_id: str
    frames: tuple[bytes, ...]
    frame_times: tuple[float, ...]
    audio: bytes | None
    transcript: str | None
    language: str | None
    duration_s: float


@dataclass(frozen=True)
class Description:
    """What one expert wrote about one clip, once.

    degraded: the modalities that the expert wanted and that the clip does not have.
    """

    text: str
    degraded: tuple[str, ...] = ()
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    finish_reason: str | None = None


@dataclass(frozen=True)
class Card:
    """What an expert is made of; written beside every description."""

    name: str
    modalities: tuple[str, ...]
    model: str
    revision: str | None = None
    adapter: str | None = None
    prompt_sha: str | None = None


class Expert(Protocol):
    """The protocol of all experts, from a page of signal processing to a model of many GPUs."""

    card: Card

    def describe(self, clips: Sequence[Clip]) -> list[list[Description] | RowError]:
        """Describe each clip: as many entries as clips, in their order.

        An entry is the samples of that clip (as many as were configured), or the RowError that made the
        clip fail. A failure of one clip never changes the entry of another. Raises only where no clip
        could have been described (the expert itself is broken).
        """
        ...
