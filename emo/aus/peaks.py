"""The peak frame of a clip, for whoever is shown one frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from emo.aus.reading import Reading, read_clip
from emo.aus.rules import Rules, Variant, load_rules
from emo.aus.table import LEAST_CONFIDENCE, UnitTable
from emo.aus.tables import UnitTables


@dataclass(frozen=True)
class Peaks:
    """Where faces move most, by the tables of a folder; the fields are the settings of the expert `aus`."""

    tables: str
    rules: Variant = "emfacs"
    least_confidence: float = LEAST_CONFIDENCE

    @cached_property
    def _read(self) -> tuple[UnitTables, Rules]:
        return UnitTables(self.tables, self.least_confidence), load_rules(self.rules)

    def of(self, video_id: str) -> tuple[UnitTable, Reading | None]:
        """The table of a clip and what the rules read in it; raises RowError as `UnitTables.of` does."""
        tables, rules = self._read
        table = tables.of(video_id)
        return table, read_clip(table, rules)

    def place(self, video_id: str, frame_times: Sequence[float]) -> int:
        """Which of a clip's frames lies nearest to its peak; the middle one where no face was found.

        frame_times: seconds from the start of the clip. Raises RowError as `of` does.
        """
        _, reading = self.of(video_id)
        if reading is None:
            return len(frame_times) // 2
        return int(np.abs(np.asarray(frame_times) - reading.strongest.time_s).argmin())
