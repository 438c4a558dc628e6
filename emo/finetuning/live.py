"""What a person sees while a run trains: a line with loss, rate, speed, time left and memory."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from emo.terminal.progress import BAR_EVERY_S, LINE_EVERY_S, duration


def line(name: str, steps: int, record: Mapping[str, Any], seconds_per_step: float | None) -> str:
    """One line about a step. record: step, loss, rate, tokens_per_s, memory_gib, held_out_loss (or None)."""
    parts = [f"step {record['step']}/{steps}", f"loss {record['loss']:.4f}"]
    if record.get("held_out_loss") is not None:
        parts.append(f"held out {record['held_out_loss']:.4f}")
    parts += [f"lr {record['rate']:.1e}", f"{record['tokens_per_s']:.0f} tokens/s"]
    if seconds_per_step is not None and record["step"] < steps:
        parts.append(f"{duration((steps - record['step']) * seconds_per_step)} left")
    parts.append(f"{record['memory_gib']:.1f} GiB")
    return f"finetune {name}: {', '.join(parts)}"


class Live:
    """Shows the newest record: over the same line on a terminal, every few seconds elsewhere."""

    def __init__(
        self,
        name: str,
        steps: int,
        stream: TextIO | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.also: Callable[[Mapping[str, Any]], None] = lambda record: None  # is given each record too
        self._name, self._steps, self._now = name, steps, now
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._first: tuple[int, float] | None = None
        self._shown_at = float("-inf")

    def add(self, record: Mapping[str, Any]) -> None:
        """Take one record; a step that was repeated after a failure counts once."""
        self.also(record)
        if self._first is None or record["step"] <= self._first[0]:
            self._first = (record["step"], self._now())
        done = record["step"] - self._first[0]
        each = (self._now() - self._first[1]) / done if done else None
        last = record["step"] == self._steps
        every = BAR_EVERY_S if self._terminal else LINE_EVERY_S
        if not last and self._now() - self._shown_at < every:
            return
        self._shown_at = self._now()
        text = line(self._name, self._steps, record, each)
        self._stream.write(f"\r\x1b[K{text}" if self._terminal else f"{text}\n")
        if last and self._terminal:
            self._stream.write("\n")
        self._stream.flush()

    def note(self, text: str) -> None:
        """Say something on a line of its own."""
        self._stream.write(f"{chr(13)}\x1b[K{text}\n" if self._terminal else f"{text}\n")
        self._stream.flush()
