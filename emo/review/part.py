"""Which part of a file a clip is; apart, so that the process that makes files imports little."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Seconds from the first frame of a file; end_s: None: to the end of the file."""

    start_s: float = 0.0
    end_s: float | None = None
