"""Where a cue begins and ends, in any form of its times; what rolls or grows is written once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emo.media.cues import Cue
from emo.media.transcript import join
from sidecars import words


def test_cues_without_empty_lines_between_them_are_told_apart() -> None:
    lines = "1\n00:00:01,000 --> 00:00:02,000\nOne.\n2\n00:00:03,000 --> 00:00:04,000\nTwo.\n"
    assert words(lines) == "One. Two."


def test_rolling_captions_are_written_once() -> None:
    rolling = """WEBVTT

00:00:00.000 --> 00:00:02.000
I told you

00:00:02.000 --> 00:00:02.010
I told you

00:00:02.010 --> 00:00:04.000
I told you
that it would

00:00:04.000 --> 00:00:06.000
that it would
break again
"""
    assert words(rolling, "a.vtt") == "I told you that it would break again"


def test_a_caption_that_grows_is_written_once() -> None:
    cues = [Cue(0, 1, ("I told",)), Cue(1, 2, ("I told you",)), Cue(2, 3, ("I told you so.",))]
    assert join(cues) == "I told you so."


def test_what_is_said_again_after_a_pause_stays() -> None:
    assert (
        join([Cue(0, 1, ("No.",)), Cue(2, 3, ("No.",)), Cue(5, 6, ("No.", "Never."))]) == "No. No. No. Never."
    )


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(["x", "y"])), max_size=8))
def test_cues_with_pauses_are_joined_whole(lines: list[tuple[str, str]]) -> None:
    cues = [Cue(10 * i, 10 * i + 1, pair) for i, pair in enumerate(lines)]
    assert join(cues) == " ".join(word for pair in lines for word in pair)


HELLO = (
    "1\n00:00:01,000 --> 00:00:02,000\nHello.\n\n2\n{times}\nI hate you.\n\n"
    "3\n00:00:08,000 --> 00:00:09,000\nBye.\n"
)


@pytest.mark.parametrize(
    "times",
    [
        "00:00:03 --> 00:00:04",
        "00:03 --> 00:04",
        "0:0:3,5 --> 0:0:4,5",
        "00:00:03:500 --> 00:00:04:500",
        "00:00:03;500 --> 00:00:04;500",
        "00:00:03,123456 --> 00:00:04,123456",
        "-00:00:01,000 --> 00:00:04,000",
        "00:00:03.-500 --> 00:00:04.-100",
        "00:00:03,000 -> 00:00:04,000",
        "00:00:03,000 – > 00:00:04,000",
        "00:00:03,000 –> 00:00:04,000",
        "00:00:03,000 → 00:00:04,000",
        "00:00:03,000 -- > 00:00:04,000",
        "00:00:03,000 --&gt; 00:00:04,000",
        "00:00:03,000-->00:00:04,000 X1:40 X2:600 Y1:20 Y2:50",
        "00:00:03.000 --> 00:00:04.000 align:start position:0%",
        "00 : 00 : 03 , 000 --> 00: 00: 04 ,000",
        "0:00:03.000,0:00:04.000",
        "00:00:03,000 00:00:04,000",
        "00:00:0O,000 --> 00:00:04,000",
        "00:00:03,000 -->",
        "--> 00:00:04,000",
        "[00:00:03.000 --> 00:00:04.000]",
        "00h00m03s --> 00h00m04s",
        "00：00：03，000 --> 00：00：04，000",
        pytest.param("9" * 400 + ":00:00,000 --> 00:00:04,000", id="400 digits"),
        pytest.param("9" * 20_000 + ":00:00,000 --> " + "9" * 20_000 + ":00:04,000", id="20000 digits"),
    ],
)
def test_times_of_any_form_begin_a_cue_and_lose_no_words(times: str) -> None:
    assert words(HELLO.format(times=times)) == "Hello. I hate you. Bye."
    assert words(f"{times}\nI hate you.\n") == "I hate you."


def test_words_beside_the_times_stay_and_settings_go() -> None:
    assert words("00:00:01,000 --> 00:00:02,000 Hello there\nyou\n") == "Hello there you"


def test_an_empty_line_within_a_cue_ends_nothing() -> None:
    first = "1\n00:00:01,000 --> 00:00:02,000\nFirst line.\n\nSecond line.\n\n"
    lines = first + "2\n00:00:03,000 --> 00:00:04,000\nBye.\n"
    assert words(lines) == "First line. Second line. Bye."


def test_cues_without_numbers_keep_their_last_lines() -> None:
    bare = (
        "00:00:01,000 --> 00:00:02,000\nI love you.\n00:00:03,000 --> 00:00:04,000\n{}\n"
        "00:00:05,000 --> 00:00:06,000\nBye.\n"
    )
    assert words(bare.format("I hate you.")) == "I love you. I hate you. Bye."
    assert words(bare.format("How old?\n42")) == "I love you. How old? 42 Bye."
    assert words("WEBVTT\n\n" + bare.format("I hate you."), "a.vtt") == "I love you. I hate you. Bye."


@given(
    st.lists(
        st.lists(
            st.sampled_from(["I am fine.", "No!", "42 of them", "我恨你", "- Why?"]), min_size=1, max_size=3
        ),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["-->", "->", "–>"]),
    st.sampled_from([",000", ".000", "", ",000000"]),
)
def test_whatever_stands_between_cues_their_words_are_all_there_is(
    said: list[list[str]], numbered: bool, spaced: bool, arrow: str, fraction: str
) -> None:
    lines = []
    for place, spoken in enumerate(said, start=1):
        lines += [str(place)] * numbered
        lines += [f"00:00:{2 * place:02d}{fraction} {arrow} 00:00:{2 * place + 1:02d}{fraction}", *spoken]
        lines += [""] * spaced
    assert words("\n".join(lines)) == " ".join(line for spoken in said for line in spoken)


def naive(cues: list[Cue]) -> str:
    """Joins as the rule says, in time that nobody has."""
    spoken: list[str] = []
    for before, cue in zip([Cue(0, -10, ()), *cues], cues, strict=False):
        lines = list(cue.lines)
        if cue.start - before.end <= 0.15:
            sizes = range(min(len(before.lines), len(lines)), 0, -1)
            lines = lines[next((n for n in sizes if before.lines[-n:] == cue.lines[:n]), 0) :]
        spoken += lines
    return " ".join(spoken)


@given(st.lists(st.lists(st.sampled_from(["x", "y"]), min_size=1, max_size=7), max_size=5))
def test_what_rolls_is_found_as_by_trying_every_length(lines: list[list[str]]) -> None:
    cues = [Cue(i, i + 1, tuple(one)) for i, one in enumerate(lines)]
    assert join(cues) == naive(cues)
