"""How long `emo label` takes when everything has been done before.

Makes a folder of so many (empty) files and an OUT in which each of them is ingested, described by three
experts, voted on and judged, in shards as runs write them, and times the command as a whole process: the
first time, when there is no index of committed files, and again. `to_first` is the processor's time of the
later ones as a share of that of the first.

    python benchmarks/nothing_left.py --clips 100000 --json results.json
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
from figures import add_json_option, compare, show, write

from emo.config import load_config
from emo.sources.source import read_source
from emo.store import committed
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


def processor_seconds() -> float:
    """Of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    add_json_option(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        videos, out = Path(folder, "videos"), Path(folder, "out")
        videos.mkdir()
        for number in range(options.clips):
            (videos / f"clip{number:08d}.mp4").touch()
        make_out(Storage(str(out)), read_source(str(videos)))
        seconds, processor = [], []
        for _ in range(1 + options.repeats):
            began, used = time.monotonic(), processor_seconds()
            done = subprocess.run([EMO, "label", videos, "--out", out], capture_output=True, text=True)
            seconds.append(time.monotonic() - began)
            processor.append(processor_seconds() - used)
            assert f"{options.clips} skipped as already done" in done.stderr, done.stderr
            assert "Ray is up" not in done.stderr, done.stderr
    result = {
        "clips": options.clips,
        "first_s": seconds[0],
        "seconds": statistics.median(seconds[1:]),
        "first_processor_s": processor[0],
        "processor_s": statistics.median(processor[1:]),
    }
    result["to_first"] = result["processor_s"] / result["first_processor_s"]
    show(result)
    compare(options.json, result, lower=("to_first",))
    write(options.json, result)


if __name__ == "__main__":
    main()
