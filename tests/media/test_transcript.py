"""Sidecars of all kinds become plain text, nonsense an error; the language is told only where it is known."""

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emo.errors import RowError
from emo.media.cues import webvtt_in_boxes
from emo.media.transcript import MAX_SIDECAR_BYTES, guess_language, read_sidecar
from sidecars import words

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
    assert words(SRT) == "Why did you come? - I had to. - No."


def test_webvtt_gives_the_words_without_header_notes_styles_and_settings() -> None:
    assert words(VTT, "a.vtt") == "Why did you come & stay? I had to."


def test_text_gives_the_words() -> None:
    assert words("  I am\n fine.\r\n\r\n真的 ", "A.TXT") == "I am fine. 真的"


def test_numbers_and_comparisons_that_are_said_stay() -> None:
    lines = "1\n00:00:01,000 --> 00:00:02,000\n42\n3 < 4 and 5 > 4\n\n2\n00:00:03,000 --> 00:00:04,000\n7\n"
    assert words(lines) == "42 3 < 4 and 5 > 4 7"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gb18030"])
def test_every_encoding_and_line_end_is_read(encoding: str, newline: str) -> None:
    lines = (
        "1\n00:00:01,000 --> 00:00:02,000\n你为什么不高兴？\n\n2\n00:00:03,000 --> 00:00:04,000\n没有 OK。\n"
    )
    data = lines.replace("\n", newline).encode(encoding)
    assert words(data) == "你为什么不高兴？ 没有 OK。"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("binary.srt", bytes(range(256)) * 4),
        ("binary.txt", b"\x00\x01\x02\x03" * 10),
        ("notes.srt", b"This has no times at all.\nNot one.\n"),
        ("json.vtt", b'{"cues": []}'),
        ("noise.txt", bytes(random.Random(1).choices(range(32, 256), k=400))),
        ("picture.srt", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4),
    ],
)
def test_nonsense_is_a_bad_subtitle(name: str, data: bytes) -> None:
    with pytest.raises(RowError) as caught:
        read_sidecar(name, data)
    assert caught.value.code == "bad_subtitle"
    assert name in caught.value.message


ASS = """[Script Info]
Title: x

[V4+ Styles]
Format: Name, Fontname, PrimaryColour
Style: Default,Arial,&Hbroken

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{\\i1}Up{\\i0} here,\\hnow\\Nthere{a comment}
Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{\\p1}m 0 0 l 100 0 100 100{\\p0}
Dialogue: 0,0:00:02.00,0:00:02.50,Default,,0,0,0,,A {\\pos(1,2)\\p2}m 5 5 b 1 2{\\p0}sign
Comment: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,nobody says this
Dialogue: 0,what,0:00:02.00,Default,,0,0,0,,Later
"""


@pytest.mark.parametrize("name", ["a.ass", "a.ssa", "a.srt", "a.txt"])
def test_ass_gives_the_words_without_overrides_drawings_and_comments(name: str) -> None:
    assert words(ASS, name) == "Up here, now there A sign Later"


def test_breaks_and_drawings_of_ass_in_subrip_are_none_of_its_words() -> None:
    lines = "1\n00:00:01,000 --> 00:00:02,000\nHi\\Nyou\\hthere {\\p1}m 0 0 l 1 1{\\p0}{laughs}\n"
    assert words(lines) == "Hi you there {laughs}"


def test_ttml_gives_its_paragraphs_whatever_the_profile() -> None:
    hello = '<p begin="00:00:01:12" end="2s">Hello <span>my <b>dear</b></span><br/>friend</p>'
    body = f'<body><div><div>{hello}</div></div><p begin="3s">Bye &amp; out</p></body>'
    for space in ("http://www.w3.org/ns/ttml", "http://www.w3.org/2006/10/ttaf1"):
        document = f'<?xml version="1.0" encoding="utf-8"?>\n<tt xmlns="{space}">{body}</tt>'
        for name in ("a.ttml", "a.xml", "a.vtt"):
            assert words(document, name) == "Hello my dear friend Bye & out"


@pytest.mark.parametrize(
    "data",
    [
        "<SAMI><BODY><SYNC Start=1000><P>Hello<br>there<SYNC Start=3000><P>Bye</BODY></SAMI>",
        "{10}{20}Hello|there\n{90}{95}{y:i}Bye\n",
        "{1}{1}23.976\n{10}{20}Hello|there\n{90}{95}Bye\n",
        "[10][20]Hello|there\n[90][95]/Bye\n",
    ],
    ids=["sami", "microdvd", "microdvd with its rate", "mpl2"],
)
def test_other_kinds_of_subtitles_are_known_by_what_they_hold(data: str) -> None:
    assert words(data) == "Hello there Bye"


def test_subrip_in_a_text_file_is_no_text_of_numbers_and_times() -> None:
    assert words(SRT, "a.txt") == "Why did you come? - I had to. - No."
    assert words("At 10:30 --> soon, they said", "a.txt") == "At 10:30 --> soon, they said"


def test_notes_and_names_of_webvtt_are_not_said_and_words_after_an_empty_line_are() -> None:
    first = "WEBVTT\n\n00:01.000 --> 00:02.000\nFirst\n\nSecond\n\n"
    lines = first + "NOTE nothing\nat all\n\nintro\n00:03.000 --> 00:04.000\nBye\n"
    assert words(lines, "a.vtt") == "First Second Bye"


def test_cues_of_webvtt_in_boxes_are_found() -> None:
    def box(kind: bytes, body: bytes) -> bytes:
        return (8 + len(body)).to_bytes(4, "big") + kind + body

    sample = box(b"vttc", box(b"iden", b"1") + box(b"payl", b"I am fine.")) + box(
        b"vttc", box(b"payl", b"You?")
    )
    assert list(webvtt_in_boxes(sample)) == ["I am fine.", "You?"]
    assert list(webvtt_in_boxes(box(b"vtte", b"") + b"\0\0")) == []


def test_lines_that_no_time_precedes_are_told() -> None:
    found = read_sidecar("a.srt", b"Made by nobody\n\n1\n00:00:01,000 --> 00:00:02,000\nHello.\n")
    assert found.text == "Hello."
    assert found.notes == ("subtitles: 1 lines of a.srt have no times and were left out",)


ENCODINGS = [
    ("gb18030", "你为什么不高兴？"),
    ("gb18030", "真的吗"),
    ("gb18030", "不好吧"),
    ("gb18030", "气死我了"),
    ("gb18030", "谢谢"),
    ("gb18030", "她笑得很开心，可是眼睛里都是泪水。"),
    ("big5", "你為什麼不高興？"),
    ("big5", "謝謝"),
    ("big5", "我恨你！"),
    ("big5", "別哭了，一切都會好起來的。"),
    ("cp932", "私はとても嬉しいです"),
    ("cp932", "ありがとう"),
    ("cp932", "はい。"),
    ("cp932", "どうして泣いているの？"),
    ("euc_jp", "なんでそんなことを言うの"),
    ("iso2022_jp", "怒っているのか"),
    ("cp949", "나는 너무 행복해요"),
    ("cp949", "싫어!"),
    ("cp949", "왜 나한테 화를 내는 거야"),
    ("hz", "我很害怕"),
    ("cp1252", "I’m sad – really."),
    ("cp1252", "Un café noir, s'il vous plaît"),
    ("latin-1", "déjà vu"),
    ("cp1252", "Größe"),
    ("cp1252", "¿Por qué estás triste?"),
    ("cp1252", "Jag är så ledsen, förlåt mig."),
    ("cp1250", "Dlaczego to powiedziałeś? Nie wiem."),
    ("cp1250", "Příliš žluťoučký kůň"),
    ("cp1251", "Зачем ты это сказал?"),
    ("cp1251", "НЕТ! НИКОГДА БОЛЬШЕ!"),
    ("cp1251", "Чому ти плачеш? Я їду."),
    ("koi8-r", "Зачем ты это сказал?"),
    ("koi8-r", "Привет"),
    ("cp1253", "Γιατί είσαι λυπημένος;"),
    ("cp1254", "Neden üzgünsün? Çok şaşırdım."),
    ("cp1255", "למה אתה עצוב?"),
    ("cp1256", "لماذا أنت حزين؟"),
    ("cp874", "ทำไมคุณถึงเศร้า"),
    ("cp1257", "Kodėl tu liūdnas?"),
]


@pytest.mark.parametrize(("encoding", "said"), ENCODINGS)
@pytest.mark.parametrize("name", ["a.srt", "a.txt"])
def test_a_line_in_an_encoding_that_nothing_names_is_read_and_the_guess_is_told(
    name: str, encoding: str, said: str
) -> None:
    lines = said if name == "a.txt" else f"1\n00:00:01,000 --> 00:00:02,000\n{said}\n"
    found = read_sidecar(name, lines.encode(encoding))
    assert found.text == said
    assert "a guess" in found.notes[0]


@pytest.mark.parametrize("encoding", ["utf-32", "utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("said", ["Hello there.", "真的吗", "我说 OK 就是 OK"])
def test_unicode_without_a_mark_is_no_guess(encoding: str, said: str) -> None:
    found = read_sidecar("a.srt", f"1\n00:00:01,000 --> 00:00:02,000\n{said}\n".encode(encoding))
    assert (found.text, found.notes) == (said, ())


def test_broken_bytes_cost_themselves_alone_and_are_told() -> None:
    cases = {
        "你为什么不高兴".encode()[:-1]: "你为什么不高",
        "你好".encode("utf-16") + b"\n": "你好",
        "Ça va déjà très bien, ".encode() + b"na\xefve": "Ça va déjà très bien, naïve",
    }
    for data, said in cases.items():
        found = read_sidecar("a.txt", data)
        assert found.text == said
        assert "bytes of a.txt are broken" in found.notes[-1]
    assert words(
        "头 smile 😀".encode("utf-16-le").decode("utf-16-le").encode("utf-8", "surrogatepass"), "a.txt"
    )


def test_pairs_of_surrogates_in_utf8_are_characters() -> None:
    pair = "\ud83d\ude00".encode("utf-8", "surrogatepass")
    assert words(b"I smile " + pair, "a.txt") == "I smile 😀"


def test_a_language_that_the_source_names_decides_between_readings() -> None:
    data = "고기".encode("cp949")
    assert read_sidecar("a.txt", data, "ko").text == "고기"


@pytest.mark.parametrize("kind", ["overlapping", "many", "spaces", "colons", "tags"])
def test_a_file_of_megabytes_takes_seconds(kind: str) -> None:
    long = "\n".join(f"line {number}" for number in range(40_000))
    data = {
        "overlapping": "".join(
            f"{k}\n00:00:0{k},000 --> 00:00:0{k + 1},000\n{long}\n\n" for k in range(1, 9)
        ),
        "many": "".join(f"{k}\n00:00:01,000 --> 00:00:01,990\nI said {k % 3}\n\n" for k in range(50_000)),
        "spaces": SRT + (" " * 9_000 + ":\n") * 500,
        "colons": SRT + ("1:" * 4_000 + "\n") * 500,
        "tags": SRT + "<a" * 1_000_000 + "{\\" * 500_000,
    }[kind]
    begin = time.monotonic()
    read_sidecar("a.srt", data.encode())
    assert time.monotonic() - begin < 20


def test_a_file_beyond_the_bound_is_refused_unread() -> None:
    with pytest.raises(RowError, match="MiB are no subtitles"):
        read_sidecar("a.txt", b"a" * (MAX_SIDECAR_BYTES + 1))


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["a.srt", "a.vtt", "a.txt"])
def test_an_empty_sidecar_says_nothing(name: str, data: bytes) -> None:
    assert words(data, name) == ""
    assert words(b"WEBVTT\n\n", "a.vtt") == ""


@given(st.binary(max_size=300), st.sampled_from(["a.srt", "a.vtt", "a.txt"]))
def test_any_bytes_give_text_or_a_bad_subtitle(data: bytes, name: str) -> None:
    try:
        text = read_sidecar(name, data).text
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
