"""Make the sample clips, their manifest and a sidecar subtitle: the same bytes on the same tool versions.

Needs Debian's `ffmpeg` and `espeak-ng`, and scikit-image (`pip install -e '.[samples]'`) for the portrait.
Nothing is drawn at random; every encoder runs in one thread and writes no date and no version.
"""

import argparse
import contextlib
import csv
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from characters import AFRAID, ANGRY, JOYFUL, SAD, TIRED, drawn
from pictures import FPS, HEIGHT, WIDTH, Frames, between, portrait, sea
from sounds import LEAD_S, TAIL_S, Speech, mouth_opening, speak


@dataclass(frozen=True)
class Sample:
    """One clip: what is said (None: no sound track), and what makes its frames from the mouth's opening."""

    name: str
    speech: Speech | None
    picture: Callable[[np.ndarray], Frames]
    size: tuple[int, int] = (WIDTH, HEIGHT)
    seconds: float = 4.0  # of a clip without speech
    subtitle_in_manifest: bool = True


def encode(
    frames: Frames, size: tuple[int, int], sound: Path | None, target: Path, index_first: bool
) -> None:
    """H.264 and AAC in mp4; index_first puts the file's index before the data, as for the web."""
    command = ["ffmpeg", "-v", "error", "-y", "-fflags", "+bitexact"]
    command += [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-s",
        f"{size[0]}x{size[1]}",
        "-r",
        FPS,
        "-i",
        "pipe:0",
    ]
    if sound is not None:
        command += [
            "-i",
            sound,
            "-c:a",
            "aac",
            "-b:a",
            "56k",
            "-ar",
            "32000",
            "-ac",
            "1",
            "-flags:a",
            "+bitexact",
        ]
    command += [
        "-c:v",
        "libx264",
        "-preset",
        "slow",
        "-crf",
        "26",
        "-threads",
        "1",
        "-g",
        "50",
        "-pix_fmt",
        "yuv420p",
    ]
    command += ["-flags:v", "+bitexact", "-fflags", "+bitexact", "-map_metadata", "-1"]
    if index_first:
        command += ["-movflags", "+faststart"]
    with subprocess.Popen([str(part) for part in [*command, target]], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # ffmpeg has said why on standard error
            for frame in frames:
                process.stdin.write(np.ascontiguousarray(frame).tobytes())
            process.stdin.close()
    if process.returncode != 0:
        raise SystemExit(f"ffmpeg could not write {target}")


def as_srt(text: str, seconds: float) -> str:
    def stamp(value: float) -> str:
        return f"00:00:{int(value):02d},{round(value % 1 * 1000):03d}"

    return f"1\n{stamp(LEAD_S)} --> {stamp(seconds - TAIL_S)}\n{text}\n"


FERRY = Speech(
    "The ferry to the island leaves from pier four at ten past nine.", "en-gb", 45, 150, 90, "en", treble_db=0
)
SAMPLES = (
    Sample(
        "portrait_welcome",
        Speech(
            "It is wonderful to be here! Thank you all so much, I am really happy.",
            "en-us+f2",
            62,
            165,
            120,
            "en",
            melody="+60%",
        ),
        portrait(WIDTH, HEIGHT, lambda t: (between(250, 226, t), between(190, 150, t), between(380, 250, t))),
    ),
    Sample(
        "portrait_silent",
        None,
        portrait(WIDTH, HEIGHT, lambda t: (between(300, 222, t), between(160, 146, t), between(310, 250, t))),
        seconds=3.6,
    ),
    Sample(
        "portrait_tall_zh",
        Speech("谢谢大家，我真的很感动，也很自豪。", "cmn-latn-pinyin+f3", 55, 175, 100, "zh"),
        portrait(270, 480, lambda t: (between(232, 222, t), between(240, 190, t), between(470, 360, t))),
        size=(270, 480),
    ),
    Sample(
        "drawn_angry",
        Speech(
            "How dare you! I told you never to touch my things again!",
            "en-us+m3",
            78,
            225,
            200,
            "en",
            melody="+90%",
            treble_db=-2,
        ),
        drawn(ANGRY),
    ),
    Sample(
        "drawn_sad_zh",
        Speech("他不会回来了，我很难过。", "cmn-latn-pinyin+m1", 34, 125, 30, "zh"),
        drawn(SAD),
    ),
    Sample(
        "drawn_joyful_zh",
        Speech("太好了！我们成功了！我真高兴！", "cmn-latn-pinyin+f4", 85, 200, 180, "zh", melody="+90%"),
        drawn(JOYFUL),
    ),
    Sample(
        "drawn_afraid",
        Speech(
            "Did you hear that? Someone is at the door. I am so scared, please stay with me.",
            "en-us+f3",
            90,
            215,
            32,
            "en",
        ),
        drawn(AFRAID),
        subtitle_in_manifest=False,
    ),
    Sample(
        "drawn_tired",
        Speech(
            "I waited all day. I am not angry, just tired and disappointed.",
            "en-us+m1",
            32,
            165,
            35,
            "en",
        ),
        drawn(TIRED),
    ),
    Sample("sea_at_dusk", FERRY, sea),
    Sample(
        "drawn_bored_loud",
        Speech(
            "Nothing ever happens here. It is so boring.",
            "en-us+m1",
            36,
            140,
            40,
            "en",
            full_scale=True,
        ),
        drawn(TIRED),
    ),
    Sample(
        "drawn_worried_loud",
        Speech(
            "She is not home yet. I am so worried about her.",
            "en-us+f3",
            80,
            200,
            60,
            "en",
            full_scale=True,
        ),
        drawn(AFRAID),
    ),
    Sample("sea_over_music", replace(FERRY, melody="+80%", music=True, full_scale=True), sea),
)
BROKEN = "broken_truncated"
BROKEN_SHARE = 0.6  # of the file that is kept: the index at its end is lost


def manifest_rows() -> list[tuple[str, str, str, str]]:
    """uri, video_id, subtitle and language of each clip."""
    rows = []
    for sample in SAMPLES:
        speech = sample.speech
        subtitle = speech.text if speech and sample.subtitle_in_manifest else ""
        rows.append((sample.name, subtitle, speech.language if speech else ""))
    rows.append((BROKEN, FERRY.text, FERRY.language))
    return [(f"clips/{name}.mp4", name, subtitle, language) for name, subtitle, language in rows]


def write_manifest(folder: Path) -> None:
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("uri", "video_id", "subtitle", "language"))
        writer.writerows(manifest_rows())


def make(sample: Sample, clips: Path, index_first: bool = True) -> None:
    """Write one clip, and its sidecar where the manifest has no subtitle for it."""
    with tempfile.TemporaryDirectory() as scratch:
        sound = None
        if sample.speech is not None:
            sound = Path(scratch) / "speech.wav"
            speak(sample.speech, sound)
        opening = mouth_opening(sound, sample.seconds)
        target = clips / f"{sample.name}.mp4"
        encode(sample.picture(opening), sample.size, sound, target, index_first)
    if sample.speech and not sample.subtitle_in_manifest:
        text = as_srt(sample.speech.text, len(opening) / FPS)
        target.with_suffix(".srt").write_text(text, encoding="utf-8")


def make_broken(clips: Path) -> None:
    """Write a file that ends before its index, as after a recording that was cut off."""
    whole = Sample(BROKEN, FERRY, sea)
    make(whole, clips, index_first=False)
    target = clips / f"{BROKEN}.mp4"
    data = target.read_bytes()
    target.write_bytes(data[: round(BROKEN_SHARE * len(data))])


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the sample clips and their manifest.")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).resolve().parent, help="folder to write into"
    )
    parser.add_argument(
        "--clip",
        action="append",
        choices=[*(sample.name for sample in SAMPLES), BROKEN],
        help="make only this clip (may be repeated)",
    )
    arguments = parser.parse_args()
    absent = [tool for tool in ("ffmpeg", "espeak-ng") if shutil.which(tool) is None]
    if absent:
        sys.exit(f"not installed: {', '.join(absent)}; on Debian: apt-get install {' '.join(absent)}")
    clips = arguments.out / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    wanted = arguments.clip or [sample.name for sample in SAMPLES] + [BROKEN]
    for sample in SAMPLES:
        if sample.name in wanted:
            make(sample, clips)
    if BROKEN in wanted:
        make_broken(clips)
    write_manifest(arguments.out)
    megabytes = sum((clips / f"{name}.mp4").stat().st_size for name in wanted) / 1e6
    print(f"{len(wanted)} clips, {megabytes:.2f} MB, in {clips}")


if __name__ == "__main__":
    main()
