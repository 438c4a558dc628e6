"""Utterances from subtitles: joined by pause, sentence and speaker; no word lost, none twice."""

import itertools
import random
import re
from collections import Counter

import pytest

from emo.media.cues import Cue, parse
from emo.media.transcript import read_cues
from emo.split.subtitles import utterances

_WORDS = (
    "night",
    "was",
    "long",
    "nobody",
    "came",
    "open",
    "the",
    "old",
    "door",
    "we",
    "sat",
    "down",
    "waited",
)


def cue(start: float, end: float, *lines: str) -> Cue:
    return Cue(start, end, lines)


def texts(*cues: Cue, pause_s: float = 1.0, longest_s: float = 15.0, length_s: float = 7200.0) -> list[str]:
    return [one.text or "" for one in utterances(cues, pause_s, longest_s, length_s)]


def test_cues_are_joined_up_to_the_end_of_a_sentence():
    assert texts(
        cue(1, 2, "I thought that you"),
        cue(2.2, 3, "would be here."),
        cue(3.1, 4, "Where were you?"),
        cue(4.1, 5, "No…"),
    ) == ["I thought that you would be here.", "Where were you?", "No…"]
    # Three dots go on.
    assert texts(cue(1, 2, "I thought..."), cue(2.1, 3, "never mind.")) == ["I thought... never mind."]
    assert texts(cue(1, 2, "你好。"), cue(2.1, 3, "再见")) == ["你好。", "再见"]


def test_a_pause_and_the_bound_on_length_end_an_utterance():
    assert texts(cue(1, 2, "one"), cue(3.5, 4, "two")) == ["one", "two"]
    assert texts(cue(1, 2, "one"), cue(3.5, 4, "two"), pause_s=2.0) == ["one two"]
    assert texts(cue(0, 4, "one"), cue(4, 8, "two"), cue(8, 12, "three"), longest_s=9.0) == [
        "one two",
        "three",
    ]


def test_a_mark_of_a_speaker_begins_an_utterance_and_its_name_is_kept():
    found = utterances([cue(1, 2, "ANNA: Is it"), cue(2, 3, "BEN: is it what")], 1.0, 15.0, 100.0)
    assert [(one.speaker, one.text) for one in found] == [("ANNA", "ANNA: Is it"), ("BEN", "BEN: is it what")]
    assert texts(cue(1, 2, "- and then"), cue(2, 3, "- what then")) == ["- and then", "- what then"]
    # Two people in one cue: nobody knows who.
    (both,) = utterances([cue(1, 2, "ANNA: Yes.", "BEN: No.")], 1.0, 15.0, 100.0)
    assert both.speaker is None


def test_people_who_speak_at_once_are_in_one_utterance_and_pieces_do_not_overlap():
    cues = [cue(1, 5, "I am telling you."), cue(2, 3, "No."), cue(4.5, 9, "Listen."), cue(8.9, 12, "Fine.")]
    found = utterances(cues, 1.0, 6.0, 100.0)
    said = " ".join(one.text for one in found)
    assert sorted(said.split()) == ["Fine.", "I", "Listen.", "No.", "am", "telling", "you."]
    assert all(one.end_s <= other.start_s for one, other in itertools.pairwise(found))


def test_times_that_are_not_known_or_outside_of_the_recording_make_no_piece():
    nan = float("nan")
    assert texts(
        cue(nan, nan, "lost"), cue(5, 4, "backwards"), cue(99, 101, "over the end"), length_s=100.0
    ) == ["over the end"]
    assert texts(cue(100, 101, "behind it"), length_s=100.0) == []
    (one,) = utterances([cue(99, 101, "over the end")], 1.0, 15.0, 100.0)
    assert (one.start_s, one.end_s) == (99, 100)


def script(seed: int) -> list[tuple[float, float, str]]:
    """Two hours of cues: every word is its own, a few cues overlap."""
    chance = random.Random(seed)
    cues, at, word = [], 3.0, 0
    while at < 7190:
        words = []
        for _ in range(chance.randint(1, 9)):
            words.append(f"{chance.choice(_WORDS)}{word}")
            word += 1
        length = chance.uniform(0.8, 5.0)
        cues.append(
            (round(at, 2), round(at + length, 2), " ".join(words) + chance.choice(["", "", ".", "?", "..."]))
        )
        at += length + chance.choice([-0.3, 0.0, 0.08, 0.5, 1.5, 6.0])
    return cues


def clock(seconds: float, comma: str, digits: int = 3) -> str:
    whole = round(seconds * 1000)
    hours, rest = divmod(whole, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    fraction = f"{rest % 1000:03d}"[:digits]
    return f"{hours:0{2 if digits == 3 else 1}d}:{minutes:02d}:{rest // 1000:02d}{comma}{fraction}"


def srt(cues):
    # Numbers are missing here and there, and tags stand in the lines.
    for number, (start, end, text) in enumerate(cues, 1):
        yield (
            f"{number}\n" if number % 7 else ""
        ) + f"{clock(start, ',')} --> {clock(end, ',')}\n<i>{text}</i>\n\n"


def vtt(cues):
    yield "WEBVTT\n\nNOTE nobody says this\n\n"
    for start, end, text in cues:
        yield f"{clock(start, '.')} --> {clock(end, '.')} position:50%\n<v Anna>{text}\n\n"


def ass(cues):
    yield "[Script Info]\nScriptType: v4.00+\n\n[Events]\n"
    yield "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
    for start, end, text in cues:
        yield f"Dialogue: 0,{clock(start, '.', 2)},{clock(end, '.', 2)},Default,,0,0,0,,{{\\i1}}{text}\\N\n"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("write", [srt, vtt, ass])
def test_of_two_hours_of_subtitles_no_word_is_lost_and_none_stands_twice(write, seed):
    cues = script(seed)
    read = read_cues(f"film.{write.__name__}", "".join(write(cues)).encode())
    found = utterances(read.cues, 1.0, 15.0, 7200.0)
    said = Counter(re.findall(r"\w+", " ".join(one.text for one in found)))
    assert said == Counter(re.findall(r"\w+", " ".join(text for _, _, text in cues)))
    assert set(said.values()) == {1}
    assert all(one.end_s <= other.start_s for one, other in itertools.pairwise(found))
    # Utterances are longer than cues, and few are too long.
    assert len(found) < 0.8 * len(cues)
    assert max(one.length_s for one in found) <= 15.0


VTT = """WEBVTT

00:01.000 --> 00:02.000
<v Anna>I thought that you

00:02.100 --> 00:03.000
<v Anna>would be here.</v>

00:03.100 --> 00:04.000
<v.loud Ben &amp; Co>And I

00:04.100 --> 00:05.000
<v Carl>No</v> <v Dora>Yes</v>
"""
ASS = """[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:01.00,0:00:02.00,Default,Anna,0,0,0,,I thought that you
Dialogue: 0,0:00:02.10,0:00:03.00,Default,Anna,0,0,0,,would be here.
Dialogue: 0,0:00:03.10,0:00:04.00,Default,Ben & Co,0,0,0,,And I
Dialogue: 0,0:00:04.10,0:00:05.00,Default,,0,0,0,,No Yes
"""


@pytest.mark.parametrize("text", [VTT, ASS])
def test_a_speaker_that_the_format_names_begins_an_utterance_and_is_kept(text):
    parsed = parse(text)
    found = utterances(parsed.cues, 1.0, 15.0, 60.0)
    assert [(one.speaker, one.text) for one in found] == [
        ("Anna", "I thought that you would be here."), ("Ben & Co", "And I No Yes")
    ]  # fmt: skip
