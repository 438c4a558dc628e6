"""The section `split` of the configuration."""

import math
from typing import Literal

from pydantic import Field, model_validator

from emo.marks import NoResult
from emo.section import Section, Workers


class Split(Section):
    """Whether recordings are cut into pieces, and where. Each piece that is kept becomes a clip."""

    by: Literal["auto", "subtitles", "speech", "shots", "fixed"] | None = None
    """What decides where a piece begins and ends. `auto` takes subtitles where there are any, else speech,
    else shots. With `null` no file is cut.
    """
    at_shots: bool = False
    """Whether pieces are also cut where the shot changes."""
    shortest_s: float = Field(1.0, ge=0)
    """The seconds that a piece lasts at least. A shorter one is left out."""
    longest_s: float = Field(15.0, gt=0)
    """The seconds that a piece lasts at most. A longer one is cut where that can be told, else left out."""
    pause_s: float = Field(1.0, ge=0)
    """Two cues of subtitles that are further apart than this belong to two utterances."""
    silence_s: float = Field(0.3, gt=0)
    """A silence of so many seconds ends a piece that was found by speech."""
    window_s: float = Field(10.0, gt=0)
    """The length of each piece of `fixed`."""
    step_s: float = Field(10.0, gt=0)
    """The time from the start of one piece of `fixed` to the start of the next."""
    least_speech: float | None = Field(None, ge=0, le=1)
    """The share of a piece in which somebody has to speak, from 0 to 1. A piece with less is left out. With
    `null` none is.
    """
    without_music: bool = False
    """Whether a piece is left out where nobody speaks and its sound is music, as far as that can be told."""
    least_light: float | None = Field(None, ge=0, le=1)
    """The brightness that the middle frames of a piece have at least, from 0 for black to 1 for white. A
    darker piece is left out. With `null` none is.
    """
    people: bool = False
    """Whether the faces in the middle frames of each piece are counted, also where no filter asks for it."""
    fewest_faces: int | None = Field(None, ge=0)
    """The faces that the middle frames of a piece show at least. A piece with fewer is left out. With `null`
    none is.
    """
    most_faces: int | None = Field(None, ge=0)
    """The faces that the middle frames of a piece show at most. A piece with more is left out. With `null`
    none is.
    """
    deadline_s: NoResult[float] = Field(3600.0, gt=0)
    """The seconds that one look at a recording may take. A recording that takes longer fails."""
    workers: NoResult[Workers] = "auto"
    """The number of recordings that are split at once. `auto` is one for each CPU of the cluster."""

    @model_validator(mode="after")
    def _in_order(self) -> "Split":
        if self.shortest_s >= self.longest_s:
            raise ValueError("expected shortest_s below longest_s")
        if (self.fewest_faces or 0) > (self.most_faces if self.most_faces is not None else math.inf):
            raise ValueError("expected fewest_faces of at most most_faces")
        return self

    @property
    def counts_people(self) -> bool:
        """Whether faces are counted."""
        return self.people or self.fewest_faces is not None or self.most_faces is not None
