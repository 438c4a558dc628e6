"""Ingest against the same decode in a bare process pool; memory from 300 to 1,200 clips.

Makes clips of 5 s, 1280x720, H.264 with AAC (a few contents, copied), then on the given cores, in turn and
as often as asked: decodes them all in a pool of plain processes, and ingests them with `emo ingest`. Reports
medians and their ratios: of the step, from the start of its workers to the last commit, and of the whole
command, which first starts a Ray cluster and in the end stops it. With --memory it also ingests the clips,
and four times as many, in runs of their own, and compares the peak of the proportional resident memory (PSS:
a shared page counts once) of all processes together: to add that up twice a second takes a sixth of a core.

    python benchmarks/ingest.py --clips 300 --repeats 3 --memory --json results.json
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import psutil
from figures import add_json_option, compare, show, write

from emo.media.decode import decode_file
from emo.media.decoded import DecodeSettings

CONTENTS = 6
EMO = Path(sys.executable).with_name("emo")


def make_videos(folder: Path, clips: int) -> None:
    """So many files of a few contents."""
    made = []
    for number in range(CONTENTS):
        path = folder / f"content{number}.mp4"
        picture = f"testsrc2=size=1280x720:rate=25:duration=5,hue=h={number * 60}"
        sound = f"sine=frequency={200 + 50 * number}:duration=5"
        command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound]
        codecs = ["-c:v", "libx264", "-preset", "fast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-shortest"]
        subprocess.run([*command, *codecs, str(path)], check=True)
        made.append(path)
    for number in range(clips):
        shutil.copy(made[number % CONTENTS], folder / f"clip{number:05d}.mp4")
    for path in made:
        path.unlink()


def decode_one(path: str) -> int:
    """The decode of ingest, in this process."""
    return len(decode_file(path, DecodeSettings()).frames)


def bare_pool(videos: Path, workers: int) -> float:
    """Seconds to decode every clip in a pool of plain processes."""
    paths = sorted(map(str, videos.glob("clip*.mp4")))
    began = time.monotonic()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        assert all(pool.map(decode_one, paths, chunksize=4))
    return time.monotonic() - began


def ingest(videos: Path, workers: int, watched: bool = False) -> tuple[float, float, float]:
    """Seconds of `emo ingest`: of its step, from start to end; the peak of resident MiB of its processes, 0
    where nobody watched.
    """
    with tempfile.TemporaryDirectory(dir=videos.parent) as out:
        began = time.monotonic()
        options = ["--out", out, "--json", "--set", f"ray.num_cpus={workers}"]
        process = subprocess.Popen(
            [EMO, "ingest", str(videos), *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        peak = Peak(process.pid) if watched else None
        answer, _ = process.communicate()
        seconds = time.monotonic() - began
        assert process.returncode == 0, answer
        (step,) = json.loads(answer)["steps"]
        assert step["failed"] == 0
        return step["seconds"], seconds, peak.stop() if peak else 0.0


class Peak:
    """Watches a process and its descendants; the peak of their memory."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._end.wait(0.5):
            self._peak = max(self._peak, resident_mib(self._pid))

    def stop(self) -> float:
        self._end.set()
        self._thread.join()
        return self._peak


def resident_mib(pid: int) -> float:
    """Proportional resident memory of a process and its descendants."""
    total = 0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    for process in family:
        try:
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--memory", action="store_true", help="ingest four times as many clips too")
    add_json_option(parser)
    options = parser.parse_args()
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: options.cores]))

    with tempfile.TemporaryDirectory() as folder:
        videos = Path(folder, "videos")
        videos.mkdir()
        make_videos(videos, options.clips)
        bare, steps, commands = [], [], []
        for _ in range(options.repeats):
            bare.append(bare_pool(videos, options.cores))
            step, command, _ = ingest(videos, options.cores)
            steps.append(step)
            commands.append(command)
        result = {
            "clips": options.clips,
            "cores": options.cores,
            "bare_pool_clips_per_s": options.clips / statistics.median(bare),
            "step_clips_per_s": options.clips / statistics.median(steps),
            "command_clips_per_s": options.clips / statistics.median(commands),
            "step_ratio": statistics.median(b / o for b, o in zip(bare, steps, strict=True)),
            "command_ratio": statistics.median(b / o for b, o in zip(bare, commands, strict=True)),
        }
        if options.memory:
            result["peak_mib"] = ingest(videos, options.cores, watched=True)[2]
            for number in range(options.clips, 4 * options.clips):
                shutil.copy(
                    videos / f"clip{number % options.clips:05d}.mp4", videos / f"clip{number:05d}.mp4"
                )
            step, command, peak = ingest(videos, options.cores, watched=True)
            result["step_clips_per_s_4x"] = 4 * options.clips / step
            result["command_clips_per_s_4x"] = 4 * options.clips / command
            result["peak_mib_4x"] = peak
            result["memory_growth"] = peak / result["peak_mib"] - 1
    show(result)
    compare(options.json, result, lower=("memory_growth",), higher=("_ratio",))
    write(options.json, result)


if __name__ == "__main__":
    main()
