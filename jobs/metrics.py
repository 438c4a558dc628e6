"""What a running job tells Prometheus, through Ray's own metric API (prefix `ray_` in the exported names)."""

import pyarrow as pa
import pyarrow.compute as pc

# Seconds per clip: from a fusion (microseconds) to a long video through a large model.
_BOUNDARIES = [0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300]


class WorkerMetrics:
    """Counted inside a worker: clips by step and status, seconds per clip, tokens."""

    def __init__(self, step: str) -> None:
        from ray.util.metrics import Counter, Histogram

        self._step = {"step": step}
        self._clips = Counter("emo_clips", "Rows finished", tag_keys=("step", "status"))
        self._seconds = Histogram(
            "emo_seconds_per_clip", "Mean seconds per row of a shard", _BOUNDARIES, tag_keys=("step",)
        )
        self._tokens = Counter("emo_tokens", "Tokens in and out of models", tag_keys=("step", "direction"))

    def shard(self, result: pa.Table, rows: int, failed: int, seconds: float) -> None:
        """Count one committed shard."""
        for status, count in (("ok", rows - failed), ("failed", failed)):
            if count:
                self._clips.inc(count, {**self._step, "status": status})
        if rows:
            self._seconds.observe(seconds / rows, self._step)
        for direction, column in (("prompt", "prompt_tokens"), ("output", "output_tokens")):
            tokens = pc.sum(result.column(column)).as_py() if column in result.column_names else None
            if tokens:
                self._tokens.inc(tokens, {**self._step, "direction": direction})


class DriverMetrics:
    """Counted by the driver: rows that wait, rows that were lost with a worker and tried again."""

    def __init__(self, step: str) -> None:
        from ray.util.metrics import Counter, Gauge

        self._step = {"step": step}
        self._waiting = Gauge("emo_waiting", "Rows of the running step that are not done", tag_keys=("step",))
        self._retries = Counter(
            "emo_retries", "Rows tried again because their worker died", tag_keys=("step",)
        )

    def waiting(self, rows: int) -> None:
        """Set how many rows of the step are not done."""
        self._waiting.set(rows, self._step)

    def retried(self, rows: int) -> None:
        """Count rows that are tried again."""
        self._retries.inc(rows, self._step)
