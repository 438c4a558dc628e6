"""How long `emo label` takes when everything has been done before.

Makes a folder of so many (empty) files and an OUT in which each of them is ingested, described by three
experts, voted on and judged, in shards as runs write them, and times the command as a whole process: the
first time, when there is no index of committed files, and again. `to_first` is the processor's time of the
later ones as a share of that of the first.

    python benchmarks/nothing_left.py --clips 100000 1000000 --json results.json
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from figures import add_json_option, compare, show, write

from emo.config import load_config
from emo.sources.source import read_source
from emo.store import committed, index
from emo.store.runs import Run, StepRecord
from emo.store.storage import Storage
from emo.store.tables import CLIPS, DESCRIPTIONS, JUDGMENTS, VOTES, Table

RUN = "20260101T000000Z"
EMO = Path(sys.executable).with_name("emo")
EXPERTS = ("voice", "face", "words")
FRAME = b"\xff\xd8" + bytes(200)
# Whole shards of every table; a million clips with their frames at once would fill the memory.
MADE_AT_ONCE = 100_000
SHARD_ROWS = {"clips": 50, "descriptions": 100, "votes": 2000, "judgments": 20_000}


def rows_of(table: Table, manifest: pa.Table, judge: str, expert: str = "") -> pa.Table:
    """A row per clip of the manifest."""
    count = manifest.num_rows
    values: dict[str, Any] = {name: manifest.column(name) for name in ("video_id", "uri", "size", "modified")}
    values |= {
        "run_id": [RUN] * count,
        "status": ["ok"] * count,
        "expert": [expert] * count,
        "sample": [0] * count,
        "frames": [[FRAME] * 8] * count,
        "frame_times": [[0.5] * 8] * count,
        "text": ["The person seems happy."] * count,
        "labels": [["happy"]] * count,
        "scores": [[1.0]] * count,
        "judge": [judge] * count,
        "n_voters": [3] * count,
        "parse_ok": [True] * count,
    }
    return pa.table(
        {field.name: values.get(field.name, pa.nulls(count, field.type)) for field in table.schema},
        schema=table.schema,
    )


def make_out(storage: Storage, manifest: pa.Table) -> None:
    """Tables as a finished run leaves them."""
    config = load_config()
    judge = f"{config.judge.rule().judge} of {','.join(sorted(EXPERTS))}"
    number = 0
    for part in committed.batched(manifest, MADE_AT_ONCE):
        for table in (CLIPS, DESCRIPTIONS, VOTES, JUDGMENTS):
            for expert in EXPERTS if "expert" in table.key else (None,):
                rows = rows_of(table, part, judge, expert or "")
                for shard in committed.batched(rows, SHARD_ROWS[table.name]):
                    number += 1
                    where = committed.folder(table, expert)
                    committed.commit(storage, where, table, f"{RUN}-{number:016x}", shard)
    steps = [StepRecord("ingest", rows=manifest.num_rows)]
    Run(RUN, "label", "videos", config.model_dump(mode="json"), RUN, RUN, "done", steps=steps).save(storage)
    storage.write("report/index.html", b"")


@dataclass(frozen=True)
class Measured:
    """What one run of the command took: seconds, seconds of the processor, megabytes at most."""

    seconds: float
    processor_s: float
    peak_mb: float


def run(videos: Path, out: Path, clips: int) -> Measured:
    """One run, which must have found nothing to do and started no Ray."""
    with tempfile.TemporaryFile("w+") as said:
        began = time.monotonic()
        process = subprocess.Popen(
            [EMO, "label", videos, "--out", out], stdout=subprocess.DEVNULL, stderr=said
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        said.seek(0)
        told = said.read()
    assert status == 0, told
    assert f"{clips} skipped as already done" in told, told
    assert "Ray is up" not in told, told
    return Measured(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def measured(place: Path, clips: int, repeats: int) -> dict[str, Any]:
    """The figures of so many clips; place: where they and OUT are, made where they are not."""
    videos, out = place / "videos", place / "out"
    if not place.exists():
        videos.mkdir(parents=True)
        for number in range(clips):
            (videos / f"clip{number:08d}.mp4").touch()
        make_out(Storage(str(out)), read_source(str(videos)))
    index.remove(Storage(str(out)))
    first, *later = (run(videos, out, clips) for _ in range(1 + repeats))
    figures = {
        "first_s": first.seconds,
        "seconds": statistics.median(one.seconds for one in later),
        "first_processor_s": first.processor_s,
        "processor_s": statistics.median(one.processor_s for one in later),
        "peak_mb": max(one.peak_mb for one in later),
    }
    return figures | {"to_first": figures["processor_s"] / figures["first_processor_s"]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, nargs="+", default=[100_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="make what is measured here, or measure what is here")
    add_json_option(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or Path(made)
        result = {
            f"clips_{clips}": measured(folder / str(clips), clips, options.repeats) for clips in options.clips
        }
    show(result)
    compare(options.json, result, lower=("to_first",))
    write(options.json, result)


if __name__ == "__main__":
    main()
