"""What a person sees while a run trains: a line with loss, rate, speed, time left and memory."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from emo.store.runs import StepRecord
from emo.terminal.progress import BAR_EVERY_S, FIGURES, LINE_EVERY_S, duration, figures

# Of so many steps at the most the run file tells the loss.
CURVE_POINTS = 400


def line(name: str, steps: int, record: Mapping[str, Any], seconds_per_step: float | None) -> str:
    """One line about a step. record: step, loss, rate, tokens_per_s, memory_gib, held_out_loss (or None)."""
    parts = [f"step {record['step']}/{steps}", *figures(record)]
    if seconds_per_step is not None and record["step"] < steps:
        parts.insert(-1, f"{duration((steps - record['step']) * seconds_per_step)} left")
    return f"finetune {name}: {', '.join(parts)}"


def enter(told: StepRecord, steps: int, record: Mapping[str, Any]) -> None:
    """Enter a record into what the run file says of a training of so many steps."""
    before = record["step"] - 1
    # Those of an earlier command; workers that start again may go back behind where this one began.
    told.skipped = min(told.skipped, before) if told.figures else before
    told.rows, told.ok = steps - told.skipped, record["step"] - told.skipped
    told.workers = told.cpus = record.get("workers", told.workers)
    told.gpus = told.workers if told.gpus else 0.0
    # The held-out loss comes with few steps, and stays until the next one.
    told.figures |= {name: record[name] for name in FIGURES if record.get(name) is not None}
    held_out = record.get("held_out_loss")
    told.curve = [point for point in told.curve if point[0] < record["step"]]
    if held_out is not None or record["step"] % -(-steps // CURVE_POINTS) == 0:
        told.curve.append([record["step"], record["loss"], held_out])


class Live:
    """Shows the newest record: over the same line on a terminal, every few seconds elsewhere.

    told: what the run file says of the training; it is kept up with the records.
    """

    def __init__(
        self,
        name: str,
        steps: int,
        told: StepRecord | None = None,
        stream: TextIO | None = None,
    ) -> None:
        self.also: Callable[[Mapping[str, Any]], None] = lambda record: None  # is given each record too
        self._name, self._steps = name, steps
        self._told = told
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._first: tuple[int, float] | None = None
        self._shown_at = float("-inf")

    def add(self, record: Mapping[str, Any]) -> None:
        """Take one record; a step that was repeated after a failure counts once."""
        self.also(record)
        if self._told is not None:
            enter(self._told, self._steps, record)
        if self._first is None or record["step"] <= self._first[0]:
            self._first = (record["step"], time.monotonic())
        done = record["step"] - self._first[0]
        each = (time.monotonic() - self._first[1]) / done if done else None
        last = record["step"] == self._steps
        every = BAR_EVERY_S if self._terminal else LINE_EVERY_S
        if not last and time.monotonic() - self._shown_at < every:
            return
        self._shown_at = time.monotonic()
        text = line(self._name, self._steps, record, each)
        self._stream.write(f"\r\x1b[K{text}" if self._terminal else f"{text}\n")
        if last and self._terminal:
            self._stream.write("\n")
        self._stream.flush()

    def note(self, text: str) -> None:
        """Say something on a line of its own."""
        self._stream.write(f"{chr(13)}\x1b[K{text}\n" if self._terminal else f"{text}\n")
        self._stream.flush()
