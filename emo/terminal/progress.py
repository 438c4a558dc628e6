"""What a person sees while a step runs: a bar on a terminal, a line every few seconds elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

LINE_EVERY_S = 5.0
BAR_EVERY_S = 0.2
BAR_WIDTH = 24
# What a training tells of a step, and how a person reads it.
FIGURES = {
    "loss": "loss {:.4f}",
    "held_out_loss": "held out {:.4f}",
    "f1": "F1 {:.4f}",
    "rate": "lr {:.1e}",
    "tokens_per_s": "{:.0f} tokens/s",
    "memory_gib": "{:.1f} GiB",
}


class Progress:
    """Counts one step's clips: done, failed, rate, time left. Writes to standard error.

    Threads may share it. bar: False where steps run side by side, because a terminal has room for one bar.
    """

    def __init__(
        self,
        step: str,
        total: int,
        stream: TextIO | None = None,
        now: Callable[[], float] = time.monotonic,
        bar: bool = True,
    ) -> None:
        self._step = step
        self._total = total
        self._stream = stream or sys.stderr
        self._now = now
        self._terminal = bar and self._stream.isatty()
        self._start = now()
        # The first line of a log comes at once, so that a person sees which step is on.
        self._shown_at = float("-inf")
        self._shown = 0
        self._doing = ""
        self._lock = threading.RLock()
        self.ok = 0
        self.failed = 0
        self._show()

    def add(self, ok: int, failed: int) -> None:
        """Count finished rows."""
        with self._lock:
            self.ok += ok
            self.failed += failed
            self._doing = ""
            self._show()

    def doing(self, text: str) -> None:
        """What is going on beside the counts; shown until rows are counted."""
        with self._lock:
            self._doing = text
            self._show()

    def note(self, text: str) -> None:
        """Say something that is not a count, on a line of its own."""
        with self._lock:
            start = "\r\x1b[K" if self._terminal else ""
            self._stream.write(f"{start}{self._step}: {text}\n")
            self._stream.flush()

    def finish(self) -> float:
        """Show the end state; the seconds that the step took."""
        if self._terminal or self._shown < self._total or self._total == 0:
            self._shown_at = float("-inf")
            self._show()
        if self._terminal:
            self._stream.write("\n")
            self._stream.flush()
        return self._now() - self._start

    def _show(self) -> None:
        every = BAR_EVERY_S if self._terminal else LINE_EVERY_S
        if self._now() - self._shown_at < every:
            return
        self._shown_at = self._now()
        self._shown = self.ok + self.failed
        text = self._text(self._now() - self._start)
        self._stream.write(f"\r\x1b[K{text}" if self._terminal else f"{text}\n")
        self._stream.flush()

    def _text(self, seconds: float) -> str:
        done = self.ok + self.failed
        share = done / self._total if self._total else 1.0
        bar = ""
        if self._terminal:
            filled = round(share * BAR_WIDTH)
            bar = f"[{'#' * filled}{'-' * (BAR_WIDTH - filled)}] "
        doing = f", {self._doing}" if self._doing else ""
        return f"{self._step}: {bar}{counts(done, self.failed, self._total, seconds)}{doing}"


def counts(done: int, failed: int, total: int, seconds: float, going_on: bool = True) -> str:
    """How far a step is after so many seconds: done (failed ones included), failed, rate and time left.

    going_on: false for a step that ended before all was done.
    """
    parts = [f"{done}/{total}", f"{failed} failed"]
    if done and seconds > 0:
        rate = done / seconds
        parts.append(f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each")
        if done < total and going_on:
            parts.append(f"{duration((total - done) / rate)} left")
        else:
            parts.append(f"took {duration(seconds)}")
    return ", ".join(parts)


def figures(values: Mapping[str, Any]) -> list[str]:
    """The figures of a training in words, those that are there."""
    return [words.format(values[name]) for name, words in FIGURES.items() if values.get(name) is not None]


def duration(seconds: float) -> str:
    """A length of time as a person says it: 8 s, 3 min 20 s, 5 h 12 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def say(line: str) -> None:
    """Tell a person something that is no result: on standard error, at once."""
    print(line, file=sys.stderr, flush=True)
