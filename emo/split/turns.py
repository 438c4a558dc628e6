"""Who speaks when, as a program or a server said it: RTTM or JSON to turns, and turns to pieces."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from emo.errors import RowError
from emo.split.segment import Segment

# Of RTTM (NIST, The Rich Transcription Evaluation Plan): kind, file, channel, begin, length, two fields that
# turns have no use for, and the name.
_KIND, _BEGIN, _LENGTH, _NAME = 0, 3, 4, 7
_TURN = "SPEAKER"
_SHOWN = 200


@dataclass(frozen=True)
class Turn:
    """Somebody speaks: seconds of the recording, and a name."""

    start_s: float
    end_s: float
    speaker: str


def read_turns(text: str) -> list[Turn]:
    """Turns sorted by their start. Raises RowError, `bad_turns`, where the text is neither RTTM nor JSON.

    JSON is a list of mappings with `start`, `end` and `speaker`, or a mapping that has it as `segments`.
    """
    begins = text.lstrip()[:1]
    try:
        found = list(_of_json(json.loads(text)) if begins and begins in "[{" else _of_rttm(text))
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        told = " ".join(text.split())[:_SHOWN]
        raise RowError(
            "bad_turns", f"expected RTTM or JSON with start, end and speaker; got {told!r} ({error})"
        ) from None
    return sorted(found, key=lambda turn: (turn.start_s, turn.end_s, turn.speaker))


def _of_json(found: Any) -> Iterator[Turn]:
    for one in found["segments"] if isinstance(found, dict) else found:
        yield _turn(one["start"], one["end"], one["speaker"])


def _of_rttm(text: str) -> Iterator[Turn]:
    for line in text.splitlines():
        fields = line.split()
        if not fields or fields[0].startswith(";"):
            continue
        if not fields[_KIND].isupper() or len(fields) <= _NAME:
            raise ValueError(f"{line[:_SHOWN]!r} is no line of RTTM")
        if fields[_KIND] == _TURN:
            begin = float(fields[_BEGIN])
            yield _turn(begin, begin + float(fields[_LENGTH]), fields[_NAME])


def _turn(start: Any, end: Any, speaker: Any) -> Turn:
    start_s, end_s, name = float(start), float(end), str(speaker).strip()
    if not (math.isfinite(start_s) and math.isfinite(end_s) and end_s >= start_s >= 0 and name):
        raise ValueError(f"a turn of {speaker!r} from {start!r} to {end!r}")
    return Turn(start_s, end_s, name)


def changes(turns: Sequence[Turn], shortest_s: float) -> list[float]:
    """When another person begins to speak. A turn shorter than this is a word thrown in: it is none."""
    long = [turn for turn in turns if turn.end_s - turn.start_s >= shortest_s]
    return [after.start_s for before, after in pairwise(long) if after.speaker != before.speaker]


def named(segments: Sequence[Segment], turns: Sequence[Turn]) -> list[Segment]:
    """The segments with who speaks most of the time in each; a name that its subtitle gives stays."""
    found: list[Segment] = []
    first = 0
    longest = max((turn.end_s - turn.start_s for turn in turns), default=0.0)
    for one in segments:
        # Segments are sorted by their start, and no turn reaches further back than the longest one.
        while first < len(turns) and turns[first].start_s + longest <= one.start_s:
            first += 1
        spoken: dict[str, float] = {}
        for turn in turns[first:]:
            if turn.start_s >= one.end_s:
                break
            common = min(turn.end_s, one.end_s) - max(turn.start_s, one.start_s)
            if common > 0:
                spoken[turn.speaker] = spoken.get(turn.speaker, 0.0) + common
        most = max(spoken, key=lambda name: (spoken[name], name), default=None)
        found.append(one if one.speaker is not None else replace(one, speaker=most))
    return found
