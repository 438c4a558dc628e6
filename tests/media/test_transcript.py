"""Sidecars of all kinds become plain text, nonsense an error; the language is told only where it is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emo.errors import RowError
from emo.media.transcript import Cue, guess_language, join, read_sidecar

SRT = """1
00:00:01,000 --> 00:00:02,500
<i>Why</i> did you <font color="#ff0000">come</font>?

2
00:00:04,000 --> 00:00:06,000 X1:100 X2:200
{\\an8}- I had to.
- No.
"""
VTT = """WEBVTT - with a title
Kind: captions

STYLE
::cue { color: red }

NOTE this is not said
nor is this

intro
00:01.000 --> 00:02.500 align:start position:0%
<v Anna>Why did <b.loud>you</b> come &amp; stay?</v>

00:00:04.000 --> 00:00:06.000
I <00:00:04.500><c>had to.</c>
"""


def test_subrip_gives_the_words_without_numbers_times_and_tags() -> None:
    assert read_sidecar("a.srt", SRT.encode()) == "Why did you come? - I had to. - No."


def test_webvtt_gives_the_words_without_header_notes_styles_and_settings() -> None:
    assert read_sidecar("a.vtt", VTT.encode()) == "Why did you come & stay? I had to."


def test_text_gives_the_words() -> None:
    assert read_sidecar("A.TXT", "  I am\n fine.\r\n\r\n真的 ".encode()) == "I am fine. 真的"


def test_numbers_and_comparisons_that_are_said_stay() -> None:
    lines = "1\n00:00:01,000 --> 00:00:02,000\n42\n3 < 4 and 5 > 4\n\n2\n00:00:03,000 --> 00:00:04,000\n7\n"
    assert read_sidecar("a.srt", lines.encode()) == "42 3 < 4 and 5 > 4 7"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gb18030"])
def test_every_encoding_and_line_end_is_read(encoding: str, newline: str) -> None:
    lines = (
        "1\n00:00:01,000 --> 00:00:02,000\n你为什么不高兴？\n\n2\n00:00:03,000 --> 00:00:04,000\n没有 OK。\n"
    )
    data = lines.replace("\n", newline).encode(encoding)
    assert read_sidecar("a.srt", data) == "你为什么不高兴？ 没有 OK。"


def test_cues_without_empty_lines_between_them_are_told_apart() -> None:
    lines = "1\n00:00:01,000 --> 00:00:02,000\nOne.\n2\n00:00:03,000 --> 00:00:04,000\nTwo.\n"
    assert read_sidecar("a.srt", lines.encode()) == "One. Two."


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
    assert read_sidecar("a.vtt", rolling.encode()) == "I told you that it would break again"


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


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("binary.srt", bytes(range(256)) * 4),
        ("binary.txt", b"\x00\x01\x02\x03" * 10),
        ("notes.srt", b"This has no times at all.\nNot one.\n"),
        ("json.vtt", b'{"cues": []}'),
        ("latin.txt", "Un café noir, s'il vous plaît".encode("latin-1")),
        ("latin2.txt", "déjà vu".encode("latin-1")),
        ("half.txt", "你好".encode("utf-16")[:-1]),
    ],
)
def test_nonsense_is_a_bad_subtitle(name: str, data: bytes) -> None:
    with pytest.raises(RowError) as caught:
        read_sidecar(name, data)
    assert caught.value.code == "bad_subtitle"
    assert name in caught.value.message


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["a.srt", "a.vtt", "a.txt"])
def test_an_empty_sidecar_says_nothing(name: str, data: bytes) -> None:
    assert read_sidecar(name, data) == ""
    assert read_sidecar("a.vtt", b"WEBVTT\n\n") == ""


def test_another_file_type_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="sidecar"):
        read_sidecar("a.json", b"{}")


@given(st.binary(max_size=300), st.sampled_from(["a.srt", "a.vtt", "a.txt"]))
def test_any_bytes_give_text_or_a_bad_subtitle(data: bytes, name: str) -> None:
    try:
        text = read_sidecar(name, data)
    except RowError as error:
        text = error.code
    assert text == " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("你为什么不高兴？", "zh"),
        ("我说 OK 就是 OK，你明白吗", "zh"),
        ("なんでそんなことを言うの", "ja"),
        ("東京都は日本の首都です", "ja"),
        ("왜 그렇게 말해", "ko"),
        ("Why did you say that to them?", "en"),
        ("I’m fine, you know that. Just go with them.", "en"),
        ("Hmm.", None),
        ("OK", None),
        ("Stop! Stop!", None),
        ("", None),
        ("42 ...", None),
        ("Warum hast du das gesagt? Das war nicht nett.", None),
        ("Pourquoi as-tu dit ça ? Je ne sais pas.", None),
        ("Waarom zei je dat? Ik heb het niet gedaan.", None),
        ("¿Por qué dijiste eso? No me gusta.", None),
        ("Perché l'hai detto? Non lo so.", None),
        ("Dlaczego to powiedziałeś? Nie wiem.", None),
        ("Зачем ты это сказал?", None),
        ("He said 你为什么不高兴 and left the room with them", None),
    ],
)
def test_the_language_is_told_only_where_it_is_known(text: str, language: str | None) -> None:
    assert guess_language(text) == language
