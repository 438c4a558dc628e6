"""What a running job tells Prometheus, through Ray's own metric API (prefix `ray_` in the exported names).

The driver counts, from what workers report of each shard: it lives as long as the job, while a worker may end
before its own metrics were collected.
"""

from typing import Any

# Seconds per clip: from a fusion (microseconds) to a long video through a large model.
_BOUNDARIES = [0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300]


class PassMetrics:
    """The metrics of one pass: clips by status, seconds per clip, tokens, rows waiting, rows tried again."""

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

    def shard(self, counts: dict[str, Any]) -> None:
        """Count one committed shard: ok, failed, seconds, prompt_tokens, output_tokens."""
        for status in ("ok", "failed"):
            if counts[status]:
                self._clips.inc(counts[status], {**self._step, "status": status})
        rows = counts["ok"] + counts["failed"]
        if rows:
            self._seconds.observe(counts["seconds"] / rows, self._step)
        for direction in ("prompt", "output"):
            if counts[f"{direction}_tokens"]:
                self._tokens.inc(counts[f"{direction}_tokens"], {**self._step, "direction": direction})

    def waiting(self, rows: int) -> None:
        """Set how many rows of the step are not done."""
        self._waiting.set(rows, self._step)

    def retried(self, rows: int) -> None:
        """Count rows that are tried again."""
        self._retries.inc(rows, self._step)
