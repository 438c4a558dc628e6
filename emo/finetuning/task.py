"""A finetuning run as all of its workers know it."""

from dataclasses import dataclass
from typing import Any

from emo.finetuning import batching
from emo.finetuning.settings import Finetune
from emo.store.storage import Storage


@dataclass(frozen=True)
class Task:
    """name: of the run; place: its folder in OUT, with the prepared samples; data: their fingerprint and
    counts, see `prepared.about`.
    """

    name: str
    settings: Finetune
    place: Storage
    data: dict[str, Any]

    @property
    def steps(self) -> int:
        """How many optimizer steps the run has in all."""
        settings = self.settings
        # A run that another version prepared has no weights.
        count = self.data.get("epoch", self.data["train"])
        return batching.steps_in(count, settings.batch, settings.epochs, settings.max_steps)

    @property
    def asks(self) -> bool:
        """Whether every checkpoint answers held-out samples."""
        return self.settings.validation.samples > 0 and self.data["held_out"] > 0
