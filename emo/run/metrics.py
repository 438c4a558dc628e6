"""What a running job tells Prometheus, through Ray's own metric API (prefix `ray_` in the exported names).

The driver counts, from what workers report of each shard: it lives as long as the job, while a worker may end
before its own metrics were collected.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any

# Seconds per clip: from a fusion (microseconds) to a long video through a large model.
_BOUNDARIES = [0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300]
# Ray drops a gauge that nobody has set for two of its reports, which come every ten seconds.
SET_EVERY_S = 5.0
_STATUSES = ("ok", "failed")
_DIRECTIONS = ("prompt", "output")


class Metrics:
    """The metrics of a pass that nobody collects."""

    def begin(self, left: Callable[[], int]) -> None:
        """Say from now on how many rows of the step are not done, also while none of them ends.

        left: how many those are now; called in a thread.
        """

    def shard(self, counts: Mapping[str, Any]) -> None:
        """Count one committed shard: ok, failed, seconds, prompt_tokens, output_tokens."""

    def lost(self, rows: int) -> None:
        """Count rows that failed because no worker survived them: no shard of theirs was committed."""

    def retried(self, rows: int) -> None:
        """Count rows that are tried again."""

    def end(self) -> None:
        """Nothing waits any more, also where rows were left over: they wait for another run."""


class PassMetrics(Metrics):
    """The metrics of one pass: clips by status, seconds per clip, tokens, rows waiting, rows tried again, and
    for how long the pass has been on.

    Every counter is there from the start, at zero: Prometheus sees no increase in a counter that appears with
    its first value.
    """

    def __init__(self, step: str) -> None:
        from ray.util.metrics import Counter, Gauge, Histogram

        self._step = {"step": step}
        self._clips = Counter("emo_clips", "Rows finished", tag_keys=("step", "status"))
        self._seconds = Histogram(
            "emo_seconds_per_clip", "Mean seconds per row of a shard", _BOUNDARIES, tag_keys=("step",)
        )
        self._tokens = Counter("emo_tokens", "Tokens in and out of models", tag_keys=("step", "direction"))
        self._waiting = Gauge("emo_waiting", "Rows of the running step that are not done", tag_keys=("step",))
        self._retries = Counter(
            "emo_retries", "Rows tried again because their worker died", tag_keys=("step",)
        )
        # A gauge may stay behind where a driver was killed. This no longer grows then.
        self._running = Counter(
            "emo_running_seconds", "Seconds that the step has been running", tag_keys=("step",)
        )
        self._over = threading.Event()
        self._timer: threading.Thread | None = None
        for status in _STATUSES:
            _start_at_zero(self._clips, {**self._step, "status": status})
        for direction in _DIRECTIONS:
            _start_at_zero(self._tokens, {**self._step, "direction": direction})
        for counter in (self._retries, self._running):
            _start_at_zero(counter, self._step)

    def begin(self, left: Callable[[], int]) -> None:
        self._waiting.set(left(), self._step)
        self._timer = threading.Thread(target=self._keep_saying, args=(left,), daemon=True)
        self._timer.start()

    def shard(self, counts: Mapping[str, Any]) -> None:
        for status in _STATUSES:
            if counts[status]:
                self._clips.inc(counts[status], {**self._step, "status": status})
        rows = counts["ok"] + counts["failed"]
        if rows:
            self._seconds.observe(counts["seconds"] / rows, self._step)
        for direction in _DIRECTIONS:
            if counts[f"{direction}_tokens"]:
                self._tokens.inc(counts[f"{direction}_tokens"], {**self._step, "direction": direction})

    def lost(self, rows: int) -> None:
        self._clips.inc(rows, {**self._step, "status": "failed"})

    def retried(self, rows: int) -> None:
        self._retries.inc(rows, self._step)

    def end(self) -> None:
        self._over.set()
        if self._timer is not None:
            # One that still asks Ray when the connection has been closed ends the whole process.
            self._timer.join()
            self._waiting.set(0, self._step)

    def _keep_saying(self, left: Callable[[], int]) -> None:
        while not self._over.wait(SET_EVERY_S):
            self._waiting.set(left(), self._step)
            self._running.inc(SET_EVERY_S, self._step)


def _start_at_zero(counter: Any, tags: dict[str, str]) -> None:
    # `inc` refuses a zero. What it does with other numbers does not.
    counter._record(0, tags)
