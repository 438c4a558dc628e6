"""Subtitle tracks within a video."""

from pathlib import Path

import pytest

from clips import (
    ffmpeg,
)
from decoding import OPUS, VP9, Make, decode


@pytest.mark.parametrize(
    ("name", "codec"),
    [("said.mp4", "mov_text"), ("said.mkv", "srt"), ("styled.mkv", "ass"), ("said.webm", "webvtt")],
)
def test_an_embedded_subtitle_track_is_read(
    plain: Path, clip: Make, tmp_path: Path, name: str, codec: str
) -> None:
    lines = (
        "1\n00:00:00,100 --> 00:00:00,900\n<i>I am</i> fine.\n\n2\n00:00:01,000 --> 00:00:01,900\n真的吗？\n"
    )
    (tmp_path / "said.srt").write_text(lines, encoding="utf-8")
    source = clip("vp9.webm", video=VP9, sound=OPUS) if name.endswith("webm") else plain
    ffmpeg(
        "-i", source, "-i", tmp_path / "said.srt", "-map", "0", "-map", "1", "-c", "copy",
        "-c:s", codec, "-metadata:s:s:0", "language=eng", tmp_path / name,
    )  # fmt: skip
    decoded = decode(tmp_path / name)
    assert decoded.subtitles == "I am fine. 真的吗？"
    assert decoded.subtitles_language == "en"
    assert decode(plain).subtitles is None


def test_an_embedded_document_of_ttml_is_read_and_pictures_of_words_are_named(
    plain: Path, tmp_path: Path
) -> None:
    lines = (
        "1\n00:00:00,100 --> 00:00:00,900\n<i>I am</i> fine.\n\n2\n00:00:01,000 --> 00:00:01,900\n真的吗？\n"
    )
    (tmp_path / "said.srt").write_text(lines, encoding="utf-8")
    ffmpeg(
        "-i", plain, "-i", tmp_path / "said.srt", "-map", "0", "-map", "1", "-c", "copy", "-c:s", "ttml",
        "-metadata:s:s:0", "language=eng", tmp_path / "said.mp4",
    )  # fmt: skip
    decoded = decode(tmp_path / "said.mp4")
    assert (decoded.subtitles, decoded.subtitles_language, decoded.notes) == ("I am fine. 真的吗？", "en", ())


def test_drawings_in_an_embedded_track_are_no_words(plain: Path, tmp_path: Path) -> None:
    events = (
        "[Script Info]\nScriptType: v4.00+\n[V4+ Styles]\nFormat: Name, Fontname\nStyle: Default,Arial\n"
        "[Events]\n"
        "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        "Dialogue: 0,0:00:00.10,0:00:00.50,Default,,0,0,0,,{\\i1}Up{\\i0} here,\\hnow\\Nthere\n"
        "Dialogue: 0,0:00:00.60,0:00:00.90,Default,,0,0,0,,{\\p1}m 0 0 l 100 0 100 100{\\p0}\n"
    )
    (tmp_path / "said.ass").write_text(events)
    ffmpeg("-i", plain, "-i", tmp_path / "said.ass", "-c", "copy", "-c:s", "ass", tmp_path / "said.mkv")
    assert decode(tmp_path / "said.mkv").subtitles == "Up here, now there"
