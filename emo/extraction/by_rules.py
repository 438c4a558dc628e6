"""The extractor that needs no model: the rules of `emo.extraction.rules`, one row at a time."""

from collections.abc import Sequence
from typing import Any

from emo.answers import read_answer
from emo.errors import RowError
from emo.experts.protocol import Resources
from emo.extraction.protocol import Extractor, ExtractRow, Reading


class RulesExtractor(Extractor):
    """Labels by rules; its name carries the version of the rules."""

    def __init__(self, settings: Any) -> None:
        from emo.extraction import rules

        self._read = rules.read_description
        self.name = f"rules-{rules.RULES_VERSION}"

    @classmethod
    def resources(cls, settings: Any) -> Resources:
        return Resources(light=True)

    def extract(self, rows: Sequence[ExtractRow]) -> list[list[str] | RowError]:
        return [row if isinstance(row, RowError) else row.labels for row in self.read(rows)]

    def read(self, rows: Sequence[ExtractRow]) -> list[Reading | RowError]:
        return [self._one(row) for row in rows]

    def _one(self, row: ExtractRow) -> Reading | RowError:
        answer = read_answer(row.text)
        if answer.text is None:
            return answer.error or Reading([])
        found = self._read(answer.text, row.transcript)
        return Reading(found.labels, found.alternatives)
