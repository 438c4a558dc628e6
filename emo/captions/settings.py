"""The section `caption` of the configuration."""

import re
from collections.abc import Callable
from typing import Literal

from pydantic import Field, field_validator, model_validator

from emo.captions.merr.settings import Merr
from emo.captions.rules import FILTERS, Rules
from emo.captions.splits import SPLITS, VIDEO_OF
from emo.captions.windows import Window, parse_window
from emo.section import Section
from emo.store.s3 import S3Settings


class Caption(Section):
    """What `emo caption` makes, and what its filters leave out."""

    merr: Merr | None = None
    """Captions in the manner of MERR, in place of those that `experts`, `prompts`, `windows`, `samples` and
    `target` ask for.
    """
    experts: tuple[str, ...] | None = None
    """The names of the experts that write captions. `null` is all of them."""
    prompts: tuple[str, ...] = Field(("person", "face", "body", "situation", "voice"), min_length=1)
    """The prompts that experts are asked: names of the package, or text files."""
    windows: tuple[str, ...] = Field(("0-100", "0-50", "50-100"), min_length=1)
    """The parts of a clip that are shown, in per cent of its length."""
    samples: int | Literal["auto"] = "auto"
    """How often an expert is asked the same, from 1 to 100. `auto` is as often as the target needs."""
    target: int | None = Field(None, ge=1)
    """The number of captions that the filters shall leave to train on. `null` makes one for each
    combination.
    """
    filters: dict[str, bool] = Field({})
    """Filters that are switched off: the name of a filter with `false`."""
    tail: float = Field(Rules.tail, ge=0, lt=0.5)
    """The share at each end of a prompt's lengths, in words, that is left out."""
    shortest: int = Field(Rules.shortest, ge=0)
    """The fewest words of a caption. A Chinese character counts as one."""
    longest: int = Field(Rules.longest, ge=1)
    """The most words of a caption. A Chinese character counts as one."""
    repeated: float = Field(Rules.repeated, ge=0, le=1)
    """The largest share of runs of four words that may stand in a caption twice."""
    language: str | None = Field(Rules.language, pattern="^[a-z]{2}$")
    """The language that captions must be in, as a code such as `en`. `null` is any language."""
    margin: float = Field(Rules.margin, ge=0, le=1)
    """The mean valence, from 0 to 1, beyond which a caption counts as positive or negative."""
    crowd_least: int = Field(Rules.crowd_least, ge=1)
    """The number of other experts with an opinion that make a crowd. Fewer leave a caption unchecked."""
    crowd_share: float = Field(Rules.crowd_share, ge=0, le=1)
    """The share of the crowd that must agree with the emotions of a caption."""
    duplicate: float = Field(Rules.duplicate, gt=0, le=1)
    """The Jaccard similarity of runs of three words from which two captions are near-duplicates."""
    duplicates_among: Literal["clip", "all"] = "clip"
    """Where near-duplicates are looked for: among the captions of one `clip`, or among `all`."""
    splits: dict[str, float] = Field({"train": 0.9, "validation": 0.05, "test": 0.05})
    """The shares of the splits `train`, `validation` and `test`. They sum to 1."""
    video_of: str = VIDEO_OF
    """A pattern with one group. The group finds in a whole video_id the video that a clip was cut from, so
    that clips of one video share a split. The default takes the dialogue out of ids as MELD and IEMOCAP have
    them, and the part before the last slash out of others.
    """
    split_table: str | None = None
    """A table with a column `video_id` and the one that `split_by` names, used in place of `video_of`."""
    split_by: str | None = None
    """The column of `split_table` by which the splits are made, such as a speaker or a film. Clips with the
    same value share a split.
    """

    @field_validator("windows")
    @classmethod
    def _windows(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_window(text)
        return value

    @field_validator("samples")
    @classmethod
    def _samples(cls, value: int | str) -> int | str:
        if isinstance(value, int) and not 1 <= value <= 100:
            raise ValueError("expected auto or a whole number from 1 to 100")
        return value

    @field_validator("filters")
    @classmethod
    def _filters(cls, value: dict[str, bool]) -> dict[str, bool]:
        if unknown := sorted(value.keys() - FILTERS.keys()):
            raise ValueError(f"unknown filter {', '.join(unknown)}; expected some of: {', '.join(FILTERS)}")
        return value

    @field_validator("splits")
    @classmethod
    def _splits(cls, value: dict[str, float]) -> dict[str, float]:
        shares = {split: value.get(split, 0.0) for split in SPLITS}
        if value.keys() - set(SPLITS) or min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1e-6:
            raise ValueError(f"expected shares of {', '.join(SPLITS)} that sum to 1")
        return shares

    @field_validator("video_of")
    @classmethod
    def _video_of(cls, value: str) -> str:
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"is no pattern: {error}") from None
        if groups != 1:
            raise ValueError(f"expected a pattern with one group, not {groups}")
        return value

    @model_validator(mode="after")
    def _one_manner(self) -> "Caption":
        if self.merr is not None and (self.experts, self.samples, self.target) != (None, "auto", None):
            raise ValueError("merr makes its own captions: leave out experts, samples and target")
        return self

    @model_validator(mode="after")
    def _split_by_a_column(self) -> "Caption":
        if (self.split_table is None) != (self.split_by is None):
            raise ValueError("split_table and split_by go together: a table, and a column of it")
        return self

    def grouping(self, s3: S3Settings) -> Callable[[str], str]:
        """What names the group of a clip, whose clips share a split; raises InputError as `groups` does."""
        # What reads tables takes longer to import than all of the configuration.
        from emo.captions.groups import grouping

        return grouping(self.video_of, self.split_table, self.split_by, s3)

    def rules(self) -> Rules:
        """The filters' bounds."""
        bounds = {name: getattr(self, name) for name in Rules.__dataclass_fields__ if hasattr(self, name)}
        return Rules(on=frozenset(name for name in FILTERS if self.filters.get(name, True)), **bounds)

    def parts(self) -> list[Window]:
        """The windows, each once."""
        return [parse_window(text) for text in dict.fromkeys(self.windows)]
