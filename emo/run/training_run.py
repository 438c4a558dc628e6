"""A training as a run of OUT: its run file says how far it is, and how it ended."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from emo.config import Config
from emo.run.session import SAVE_EVERY_S, kept, save
from emo.store.lease import Lease
from emo.store.runs import Run, StepRecord, new_run_id
from emo.store.storage import Storage


class TrainingRun:
    """The run file of a training. It takes no lease of OUT: other runs may go on beside it."""

    def __init__(self, run: Run, out: Storage, lease: Lease) -> None:
        self.run = run
        self._out, self._lease = out, lease
        self._began = self._saved = 0.0

    @contextmanager
    def doing(self, step: StepRecord) -> Iterator[None]:
        """A step of the training; the run file tells of it while it goes on."""
        self.run.steps.append(step)
        self._began = self._saved = time.monotonic()
        save(self.run, self._out)
        try:
            yield
        finally:
            self._clock()
            save(self.run, self._out)

    def go_on(self) -> None:
        """Called now and then within a step; raises EmoError where the folder is not held any more."""
        if time.monotonic() - self._saved >= SAVE_EVERY_S:
            self._saved = time.monotonic()
            self._clock()
            save(self.run, self._out)
        self._lease.check()

    def _clock(self) -> None:
        self.run.steps[-1].seconds = time.monotonic() - self._began


@contextmanager
def training_run(config: Config, out: Storage, name: str, lease: Lease) -> Iterator[TrainingRun]:
    """The run of a training, for the holder of its folder; its file is kept whatever happens."""
    now = datetime.now(UTC)
    run = Run(new_run_id(out, now, name), "finetune", None, config.model_dump(mode="json"), now.isoformat())
    lease.carry(run.run_id)
    with kept(run, out):
        yield TrainingRun(run, out, lease)
