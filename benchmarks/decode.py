"""Decoding on one core: what one clip costs in this process, in the sandbox, and by which decoder.

    python benchmarks/decode.py [--clips 40] [--json PATH]

The clip: 5 s of 1280×720 at 25 fps, H.264 with AAC, made by ffmpeg; 8 frames of longest side 448, FLAC.
The runs take turns, so that a change of the machine's pace meets all of them.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from figures import add_json_option, show, write

from emo.media import frames
from emo.media.decode import decode_file
from emo.media.decoded import DecodeSettings
from emo.media.sandbox import Decoder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=40, help="how often each way decodes the clip")
    add_json_option(parser)
    arguments = parser.parse_args()
    # The child inherits it: parent and child share one core, as a worker of the ingest job does.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    settings = DecodeSettings()
    with tempfile.TemporaryDirectory() as folder, Decoder(settings) as decoder:
        path = str(Path(folder) / "clip.mp4")
        make(path)
        ways: dict[str, Callable[[], object]] = {
            "in_process": lambda: decode_file(path, settings),
            "sandbox": lambda: decoder.decode(path),
            "in_process_pyav": lambda: without_decord(path, settings),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(arguments.clips + 1):
            for name, way in ways.items():
                begin = time.perf_counter()
                way()
                if turn:
                    times[name].append(time.perf_counter() - begin)
        child = psutil.Process().children()[0].memory_info().rss
    medians = {f"{name}_ms": round(1000 * statistics.median(taken), 1) for name, taken in times.items()}
    overhead = medians["sandbox_ms"] / medians["in_process_ms"] - 1
    report = {**medians, "sandbox_overhead": round(overhead, 4), "child_mib": child // 2**20}
    show(report)
    write(arguments.json, report)
    sys.exit(overhead > 0.05)


def without_decord(path: str, settings: DecodeSettings) -> object:
    """The same clip, its frames read by PyAV."""
    kept = frames.decord_may_read
    frames.decord_may_read = lambda container, index: False
    try:
        return decode_file(path, settings)
    finally:
        frames.decord_may_read = kept


def make(path: str) -> None:
    """The clip of the module's description; the picture moves everywhere."""
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "mandelbrot=size=1280x720:rate=25"]
    command += ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100", "-t", "5"]
    command += ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-c:a", "aac", path]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
