"""What is said, as a voter of its own: the extractor's text model reads the emotions off the words.

For `extract.transcript: apart`, where the words are merged into nobody's description.
"""

from typing import Any, ClassVar

from emo.experts import protocol
from emo.experts.measuring import MeasuringExpert, Settings
from emo.experts.protocol import OWN_LICENCE, TRANSCRIPT, Card, Clip, Description

_REVISION = "transcript-1"


class TranscriptExpert(MeasuringExpert):
    """Hands on what is said in the clip; adds nothing."""

    Settings: ClassVar[type[protocol.Settings]] = Settings

    def __init__(self, settings: Any) -> None:
        self.card = Card(settings.name, (TRANSCRIPT,), "transcript", _REVISION, licence=OWN_LICENCE)

    @classmethod
    def reads_transcript(cls, settings: Any) -> bool:
        return True

    def describe_one(self, clip: Clip) -> Description:
        said = (clip.transcript or "").strip()
        if not said:
            return Description("There is no transcript.", degraded=(TRANSCRIPT,))
        return Description(f"The person says: “{said}”")
