"""The section `judge` of the configuration."""

from collections.abc import Mapping
from dataclasses import replace

from pydantic import Field, field_validator, model_validator

from emo.cojudgment.rule import Learned, Rule
from emo.engines.settings import EngineSettings
from emo.errors import InputError
from emo.extraction.writers import TextServerSettings
from emo.section import Section


class Adjudicate(Section):
    """A text model that decides where the voters disagree. It picks from the labels that they named. Either
    `model` or `server` is given.
    """

    below: float = Field(0.3, ge=0, le=1)
    """The model is asked about clips whose agreement is lower than this, from 0 to 1."""
    model: EngineSettings | None = None
    """A text model that the worker runs."""
    server: TextServerSettings | None = None
    """A text model behind a server that speaks the OpenAI protocol."""

    @model_validator(mode="after")
    def _one(self) -> "Adjudicate":
        if (self.model is None) == (self.server is None):
            raise ValueError("expected either model or server")
        return self

    @property
    def text_model(self) -> EngineSettings | TextServerSettings:
        """The one that is given."""
        one = self.model or self.server
        assert one is not None
        return one


class Judge(Section):
    """How the votes for a clip become its labels."""

    trade_off: str | float = "balanced"
    """The balance between recall and precision: `recall`, `balanced` or `precision`. A number from 0 to 1 is
    the share of support that a label needs.
    """
    learned: str | None = None
    """A file that `emo judge --calibrate` or `--estimate` wrote. It says how much each expert counts."""
    adjudicate: Adjudicate | None = None
    """A text model that decides where agreement is low. With `null` the votes decide everywhere."""

    max_labels: int | None = Field(None, ge=1)
    """The most labels that a clip keeps, its best ones. `null` keeps all that win."""

    @field_validator("trade_off")
    @classmethod
    def _known(cls, value: str | float) -> str | float:
        try:
            Rule.of(value)
        except InputError as error:
            raise ValueError(str(error)) from None
        return value

    smoothing: float = Field(0, ge=0, lt=1)
    """How much the scores of a clip take of those of the turns of its speaker right before and after it, by
    the columns `dialogue_id`, `turn` and `speaker` of the manifest. `emo judge --calibrate GOLD --smoothing`
    recommends a factor. With 0 every clip is judged alone.
    """

    def rule(self, priors: Mapping[str, float] | None = None) -> Rule:
        """The rule of these settings; raises InputError where the learned file is not one.

        priors: expert -> its weight as it is set (`experts.weight`).
        """
        learned = Learned.load(self.learned) if self.learned else None
        return replace(Rule.of(self.trade_off, learned, priors, self.max_labels), smoothing=self.smoothing)
