"""The expert `aus`: facial action units that OpenFace measured beforehand, and what rules read out of them.

OpenFace 2.2 (Baltrusaitis et al. 2018) is a program of its own with a licence of its own; its
`FeatureExtraction` writes one CSV per video. The rules are a heuristic, in two variants
(`emo/aus/rules.yaml`).
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from emo.aus.reading import in_words, read_clip
from emo.aus.rules import Variant, load_rules
from emo.aus.table import LEAST_CONFIDENCE
from emo.aus.tables import UnitTables, missing_tables
from emo.experts import measuring, protocol
from emo.experts.protocol import FACES, OWN_LICENCE, Card, Clip, Description

VERSION = "1"


class AusSettings(measuring.Settings):
    """Where the tables of action units are, and how they are read."""

    tables: str
    """The folder with the CSV of OpenFace for each clip, local or `s3://`: `ID.csv` for the clip whose
    `video_id` is `ID`. Where they lie beside the videos this is the folder of the videos. A piece of a longer
    video needs a table of its own.
    """
    rules: Variant = "emfacs"
    """Which units make which emotion: `emfacs` are the prototypes in short, `published` the wider lists and
    the arithmetic that stand behind MERR-style captions.
    """
    least_confidence: float = Field(LEAST_CONFIDENCE, ge=0, le=1)
    """The confidence of OpenFace from which a frame counts."""


class AusExpert(measuring.MeasuringExpert):
    """Says which action units are active at the strongest frame, and which emotions fire at the peaks."""

    Settings: ClassVar[type[protocol.Settings]] = AusSettings

    def __init__(self, settings: AusSettings) -> None:
        self._rules = load_rules(settings.rules)
        self._tables = UnitTables(settings.tables, settings.least_confidence)
        self.card = Card(
            name=settings.name,
            modalities=(FACES,),
            model="OpenFace action units, given",
            revision=f"{VERSION}; rules {settings.rules}",
            licence=f"{OWN_LICENCE}; OpenFace's own",
        )

    @classmethod
    def reads_transcript(cls, settings: AusSettings) -> bool:
        """It gives labels itself, so there is no text that words could be merged into."""
        return True

    @classmethod
    def missing(cls, settings: AusSettings) -> list[str]:
        return missing_tables(settings.tables)

    def describe_one(self, clip: Clip) -> Description:
        table = self._tables.of(clip.video_id)
        reading = read_clip(table, self._rules)
        text = in_words(reading, table, self._rules)
        if reading is None:
            return Description(text, degraded=(FACES,), labels=())
        return Description(text, labels=reading.labels)
