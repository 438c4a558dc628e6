"""Decoding on one core, codec by codec: what one clip costs with emo and with what a user might take instead.

    python benchmarks/decode.py [--clips 15] [--codecs h264 hevc] [--json PATH]

The clip: 5 s of 1280×720 at 25 fps in which the picture moves everywhere, with sound, made by ffmpeg; 8
frames of longest side 448 as JPEG. `emo` is `decode_file` without the sound, `emo_sound` with it,
`no_loop_filter` the first with `loop_filter: false`, `all_frames` PyAV decoding every frame, `decord` its
frames at the same moments, scaled by it and written as JPEG, where it is installed. The figures are
milliseconds of the processor, medians; the ways take turns, so that a change of the machine's pace meets all
of them. `overhead` is what the child process adds to the H.264 clip, and `psnr_without_loop_filter` how far
those frames are from the right ones, in dB, at the worst of them.

Ends with 1 where emo takes longer than decord for a codec, or the sandbox adds more than a twentieth.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import psutil
from figures import add_json_option, compare, show, write

from emo.media import display, frames
from emo.media.decode import decode_file
from emo.media.decoded import DecodeSettings
from emo.media.sandbox import Decoder

WITH_SOUND = DecodeSettings(jpeg_quality=92)
MUTE = replace(WITH_SOUND, audio=False)
X265 = ("-c:v", "libx265", "-preset", "veryfast", "-x265-params")
VPX = ("-deadline", "realtime", "-cpu-used", "6", "-b:v", "2M", "-c:a", "libopus")
CODECS = {
    "h264": ("mp4", "-c:v", "libx264", "-preset", "veryfast"),
    "h264_baseline": ("mp4", "-c:v", "libx264", "-preset", "veryfast", "-profile:v", "baseline"),
    "h264_short_groups": ("mp4", "-c:v", "libx264", "-preset", "veryfast", "-g", "25"),
    "hevc": ("mp4", *X265, "log-level=none:open-gop=0"),
    "hevc_without_b": ("mp4", *X265, "log-level=none:bframes=0"),
    "vp8": ("webm", "-c:v", "libvpx", *VPX),
    "vp9": ("webm", "-c:v", "libvpx-vp9", *VPX),
    "av1": ("mp4", "-c:v", "libsvtav1", "-preset", "10"),
    "mpeg4": ("mp4", "-c:v", "mpeg4", "-q:v", "4"),
}
# What decord reads at all.
DECORD = {name for name in CODECS if name != "av1"} if importlib.util.find_spec("decord") else set()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=15, help="how often each way decodes the clip")
    parser.add_argument("--codecs", nargs="+", choices=CODECS, default=list(CODECS))
    add_json_option(parser)
    arguments = parser.parse_args()
    # The child inherits it: parent and child share one core, as a worker of the ingest job does.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    report: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        source = str(Path(folder) / "source.mp4")
        make(source, "-c:v", "libx264", "-preset", "veryfast")
        for name in arguments.codecs:
            container, *options = CODECS[name]
            path = str(Path(folder) / f"{name}.{container}")
            encode(source, path, *options)
            report[name] = measure(path, name, arguments.clips)
            show({name: report[name]})
        if "h264" in report:
            report["sandbox"] = sandbox(str(Path(folder) / "h264.mp4"), arguments.clips)
            show({"sandbox": report["sandbox"]})
    compare(arguments.json, report, lower=("emo_to_", "overhead"))
    write(arguments.json, report)
    slower = any(found.get("emo_to_decord", 0) > 1 for found in report.values())
    sys.exit(slower or report.get("sandbox", {}).get("overhead", 0) > 0.05)


def measure(path: str, name: str, clips: int) -> dict[str, float]:
    """The ways of reading one file, in turn."""
    without = replace(MUTE, loop_filter=False)
    ways: dict[str, Callable[[], object]] = {
        "emo": lambda: decode_file(path, MUTE),
        "emo_sound": lambda: decode_file(path, WITH_SOUND),
        "no_loop_filter": lambda: decode_file(path, without),
        "all_frames": lambda: every_frame(path),
    }
    if name in DECORD:
        ways["decord"] = lambda: with_decord(path)
    taken = {way: statistics.median(times) for way, times in in_turn(ways, clips).items()}
    found = {f"{way}_ms": round(1000 * seconds, 1) for way, seconds in taken.items()}
    found["emo_to_all_frames"] = round(taken["emo"] / taken["all_frames"], 3)
    if "decord" in taken:
        found["emo_to_decord"] = round(taken["emo"] / taken["decord"], 3)
    found["psnr_without_loop_filter"] = round(psnr(path, replace(MUTE, jpeg_quality=100)), 1)
    return found


def in_turn(ways: dict[str, Callable[[], object]], clips: int) -> dict[str, list[float]]:
    """Seconds of the processor of each run; the first of each way is not counted."""
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(clips + 1):
        for way, run in ways.items():
            began = cpu_seconds()
            run()
            if turn:
                taken[way].append(cpu_seconds() - began)
    return taken


def cpu_seconds() -> float:
    """Of this process, and of the children that it has now."""
    children = [child.cpu_times() for child in psutil.Process().children()]
    return time.process_time() + sum(child.user + child.system for child in children)


def sandbox(path: str, clips: int) -> dict[str, float]:
    """What the child process adds; its clock ticks in hundredths, so that several clips make one run."""
    with Decoder(WITH_SOUND) as decoder:
        ways: dict[str, Callable[[], object]] = {
            "in_process": lambda: [decode_file(path, WITH_SOUND) for _ in range(4)],
            "sandbox": lambda: [decoder.decode(path) for _ in range(4)],
        }
        taken = {way: statistics.median(times) for way, times in in_turn(ways, clips).items()}
        child = psutil.Process().children()[0].memory_info().rss
    overhead = round(taken["sandbox"] / taken["in_process"] - 1, 4)
    return {"overhead": overhead, "child_mib": child // 2**20}


def with_decord(path: str) -> list[bytes]:
    """The same frames by decord."""
    import decord

    reader = decord.VideoReader(path, width=448, height=252, num_threads=1)
    times = reader.get_frame_timestamp(list(range(len(reader))))[:, 0]
    wanted = frames.sample(list(times - times[0]), 5.0, MUTE.frames)
    batch = reader.get_batch(wanted).asnumpy()
    return [display.jpeg(np.ascontiguousarray(rgb[..., ::-1]), MUTE.jpeg_quality) for rgb in batch]


def every_frame(path: str) -> int:
    """How many frames PyAV decodes."""
    with av.open(path) as file:
        video = file.streams.video[0]
        video.codec_context.thread_type = "NONE"
        video.codec_context.thread_count = 1
        return sum(1 for _ in file.decode(video))


def psnr(path: str, settings: DecodeSettings) -> float:
    """How far the frames without the loop filter are from those with it: the worst of them, in dB."""
    right, other = (decode_file(path, replace(settings, loop_filter=use)).frames for use in (True, False))
    pairs = [
        [cv2.imdecode(np.frombuffer(one, np.uint8), 1) for one in pair]
        for pair in zip(right, other, strict=True)
    ]
    return min(cv2.PSNR(*pair) for pair in pairs)


def make(path: str, *options: str) -> None:
    """The clip of the module's description."""
    picture = ["-f", "lavfi", "-i", "mandelbrot=size=1280x720:rate=25"]
    sound = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]
    run([*picture, *sound, "-t", "5", *options, "-pix_fmt", "yuv420p", path])


def encode(source: str, path: str, *options: str) -> None:
    """The clip in another codec."""
    run(["-i", source, *options, "-pix_fmt", "yuv420p", path])


def run(arguments: list[str]) -> None:
    subprocess.run(["ffmpeg", "-v", "error", *arguments], check=True, env={**os.environ, "SVT_LOG": "1"})


if __name__ == "__main__":
    main()
