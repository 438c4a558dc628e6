"""Utterances from the cues of subtitles: joined by pause, sentence end and marks of speakers."""

import math
import re
from collections.abc import Iterable
from dataclasses import replace

from emo.media.cues import Cue
from emo.media.transcript import join
from emo.split.segment import Segment

_SENTENCE = re.compile(r"""(?:[.!?。！？](?<!\.\.)|…。)["'”’»」』)\]]*\s*$""")
_DASH = re.compile(r"\s*[-–—‐]\s*\S")
_NAME = re.compile(r"\s*\[?([A-ZÀ-Þ][\w.'’ -]{0,30}?)\]?\s*[:：]\s")
# Cues that follow each other often overlap by a frame.
_OVERLAP_S = 0.1


def utterances(cues: Iterable[Cue], pause_s: float, longest_s: float, length_s: float) -> list[Segment]:
    """The utterances of a recording of `length_s`, sorted: each cue with words is in one of them.

    A cue longer than `longest_s` stays whole, since where in it a word is said cannot be told. Cues whose
    times are not known, or lie outside of the recording, are in none.
    """
    timed = [
        replace(cue, start=max(0.0, cue.start), end=min(cue.end, length_s))
        for cue in cues
        if cue.lines and math.isfinite(cue.start) and math.isfinite(cue.end) and cue.start < length_s
    ]
    groups: list[list[Cue]] = []
    for cue in sorted((cue for cue in timed if cue.end > cue.start), key=lambda cue: cue.start):
        if groups and _goes_on(groups[-1], cue, pause_s, longest_s):
            groups[-1].append(cue)
        else:
            groups.append([cue])
    found: list[Segment] = []
    for group in groups:
        # Two people who speak at once: the times of pieces do not overlap, the words stay where they are.
        start = max(group[0].start, found[-1].end_s if found else 0.0)
        end = max(cue.end for cue in group)
        if end <= start:
            earlier = found.pop()
            start, group_text = earlier.start_s, f"{earlier.text} {join(group)}"
            found.append(Segment(start, max(end, earlier.end_s), group_text))
        else:
            found.append(Segment(start, end, join(group), speaker_of(group[0])))
    return found


def speaker_of(cue: Cue) -> str | None:
    """The name that the format gives, or that stands before the words of a cue, as in `ANNA: Come in.`"""
    if cue.speaker is not None:
        return cue.speaker
    marks = [found[1].strip() for line in cue.lines if (found := _NAME.match(line + " "))]
    return marks[0] if len(marks) == 1 else None


def _goes_on(group: list[Cue], cue: Cue, pause_s: float, longest_s: float) -> bool:
    last = max(group, key=lambda one: one.end)
    if max(cue.end, last.end) - group[0].start > longest_s:
        return False
    if cue.start < last.end - _OVERLAP_S:
        return True
    another = cue.speaker is not None and cue.speaker != group[-1].speaker
    speaks_up = another or _DASH.match(cue.lines[0]) or _NAME.match(cue.lines[0] + " ")
    return not (speaks_up or cue.start - last.end > pause_s or _SENTENCE.search(group[-1].lines[-1]))
