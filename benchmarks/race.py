"""emo beside what a user might take instead, on the same work, in turn on the same cores.

    python benchmarks/race.py --daft FOLDER --vllm PYTHON --json benchmarks/results/race.json

`ingest`: 8 frames and the sound of the same clips (5 s, 1280x720, H.264 with AAC) into Parquet, by emo, by a
pool of plain processes with emo's decode, by plain Ray Data and by Daft. `reduce`: the votes of the same
clips of five experts with three samples each into one set of labels per clip, by emo, by its fusion alone in
one process, by DuckDB, polars and Daft. `engine`: what `engine.py` says of the engine on the CPU, the loop of
`generate`, static batches and, with --vllm, vLLM. emo's first two are whole commands: they keep a lease and a
run file, commit shard by shard, decode in a sandbox, and keep evidence, spellings and agreement, which the
others leave out.
DuckDB, polars and Daft count by a simpler rule: they agree with one another, and not with emo's labels.

Reports medians of seconds, of the processor's seconds (of the process and its descendants, looked at twice a
second), and the ratio of each to emo's in the same turn; above 1 emo is ahead. FOLDER: an environment with
Daft, since it wants another Arrow; it is made where it is not there, and without --daft there is no Daft.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from figures import add_json_option, compare, show, write
from ingest import EMO, make_videos
from judge_scale import EXPERTS, make_out

from emo import vocabulary
from emo.store.storage import Storage

PEERS = Path(__file__).with_name("race_peers.py")
ENGINE = Path(__file__).with_name("engine.py")
DAFT_NEEDS = ("daft", "decord", "av", "soundfile", "opencv-python-headless", "numpy", "pyarrow")
PARTS = ("ingest", "reduce", "engine")
LOOK_S = 0.5
# Daft ends in a fault of its libraries now and then; its run is then taken again, and counted.
ATTEMPTS = 4
# A line of a race: what starts it, given the folder that it writes to.
Way = Callable[[Path], list[str]]


class Processor:
    """Adds up the processor time of a process and its descendants while they live."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._seen: dict[tuple[int, float], float] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._end.wait(LOOK_S):
            try:
                root = psutil.Process(self._pid)
                for process in [root, *root.children(recursive=True)]:
                    times = process.cpu_times()
                    self._seen[process.pid, process.create_time()] = times.user + times.system
            except psutil.NoSuchProcess:
                continue

    def stop(self) -> float:
        self._end.set()
        self._thread.join()
        return sum(self._seen.values())


class CrashError(Exception):
    """A command that ended with another code than 0."""


def run(command: list[str]) -> tuple[float, float]:
    """Seconds of a command, and of the processor; raises CrashError with its last words."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    watched = Processor(process.pid)
    _, said = process.communicate()
    seconds = time.monotonic() - began
    processor = watched.stop()
    if process.returncode:
        raise CrashError(f"{' '.join(map(str, command))}\n{said.decode()[-3000:]}")
    return seconds, processor


def race(
    ways: dict[str, Way], repeats: int, check: Callable[[str, Path], None]
) -> dict[str, dict[str, float]]:
    """Every way in turn, as often as asked; check: raises where a way's work is not what was asked for."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    crashes = dict.fromkeys(ways, 0)
    for _ in range(repeats):
        for name, way in ways.items():
            taken, used, again = _taken(name, way, check)
            crashes[name] += again
            seconds[name].append(taken)
            processor[name].append(used)
            print(f"{name:<12}{taken:8.1f} s{used:8.1f} s of the processor", flush=True)
    return {
        name: {
            "seconds": statistics.median(seconds[name]),
            "processor_s": statistics.median(processor[name]),
            "to_emo": _ratio(seconds[name], seconds["emo"]),
            "processor_to_emo": _ratio(processor[name], processor["emo"]),
            "crashes": crashes[name],
        }
        for name in ways
    }


def _taken(name: str, way: Way, check: Callable[[str, Path], None]) -> tuple[float, float, int]:
    """Seconds, those of the processor, and how often the way crashed before it came to its end."""
    for crashes in range(ATTEMPTS):
        with tempfile.TemporaryDirectory() as out:
            try:
                taken, used = run(way(Path(out, "out")))
            except CrashError as error:
                if name == "emo" or crashes == ATTEMPTS - 1:
                    raise
                print(f"{name} crashed: {error}", file=sys.stderr)
                continue
            check(name, Path(out, "out"))
            return taken, used, crashes
    raise AssertionError(name)


def _ratio(one: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def peer(name: str, source: str, cores: int, *more: str, python: str = sys.executable) -> Way:
    return lambda out: [python, str(PEERS), name, source, str(out), str(cores), *more]


def ingest_race(clips: int, repeats: int, cores: int, daft: str | None) -> dict[str, dict[str, float]]:
    """The race of the ingest."""
    with tempfile.TemporaryDirectory() as folder:
        videos = Path(folder, "videos")
        videos.mkdir()
        make_videos(videos, clips)
        source = str(videos)
        options = ["--set", f"ray.num_cpus={cores}"]
        ways: dict[str, Way] = {
            "emo": lambda out: [str(EMO), "ingest", source, "--out", str(out), *options],
            "pool": peer("pool", source, cores),
            "ray": peer("ray", source, cores),
        }
        if daft:
            ways["daft"] = peer("daft", source, cores, python=daft)

        def check(name: str, out: Path) -> None:
            where = out / "clips" if name == "emo" else out
            rows = read(where, ["frames", "audio"])
            lengths = pa.compute.list_value_length(rows.column("frames"))
            assert rows.num_rows == clips, (name, rows.num_rows)
            assert pa.compute.unique(lengths).to_pylist() == [8], name
            assert rows.column("audio").null_count == 0, name

        return race(ways, repeats, check)


def reduce_race(clips: int, repeats: int, cores: int, daft: str | None) -> dict[str, dict[str, float]]:
    """The race of the reduce."""
    with tempfile.TemporaryDirectory() as folder:
        out, clusters = Path(folder, "out"), Path(folder, "clusters.parquet")
        make_out(Storage(str(out)), clips, keep=False)
        pairs = [(word, name) for name, words in vocabulary.clusters().items() for word in words]
        pq.write_table(pa.table({"label": [a for a, _ in pairs], "cluster": [b for _, b in pairs]}), clusters)
        votes = str(out / "votes")
        experts = ",".join(f"{{kind: words, name: {name}}}" for name in EXPERTS)
        options = ["--set", f"experts=[{experts}]", "--set", f"ray.num_cpus={cores}"]
        ways: dict[str, Way] = {
            "emo": lambda new: [str(EMO), "judge", "--votes", votes, "--out", str(new), *options],
            **{name: peer(name, votes, cores, str(clusters)) for name in ("fusion", "duckdb", "polars")},
        }
        if daft:
            ways["daft"] = peer("daft-reduce", votes, cores, str(clusters), python=daft)

        def check(name: str, new: Path) -> None:
            rows = read(new / "judgments" if name == "emo" else new, ["video_id", "labels"])
            assert rows.num_rows == clips, (name, rows.num_rows)

        return race(ways, repeats, check)


def engine_race(clips: int, repeats: int, cores: int, vllm: str | None) -> dict[str, object]:
    """The race of the engine on the CPU, in a process that has loaded nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder, "engine.json")
        command = [sys.executable, str(ENGINE), "--clips", clips, "--repeats", repeats, "--threads", cores]
        command += ["--json", told, *(["--vllm", vllm] if vllm else [])]
        # Threads of OpenMP that spin would take the cores from the engine's other threads.
        subprocess.run(
            [str(part) for part in command], check=True, env={**os.environ, "OMP_WAIT_POLICY": "passive"}
        )
        return dict(json.loads(told.read_text())["figures"])


def read(folder: Path, columns: list[str]) -> pa.Table:
    files = sorted(map(str, folder.rglob("*.parquet")))
    return ds.dataset(files).to_table(columns)


def environment(folder: Path) -> str:
    """The Python of an environment with Daft, made where it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *DAFT_NEEDS], check=True)
    return str(python)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=300, help="of the ingest")
    parser.add_argument("--voted", type=int, default=100_000, help="clips of the reduce")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument(
        "--daft", type=Path, metavar="FOLDER", help="an environment with Daft, or where to make it"
    )
    parser.add_argument("--answered", type=int, default=64, help="clips of the engine")
    parser.add_argument("--vllm", metavar="PYTHON", help="of an environment with vLLM for CPUs")
    parser.add_argument("--only", nargs="+", choices=("ingest", "reduce", "engine"), default=PARTS)
    add_json_option(parser)
    options = parser.parse_args()
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: options.cores]))
    daft = environment(options.daft) if options.daft else None
    result: dict[str, object] = {"clips": options.clips, "voted": options.voted, "cores": options.cores}
    if "ingest" in options.only:
        result["ingest"] = ingest_race(options.clips, options.repeats, options.cores, daft)
    if "reduce" in options.only:
        result["reduce"] = reduce_race(options.voted, options.repeats, options.cores, daft)
    if "engine" in options.only:
        result["engine"] = engine_race(options.answered, options.repeats, options.cores, options.vllm)
    show(result)
    compare(options.json, result, lower=("ratio",), higher=("to_emo", "engine_over_", "emo_over_"))
    write(options.json, result)


if __name__ == "__main__":
    main()
