"""The section `split` of the configuration."""

import math
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from emo.marks import NoResult
from emo.section import Section, Workers


class Diarise(Section):
    """A program or a server that says who speaks when. emo guesses no speakers itself."""

    command: tuple[SecretStr, ...] = ()
    """A program and its arguments. It gets the path of the recording's sound (WAV, 16 kHz, mono) as its last
    argument, and writes RTTM or JSON to its standard output. Run files do not show it.
    """
    url: NoResult[str | None] = None
    """The http(s) address of a server, in place of a command. It gets the same sound by POST, and answers
    the same.
    """
    api_key_env: NoResult[str | None] = None
    """The name of the environment variable that holds the key of the server. It is sent as a bearer token."""
    timeout_s: NoResult[float] = Field(3600.0, gt=0)
    """The seconds that one recording may take. A recording that takes longer fails."""
    at_turns: bool = False
    """Whether pieces are also cut where another person begins to speak, for at least `split.shortest_s`."""

    @field_validator("url")
    @classmethod
    def _is_a_plain_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected an http(s) URL such as http://host:8000/diarise")
        # Anywhere: a password with a slash in it is no user information to a parser.
        if "@" in url or parts.query:
            raise ValueError("no credentials in the URL; name an environment variable with api_key_env")
        return url

    @model_validator(mode="after")
    def _one_of_them(self) -> "Diarise":
        if self.command and self.url:
            raise ValueError("expected command or url, got both")
        return self


class Split(Section):
    """Whether recordings are cut into pieces, and where. Each piece that is kept becomes a clip."""

    by: Literal["auto", "subtitles", "speech", "shots", "fixed"] | None = None
    """What decides where a piece begins and ends. `auto` takes subtitles where there are any, else speech,
    else shots. With `null` no file is cut.
    """
    at_shots: bool = False
    """Whether pieces are also cut where the shot changes."""
    diarise: Diarise | None = None
    """Who says who speaks. With `null` only a mark in the subtitles does."""
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
