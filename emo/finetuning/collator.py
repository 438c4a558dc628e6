"""Prepared samples → batches for the model."""

from collections.abc import Sequence
from pathlib import Path

from emo.finetuning.collate import Batch, collate
from emo.finetuning.masking import Encoder, TrainingInput
from emo.finetuning.prepared import ClipReader, Entry
from emo.finetuning.settings import Finetune
from emo.store.storage import Storage


def encoder(settings: Finetune, model: Path) -> Encoder:
    """The encoder of a run."""
    return Encoder(
        settings.family,
        model,
        max_frames=settings.max_frames,
        max_tokens=settings.max_tokens,
        trust_remote_code=settings.trust_remote_code,
    )


class Collator:
    """Makes the batches of places in a list of samples."""

    def __init__(self, run: Storage, settings: Finetune, model: Path, entries: Sequence[Entry]) -> None:
        self.encoder = encoder(settings, model)
        self._reader = ClipReader(run)
        self._entries = entries
        self._dummy: TrainingInput | None = None
        self._always = settings.zero == 3 or not (settings.freeze.vision and settings.freeze.projector)

    def batch(self, places: Sequence[int]) -> Batch:
        """One batch of these samples, with the dummy row where it is needed."""
        chosen = [self._entries[place] for place in places]
        rows = [self.encoder.encode(entry.sample, self._reader.clip(entry)) for entry in chosen]
        if self._dummy is None:
            self._dummy = self.encoder.dummy()
        dummy = self._dummy if self._always or not rows else None
        names = [entry.sample_id for entry in chosen]
        return collate(rows, self.encoder.preprocessor, self.encoder.pad_token, dummy, names)
