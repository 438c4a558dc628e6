"""The sounds that a subtitle notes in brackets, such as `[laughs]` or `(sobbing)`.

Subtitles for people who do not hear note what is no word. Whoever wrote them heard the clip, so a note is
good evidence that the sound is there. What the sound means is less sure: people laugh out of embarrassment
too.
"""

import re
from typing import Any, ClassVar

from pydantic import Field

from emo.experts import measuring, protocol
from emo.experts.protocol import TRANSCRIPT, Card, Clip, Description

# Written beside every description: another version here tells rows of two rules apart.
_REVISION = "sound-notes-1"
_NOTE = re.compile(r"\[([^\[\]]*)\]|\(([^()]*)\)")
_SOUNDS = {
    "amused": re.compile(r"\b(laugh|chuckl|giggl)", re.IGNORECASE),
    "sad": re.compile(r"\b(sob|cry|cries|weep)", re.IGNORECASE),
    "surprised": re.compile(r"\bgasp", re.IGNORECASE),
}


class Settings(measuring.Settings):
    """strength: how much a noted sound counts in the co-judgment, above 0 and at most 1."""

    strength: float = Field(0.5, gt=0, le=1)


class SoundNotesExpert(measuring.MeasuringExpert):
    """Reads the notes of sounds in a transcript, in English; everything else that is said it leaves alone."""

    Settings: ClassVar[type[protocol.Settings]] = Settings

    def __init__(self, settings: Any) -> None:
        self._strength = settings.strength
        self.card = Card(settings.name, (TRANSCRIPT,), "sound-notes", _REVISION)

    def describe_one(self, clip: Clip) -> Description:
        if not clip.transcript:
            return Description("There is no transcript.", degraded=(TRANSCRIPT,), labels=())
        notes = ["".join(found.groups("")).strip() for found in _NOTE.finditer(clip.transcript)]
        heard = [(note, label) for note in notes for label, sound in _SOUNDS.items() if sound.search(note)]
        if not heard:
            return Description("The transcript notes no sound that is known here.", labels=())
        told = ", ".join(f"“{note}”, which goes with being {label}" for note, label in heard)
        labels = tuple((label, self._strength) for label in dict.fromkeys(label for _, label in heard))
        return Description(f"The transcript notes {told}.", labels=labels)
