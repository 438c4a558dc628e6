"""An expert for the tests of rounds: what it answers follows from the clip's name and the answer's number."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from emo.errors import RowError
from emo.experts import protocol
from emo.experts.protocol import Card, Clip, Description, Expert
from emo.marks import NoResult

KIND = "wavering:Wavering"
WORDS = ("happy", "sad", "angry", "afraid", "proud", "bored", "jealous")


class Settings(protocol.Settings):
    """mind: another one answers otherwise; hold: while this file is there, a later round of `torn2` waits."""

    mind: str = "usual"
    hold: NoResult[str | None] = None


class Wavering(Expert):
    """`sure`: always happy; `torn`: another word each time; `late`: from its third answer on always sad;
    `mute`: no word; `broken`: fails.
    """

    Settings: ClassVar[type[protocol.Settings]] = Settings
    # (expert, clip, number) in the order in which this process was asked.
    asked: ClassVar[list[tuple[str, str, int]]] = []

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.card = Card(settings.name, ("frames",), "wavering")

    def describe(self, clips: Sequence[Clip]) -> list[list[Description] | RowError]:
        return [self._describe(clip) for clip in clips]

    def _describe(self, clip: Clip) -> list[Description] | RowError:
        numbers = range(self._settings.samples) if clip.samples is None else clip.samples
        self.asked += [(self._settings.name, clip.video_id, number) for number in numbers]
        if clip.video_id == "torn2" and numbers[0] and self._settings.hold:
            Path(f"{self._settings.hold}.reached").touch()
            while Path(self._settings.hold).exists():
                time.sleep(0.02)
        if clip.video_id.startswith("broken"):
            return RowError("expert_error", "it never answers this clip")
        return [self._answer(clip.video_id, number) for number in numbers]

    def _answer(self, clip: str, number: int) -> Description:
        text = f"{self._settings.name} on {clip}, answer {number}, {self._settings.mind}"
        word: str | None = WORDS[number % len(WORDS)]
        if clip.startswith("sure") or self._settings.mind == "made up":
            word = "happy"
        elif clip.startswith("late") and number > 1:
            word = "sad"
        elif clip.startswith("mute"):
            word = None
        return Description(text, labels=((word, 1.0),) if word else ())


if __name__ == "__main__":
    # `emo` as a process whose workers find this expert: they search the folder of their program.
    from emo.cli import main

    sys.exit(main(sys.argv[1:]))
