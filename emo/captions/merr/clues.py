"""The clues of a clip, and the texts that are made of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from emo.aus.reading import Reading, expression
from emo.aus.rules import Rules
from emo.aus.table import UnitTable
from emo.experts.prompts.plain import as_text
from emo.experts.protocol import AUDIO, FACES, FRAMES, TRANSCRIPT

_PLACE = re.compile(r"\{(time|face|scene|voice|words)\}")
# Clue -> what a clip lacks that has none.
_SENSES = {"face": FACES, "scene": FRAMES, "voice": AUDIO, "words": TRANSCRIPT}


@cache
def text_of(name: str) -> str:
    """A text of this folder, without the line feed at its end."""
    return (files("emo.captions.merr") / f"{name}.txt").read_text(encoding="utf-8").strip("\n")


@dataclass(frozen=True)
class Clues:
    """What was found in a clip. face: the active units in words; time: of the peak, seconds; scene, voice,
    words: texts; None: the clip has no such thing. labels: emotions that the rules find, the strongest first.
    """

    face: str | None
    time: str | None
    scene: str | None
    voice: str | None
    words: str | None
    labels: tuple[str, ...] = ()

    @property
    def absent(self) -> tuple[str, ...]:
        """What the clip lacks, as the column `degraded` names it."""
        return tuple(sense for clue, sense in _SENSES.items() if getattr(self, clue) is None)

    def coarse(self) -> str:
        """One line for each clue that there is; empty where there is none."""
        lines = []
        for line in text_of("coarse").splitlines():
            wanted = _PLACE.findall(line)
            if all(getattr(self, name) is not None for name in wanted):
                lines.append(_PLACE.sub(lambda place: str(getattr(self, place[1])), line))
        return "\n".join(lines)

    def question(self, label: str | None) -> str:
        """What the text model is asked for the fine caption; label: what it is told."""
        told = "" if label is None else text_of("label").replace("{label}", as_text(label))
        asked = text_of("fine").replace("{label line}", told).strip()
        return asked.replace("{clues}", as_text(self.coarse()))


def clues_of(
    reading: Reading | None,
    rules: Rules,
    scene: str | None,
    voice: str | None,
    words: str | None,
) -> Clues:
    """The clues of a clip. A face without an active unit is told of as such; a face that was not found is
    none."""
    face = time = None
    if reading is not None:
        face = expression(reading.strongest, rules) or "no clear expression"
        time = f"{reading.strongest.time_s:.2f}"
    labels = tuple(name for name, _ in reading.labels) if reading is not None else ()
    return Clues(face, time, _line(scene), _line(voice), _line(words), labels)


def _line(text: str | None) -> str | None:
    """On one line: a line of the form is a clue."""
    return " ".join(text.split()) or None if text is not None else None


def told(clues: Clues, reading: Reading | None, table: UnitTable, rules: Rules) -> dict[str, Any]:
    """The clues as MER-Factory's files name them (`MERR` in docs/systems.md)."""
    peaks: list[Mapping[str, Any]] = []
    strongest: dict[str, Any] | None = None
    if reading is not None:
        peaks = [
            {
                "timestamp": round(peak.time_s, 3),
                "frame_number": peak.frame,
                "emotions": [
                    {"emotion": name, "intensity": round(value, 3), "strength": rules.limits.word(value)}
                    for name, value in peak.emotions
                ],
            }
            for peak in reading.peaks
        ]
        strongest = {
            "frame_number": reading.strongest.frame,
            "timestamp": round(reading.strongest.time_s, 3),
            "top_aus_intensities": {
                f"AU{unit:02d}_r": round(value, 3) for unit, value in reading.strongest.units
            },
        }
    return {
        "frame_count": table.total,
        "rules": rules.variant,
        "emotions": list(clues.labels),
        "chronological_emotion_peaks": peaks,
        "overall_peak_frame_info": strongest,
        "coarse_descriptions_at_peak": {
            "visual_expression": clues.face,
            "visual_objective": clues.scene,
            "audio_analysis": clues.voice,
            "subtitle": clues.words,
        },
    }
