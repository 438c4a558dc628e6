"""The section `split` of the configuration."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from emo.marks import NoResult


class Split(BaseModel):
    """Whether recordings are cut into pieces, and where.

    by: what decides; `auto` is subtitles where there are any, else speech, else shots; null: nothing is cut.
    at_shots: pieces are cut where the shot changes, too. shortest_s, longest_s: what a piece lasts; a shorter
    one is left out, a longer one cut where that can be told. pause_s: cues further apart belong to two
    utterances; silence_s: so does speech. window_s, step_s: of `fixed`. least_speech: the share of a piece in
    which somebody speaks, 0 to 1, below which it is left out; null: not asked. deadline_s: seconds that one
    look at a recording may take; workers: recordings at once, `auto`: one per CPU of the cluster.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Literal["auto", "subtitles", "speech", "shots", "fixed"] | None = None
    at_shots: bool = False
    shortest_s: float = Field(1.0, ge=0)
    longest_s: float = Field(15.0, gt=0)
    pause_s: float = Field(1.0, ge=0)
    silence_s: float = Field(0.3, gt=0)
    window_s: float = Field(10.0, gt=0)
    step_s: float = Field(10.0, gt=0)
    least_speech: float | None = Field(None, ge=0, le=1)
    deadline_s: NoResult[float] = Field(3600.0, gt=0)
    workers: NoResult[int | Literal["auto"]] = "auto"

    @model_validator(mode="after")
    def _in_order(self) -> "Split":
        if self.shortest_s >= self.longest_s:
            raise ValueError("expected shortest_s below longest_s")
        if isinstance(self.workers, int) and self.workers < 1:
            raise ValueError("workers: expected auto or a whole number of at least 1")
        return self
