"""A clip's action units in words: the peak frame, what is active there, which emotions fire at the peaks."""

from dataclasses import dataclass

import numpy as np

from emo.aus.rules import Rules
from emo.aus.table import TOP, UnitTable


@dataclass(frozen=True)
class Peak:
    """A moment in which the face moves most.

    row: of the table; time_s, frame: in the video; units: (number, intensity) of those that are active,
    emotions: (name, mean intensity) of those that fire, both the strongest first.
    """

    row: int
    time_s: float
    frame: int
    units: tuple[tuple[int, float], ...]
    emotions: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Reading:
    """What the rules read in a clip. strongest: the peak frame; peaks: all peaks in the order of time."""

    strongest: Peak
    peaks: tuple[Peak, ...]

    @property
    def labels(self) -> tuple[tuple[str, float], ...]:
        """The emotions that fire at any peak, best first, each with its greatest share of the scale."""
        best: dict[str, float] = {}
        for peak in (self.strongest, *self.peaks):
            for name, value in peak.emotions:
                best[name] = max(best.get(name, 0.0), value / TOP)
        return tuple(sorted(best.items(), key=lambda pair: (-pair[1], pair[0])))


def read_clip(table: UnitTable, rules: Rules) -> Reading | None:
    """The reading of a clip; None where no frame has a face.

    The strongest frame is that with the greatest sum over the whole clip, the first of equal ones. A peak is
    a frame whose sum stands out from its neighbours and is at least the limit of the rules.
    """
    from scipy.signal import find_peaks

    if not len(table):
        return None
    total = rules.sum(table)
    found, _ = find_peaks(total, height=rules.limits.height, distance=rules.distance)
    peaks = tuple(_peak(table, rules, int(row)) for row in found)
    return Reading(_peak(table, rules, int(np.argmax(total))), peaks)


def _peak(table: UnitTable, rules: Rules, row: int) -> Peak:
    return Peak(
        row=row,
        time_s=float(table.times[row]),
        frame=int(table.frames[row]),
        units=tuple(rules.active(table, row)),
        emotions=tuple(rules.fired(table, row)),
    )


def expression(peak: Peak, rules: Rules) -> str:
    """The active units in words: `lip corner puller (AU12, strong), cheek raiser (AU06, slight)`."""
    return ", ".join(
        f"{rules.names.get(unit, 'action unit')} (AU{unit:02d}, {rules.limits.word(value)})"
        for unit, value in peak.units
    )


def in_words(reading: Reading | None, table: UnitTable, rules: Rules) -> str:
    """The description of a clip."""
    if reading is None:
        return f"No face was found in any of {table.total} frames, so no action unit was read."
    share = f"A face was found in {len(table)} of {table.total} frames."
    peak = reading.strongest
    seen = expression(peak, rules)
    if not seen:
        return f"{share} No action unit is active, so the face shows no clear expression."
    sentences = [share, f"At its strongest, {peak.time_s:.2f} s, the face shows {seen}."]
    for one in reading.peaks:
        if one.emotions:
            fits = ", ".join(f"{name} ({rules.limits.word(value)})" for name, value in one.emotions)
            sentences.append(f"Peak at {one.time_s:.2f} s: {fits}.")
    if reading.labels:
        names = " or ".join(name for name, _ in reading.labels)
        sentences.append(f"By the rules ({rules.variant}) this goes with being {names}; it is a heuristic.")
    else:
        sentences.append(f"No rule ({rules.variant}) goes with this.")
    return " ".join(sentences)
