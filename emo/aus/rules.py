"""Emotions by rule from action units; the rules are data (`rules.yaml`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np
import yaml

from emo.aus.table import UnitTable

Variant = Literal["emfacs", "published"]


@dataclass(frozen=True)
class Limits:
    """Of intensities: from where a unit is active, an emotion slight, moderate, strong; height: of a peak of
    the sum over the units."""

    active: float
    slight: float
    moderate: float
    strong: float
    height: float

    def word(self, value: float) -> str:
        """What a mean intensity is called; `faint` below the least of them."""
        for name in ("strong", "moderate", "slight"):
            if value >= getattr(self, name):
                return name
        return "faint"


@dataclass(frozen=True)
class Rules:
    """One variant. emotions: the units of each; the rest as `rules.yaml` says."""

    variant: str
    emotions: Mapping[str, tuple[int, ...]]
    share: float
    least: int
    peak: str
    left_out: frozenset[int]
    limits: Limits
    distance: int
    names: Mapping[int, str]

    def fired(self, table: UnitTable, frame: int) -> list[tuple[str, float]]:
        """The emotions that fire in one frame with their mean intensities, the strongest first.

        One fires where the table has all of its units as present or absent, enough of them are present, and
        the mean intensity of those that have one is at least slight.
        """
        found = []
        for emotion, units in self.emotions.items():
            if not all(unit in table.present for unit in units):
                continue
            present = sum(bool(table.present[unit][frame]) for unit in units)
            strengths = [float(table.intensity[unit][frame]) for unit in units if unit in table.intensity]
            if present < max(self.share * len(units), self.least) or not strengths:
                continue
            if (mean := float(np.mean(strengths))) >= self.limits.slight:
                found.append((emotion, mean))
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))

    def active(self, table: UnitTable, frame: int) -> list[tuple[int, float]]:
        """The units that are active in one frame with their intensities, the strongest first."""
        found = [(unit, float(values[frame])) for unit, values in table.intensity.items()]
        return sorted(
            [(unit, value) for unit, value in found if value > self.limits.active],
            key=lambda pair: (-pair[1], pair[0]),
        )

    def sum(self, table: UnitTable) -> np.ndarray:
        """How much the face moves in each frame: float64 [frames]."""
        total = np.zeros(len(table))
        for unit, values in table.intensity.items():
            if unit in self.left_out:
                continue
            total += values if self.peak == "sum" else np.maximum(values - np.median(values), 0.0)
        return total


@cache
def load_rules(variant: str) -> Rules:
    """The rules of a variant (`emfacs` or `published`)."""
    data = yaml.safe_load((files("emo.aus") / "rules.yaml").read_text(encoding="utf-8"))
    one = data["variants"][variant]
    return Rules(
        variant=variant,
        emotions={name: tuple(units) for name, units in one["emotions"].items()},
        share=one["share"],
        least=one["least"],
        peak=one["peak"],
        left_out=frozenset(one["left_out"]),
        limits=Limits(**data["limits"]),
        distance=data["distance"],
        names=data["names"],
    )
