"""What makes a label win: the rule of the co-judgment, and the file that keeps what was learned for it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emo.errors import InputError

TRADE_OFFS: Mapping[str, float] = {
    "recall": 0.08,
    "recall-leaning": 0.15,
    "balanced": 0.18,
    "precision-leaning": 0.22,
    "precision": 0.28,
}
"""The knob between recall and precision -> the bar. What each gives is measured by
benchmarks/judge_quality.py; the paper of MER2024-OV describes the trade-off."""

LATER = 1 / 3
"""A voter's label counts one over its place, from the third on LATER: experts name first what they are surest
of (OV-MERD: 58, 50, 45, 39 % of the first to fourth labels of ten zero-shot models are right, 71, 59, 53,
49 % of AffectGPT's). benchmarks/judge_choice.py compares rules. With labels that count less than a third, F
of seven answers moves with every hundredth of the bar; with this it is the same for bars of 0.17 to 0.19."""

LEAST = 0.3
"""A strength that a voter gives itself counts as it is, never less than this."""


def worth_of_place(place: np.ndarray) -> np.ndarray:
    """What a label counts by its place in its voter's list, from 0: float64."""
    return np.maximum(1 / (1.0 + place), LATER)


VERSION = 2
"""Of what a vote counts, whatever was learned. Judgments of another version are made anew."""

_FORMAT = "emo-judge-1"


@dataclass(frozen=True)
class Learned:
    """What a set of votes teaches about its experts, and a gold set about labels too.

    source: `given`, `estimated` (without gold) or `calibrated` (on gold). weights: expert -> how much its
    voters count, above 0, 1 as usual. bars: cluster (or a word outside the vocabulary) -> how much higher
    (above 1) or lower its bar is than the rule's. clips: on how many clips it was learned.
    """

    source: str
    weights: Mapping[str, float] = field(default_factory=dict)
    bars: Mapping[str, float] = field(default_factory=dict)
    clips: int = 0

    def __post_init__(self) -> None:
        for what, values in (("weight", self.weights), ("bar", self.bars)):
            for name, value in values.items():
                if not 0 < value < float("inf"):
                    raise InputError(f"judge: the {what} of {name!r} is {value}; expected a number above 0")

    @property
    def sha(self) -> str:
        """Eight digits that change with the content."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]

    def save(self, path: Path | str, **told: Any) -> None:
        """Write it as JSON for a later run to name; told: what a person may want to know of it."""
        content = {"format": _FORMAT, **asdict(self), **told}
        text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
        target = Path(path)
        part = target.with_name(target.name + ".part")
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(target)

    @classmethod
    def load(cls, path: Path | str) -> "Learned":
        """Read what `save` wrote; raises InputError that says what is wrong with the file."""
        try:
            content: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise InputError(f"{path}: is not JSON: {error}") from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise InputError(f"{path}: is not a file of `emo judge --calibrate` (format {_FORMAT})")
        try:
            return cls(
                source=str(content["source"]),
                weights={str(name): float(value) for name, value in content["weights"].items()},
                bars={str(name): float(value) for name, value in content["bars"].items()},
                clips=int(content["clips"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{path}: is damaged: {error!r}") from error


@dataclass(frozen=True)
class Rule:
    """A label wins where its support reaches the bar.

    Support: the sum over the voters that gave the label of what their mark is worth (see LATER), as a share
    of what all voters of the clip could have given; experts count by their weights. share: the bar, 0 to 1;
    it is the same for any number of voters. The label that most voters gave, if two or more did, wins without
    it, and where nothing wins the best label does.

    priors: expert -> what its votes count where nothing was learned, above 0; 1 for an expert that is not
    named. The fewer voters of a clip did not give a label, the closer to 1 they are taken for it.
    max_labels: of the labels that win, so many of the best stay; None: all. smoothing: how much the scores of
    a clip take of those of its neighbours (`emo.cojudgment.smoothing`), 0 to below 1.
    """

    share: float = TRADE_OFFS["balanced"]
    learned: Learned | None = None
    priors: Mapping[str, float] = field(default_factory=dict)
    max_labels: int | None = None
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise InputError(f"judge: smoothing is {self.smoothing}; expected a number from 0 to below 1")
        if not 0 <= self.share <= 1:
            raise InputError(f"judge: share is {self.share}; expected a number from 0 to 1")
        if self.max_labels is not None and self.max_labels < 1:
            raise InputError(f"judge: max_labels is {self.max_labels}; expected at least 1")
        for name, value in self.priors.items():
            if not 0 < value < float("inf"):
                raise InputError(f"judge: the weight of {name!r} is {value}; expected a number above 0")

    @property
    def refuses_contradictions(self) -> bool:
        """Whether a lone label that all better ones contradict loses: not where recall is asked for."""
        return self.share >= TRADE_OFFS["balanced"]

    @classmethod
    def of(
        cls,
        trade_off: str | float,
        learned: Learned | None = None,
        priors: Mapping[str, float] | None = None,
        max_labels: int | None = None,
    ) -> "Rule":
        """The rule of a setting of the knob, or of a share; raises InputError for any other word."""
        if not isinstance(trade_off, str):
            return cls(float(trade_off), learned, priors or {}, max_labels)
        if trade_off not in TRADE_OFFS:
            raise InputError(f"judge: no setting {trade_off!r}; expected {', '.join(TRADE_OFFS)}, or a share")
        return cls(TRADE_OFFS[trade_off], learned, priors or {}, max_labels)

    @property
    def judge(self) -> str:
        """What stands in the `judge` column: the setting, and what was learned by source and digest."""
        named = {share: name for name, share in TRADE_OFFS.items()}
        base = named.get(self.share, f"share-{self.share:g}")
        if self.max_labels is not None:
            base += f"+at-most-{self.max_labels}"
        if self.smoothing:
            base += f"+smoothed-{self.smoothing:g}"
        weighed = self.learned is None or not self.learned.weights
        if weighed and (told := {name: one for name, one in self.priors.items() if one != 1}):
            base += f"+priors-{hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]}"
        return base if self.learned is None else f"{base}+{self.learned.source}-{self.learned.sha}"
