"""Rows of a manifest that are a part of their file: their times, and the ids that such clips get."""

import math
import re
from typing import Any

from emo.errors import InputError
from emo.sources.record import is_missing, short

START, END = "start_s", "end_s"
# Corpora of this field have clips of 1 to 15 s; what is longer than this holds more than one emotion.
LONG_S = 60.0
# Milliseconds of up to 277 hours, so that the ids of one file sort in time. `end` comes after all digits.
_DIGITS = 9
_TO_THE_END = "end"
PIECE = rf"/\d{{{_DIGITS},}}-(?:\d{{{_DIGITS},}}|{_TO_THE_END})$"
"""The end of the id of a clip that is a part of a file, behind the id of the file."""
_PIECE = re.compile(rf"(.+){PIECE}", re.DOTALL)


def fragment(start_s: float | None, end_s: float | None) -> str:
    """The part of a file that a browser plays, behind its address (W3C Media Fragments); empty for all."""
    # To the millisecond, however long the file is.
    return "" if start_s is None else f"#t={start_s:.10g}" + ("" if end_s is None else f",{end_s:.10g}")


def piece_id(recording: str, start_s: float, end_s: float | None) -> str:
    """The id of a part of a file: the file's own id and both times in milliseconds.

    A slash stands between them: clips that share the part before the last slash are of one video, as for
    captions and their splits.
    """
    end = _TO_THE_END if end_s is None else f"{round(1000 * end_s):0{_DIGITS}d}"
    return f"{recording}/{round(1000 * start_s):0{_DIGITS}d}-{end}"


def recording_of(video_id: str) -> str:
    """The id of the file that a clip is a part of, by the form of its id; else its own."""
    found = _PIECE.fullmatch(video_id)
    return found[1] if found else video_id


def read_times(values: dict[str, Any], where: str) -> tuple[float | None, float | None]:
    """Start and end of a row in seconds; both None: all of the file. An end of None is the end of the file.

    Raises InputError, which names the row, where a time is no number or negative, or the end is not after the
    start.
    """
    start, end = (_seconds(values.get(name), where, name) for name in (START, END))
    if end is not None and start is None:
        start = 0.0
    if start is not None and end is not None and end <= start:
        raise InputError(f"{where}: end_s is {end:g} and start_s {start:g}; the end comes after the start")
    return start, end


def _seconds(value: Any, where: str, column: str) -> float | None:
    if is_missing(value):
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise InputError(f"{where}: {column} is {short(value)}, expected a number of seconds")
    if seconds < 0:
        raise InputError(f"{where}: {column} is {short(value)}, which is before the beginning of the file")
    return seconds
