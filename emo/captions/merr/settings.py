"""The part `caption.merr` of the configuration."""

from typing import Literal

from pydantic import model_validator

from emo.engines.settings import EngineSettings
from emo.extraction.writers import TextServerSettings
from emo.section import Section


class Merr(Section):
    """Captions in the manner of MERR: the action units at the peak frame, the scene there, the tone of the
    voice and the words, in a form (coarse) and as a text model tells them (fine). With `model` or `server`
    both kinds are made, without them the coarse kind alone.
    """

    faces: str = "aus"
    """The name of the expert of kind `aus`, whose tables and rules are read."""
    scene: str
    """The name of the expert that describes the peak frame. It is shown this frame alone."""
    tone: str
    """The name of the expert that describes the voice."""
    model: EngineSettings | None = None
    """The text model that writes the fine captions, run by the worker."""
    server: TextServerSettings | None = None
    """The text model that writes the fine captions, behind a server that speaks the OpenAI protocol."""
    label: Literal["none", "rules", "gold"] = "none"
    """The label that the text model is told. With `none` it finds out itself. `rules` are the emotions that
    the action units stand for, as in MERR. `gold` is the polarity of `--gold`. A caption made with a label
    is `label_conditioned` in its row.
    """

    @model_validator(mode="after")
    def _one(self) -> "Merr":
        if self.model is not None and self.server is not None:
            raise ValueError("expected model or server, not both")
        if self.label != "none" and self.text_model is None:
            raise ValueError("label is told to a text model: give model or server")
        return self

    @property
    def text_model(self) -> EngineSettings | TextServerSettings | None:
        """The one that is given."""
        return self.model or self.server
