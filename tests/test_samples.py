"""The sample clips as shipped, and the script that makes them."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import av
import pytest

SAMPLES = Path(__file__).resolve().parents[1] / "samples"


def rows() -> list[dict[str, str]]:
    with (SAMPLES / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def whole() -> list[dict[str, str]]:
    return [row for row in rows() if row["video_id"] != "broken_truncated"]


def test_the_manifest_names_every_clip_once_and_only_clips_that_are_there() -> None:
    assert list(rows()[0]) == ["uri", "video_id", "subtitle", "language"]
    named = [row["uri"] for row in rows()]
    there = [path.relative_to(SAMPLES).as_posix() for path in (SAMPLES / "clips").glob("*.mp4")]
    assert sorted(named) == sorted(there)
    assert len({row["video_id"] for row in rows()}) == len(named) >= 10


def test_the_clips_are_small() -> None:
    sizes = [path.stat().st_size for path in (SAMPLES / "clips").iterdir()]
    assert sum(sizes) < 3_000_000


@pytest.mark.parametrize("row", whole(), ids=lambda row: row["video_id"])
def test_a_clip_decodes_to_its_end_and_is_two_to_six_seconds_of_h264(row: dict[str, str]) -> None:
    with av.open(str(SAMPLES / row["uri"])) as file:
        stream = file.streams.video[0]
        assert stream.codec_context.name == "h264"
        frames = sum(1 for _ in file.decode(video=0))
        assert frames == stream.frames
        assert 2 <= frames / 25 <= 6
        assert all(audio.codec_context.name == "aac" for audio in file.streams.audio)


def test_the_set_has_one_clip_of_each_special_kind() -> None:
    silent, tall = [], []
    for row in whole():
        with av.open(str(SAMPLES / row["uri"])) as file:
            if not file.streams.audio:
                silent.append(row["video_id"])
            if file.streams.video[0].height > file.streams.video[0].width:
                tall.append(row["video_id"])
    assert silent == ["portrait_silent"]
    assert tall == ["portrait_tall_zh"]
    assert {"en", "zh"} <= {row["language"] for row in rows()}
    with pytest.raises(av.error.InvalidDataError):
        av.open(str(SAMPLES / "clips" / "broken_truncated.mp4"))


def test_the_clip_without_a_subtitle_in_the_manifest_has_a_sidecar_in_step_with_it() -> None:
    [row] = [row for row in rows() if not row["subtitle"] and row["video_id"] != "portrait_silent"]
    sidecar = (SAMPLES / row["uri"]).with_suffix(".srt").read_text(encoding="utf-8")
    match = re.fullmatch(r"1\n00:00:(\d\d),(\d{3}) --> 00:00:(\d\d),(\d{3})\n(.+)\n", sidecar)
    assert match is not None
    start, end = float(f"{match[1]}.{match[2]}"), float(f"{match[3]}.{match[4]}")
    with av.open(str(SAMPLES / row["uri"])) as file:
        assert 0 < start < end < file.duration / av.time_base
    assert "scared" in match[5]


def test_the_readme_tells_of_every_clip_and_of_the_portraits_licence() -> None:
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    for row in rows():
        assert f"`{row['video_id']}`" in readme
    assert "public domain" in readme


def test_the_script_makes_the_same_files_again(tmp_path: Path) -> None:
    pytest.importorskip("skimage", reason="the samples extra is not installed: no scikit-image")
    for tool in ("ffmpeg", "espeak-ng"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    clips = ("drawn_afraid.mp4", "portrait_silent.mp4")
    command = [sys.executable, str(SAMPLES / "make_samples.py"), "--out", str(tmp_path)]
    command += [part for clip in clips for part in ("--clip", clip.removesuffix(".mp4"))]
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert made == {"manifest.csv", "clips/drawn_afraid.srt", *(f"clips/{clip}" for clip in clips)}
    # The bytes of the clips hang on the versions of the tools; the words do not.
    for name in ("manifest.csv", "clips/drawn_afraid.srt"):
        assert (tmp_path / name).read_bytes() == (SAMPLES / name).read_bytes()
    version = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout
    if version.startswith("ffmpeg version 5.1.9"):
        for clip in clips:
            assert (tmp_path / "clips" / clip).read_bytes() == (SAMPLES / "clips" / clip).read_bytes()


def test_without_its_tools_the_script_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SAMPLES / "make_samples.py"), "--out", str(tmp_path)],
        env={"PATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode != 0
    assert "apt-get install ffmpeg espeak-ng" in done.stderr
    assert list(tmp_path.iterdir()) == []
