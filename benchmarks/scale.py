"""How planning, listing, what is left to do, judging and the report grow with the number of clips.

    python benchmarks/scale.py 10000 100000 1000000

Makes the tables of a labelled source of so many clips (frames of a few bytes: only light columns are read
here) in a temporary folder, as many workers would have committed them, and measures each part in a process
of its own: seconds and peak memory. `compacted` is the same after a night's compaction.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime

import pyarrow as pa
from figures import add_json_option, compare, write

from emo import experts
from emo.config import load_config
from emo.jobs.describe import DescribeStep
from emo.jobs.extract import ExtractStep
from emo.jobs.judge import JudgeStep
from emo.jobs.label import steps
from emo.report.build import render
from emo.report.summary import CLIP_COLUMNS, DESCRIPTION_COLUMNS, JUDGMENT_COLUMNS, VOTE_COLUMNS, summarise
from emo.sources.lookup import MANIFEST
from emo.store import committed, compaction
from emo.store.storage import Storage
from emo.store.tables import CLIPS, DESCRIPTIONS, JUDGMENTS, VOTES, Table

EXPERTS = ("one", "two")
RUN = "20260101T000000Z"
WORDS = ("happy", "sad", "angry", "afraid", "surprised", "calm", "proud", "ashamed")
# As the jobs cut them: clips are heavy, so their files hold few.
SHARDS = {"clips": 50, "descriptions": 100, "votes": 2000, "judgments": 20_000}
PARTS = ("list", "plan", "left", "judge", "report", "compact")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=int, nargs="*", default=[10_000, 100_000])
    add_json_option(parser)
    parser.add_argument("--folder", help="for the tables (temporary; default: the system's)")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(measured(arguments.part, Storage(arguments.out), arguments.clips[0])))
        return
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for clips in arguments.clips:
        found = figures[str(clips)] = {}
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            began = time.perf_counter()
            make(Storage(folder), clips)
            print(f"{clips:>10} clips: tables made in {time.perf_counter() - began:.0f} s", flush=True)
            # What comes again after `compact` is measured on fewer files.
            for name in (*PARTS, *(f"{part} compacted" for part in ("list", "plan", "left"))):
                part = name.split()[0]
                command = [sys.executable, __file__, str(clips), "--part", part, "--out", folder]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    sys.exit(done.stderr)
                found[name] = json.loads(done.stdout)
                # Reading the files is the yardstick of the machine and of the hour.
                yardstick = found["list compacted" if name.endswith(" compacted") else "list"]
                found[name]["to_list"] = found[name]["seconds"] / yardstick["seconds"]
                print(f"{clips:>10} {describe_result(name, found[name])}", flush=True)
    compare(arguments.json, figures, lower=("to_list",))
    write(arguments.json, figures)


def describe_result(part: str, result: dict[str, float]) -> str:
    return (
        f"{part:<16}{result['seconds']:>8.2f} s {result['mib']:>7.0f} MiB "
        f"{result['files']:>7.0f} files of clips {result['rows']:>9.0f} rows"
    )


def make(storage: Storage, clips: int) -> None:
    """The four tables of a source that is wholly labelled."""
    ids = identifiers(clips)
    for table, expert in [
        (CLIPS, None),
        *((table, expert) for table in (DESCRIPTIONS, VOTES) for expert in EXPERTS),
        (JUDGMENTS, None),
    ]:
        size = SHARDS[table.name]
        for start in range(0, clips, size):
            rows = rows_of(table, ids[start : start + size], expert, start)
            committed.commit(storage, committed.folder(table, expert), table, f"{RUN}-{start:09d}", rows)


def identifiers(clips: int) -> list[str]:
    return sorted(f"channel{number % 977:03d}/clip{number:09d}" for number in range(clips))


def rows_of(table: Table, ids: list[str], expert: str | None, start: int) -> pa.Table:
    count = len(ids)
    labels = [[WORDS[(start + n) % 8], WORDS[(start + 3 * n) % 8]] for n in range(count)]
    columns = {
        "video_id": ids,
        "uri": [f"s3://bucket/videos/{name}.mp4" for name in ids],
        "size": [1_000_000 + n for n in range(count)],
        "modified": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * count, pa.timestamp("us", tz="UTC")),
        "duration_s": [5.0] * count,
        "frames": [[b"jpeg"]] * count,
        "expert": [expert] * count,
        "sample": pa.array([0] * count, pa.int32()),
        "text": ["She smiles and speaks in a warm voice."] * count,
        "labels": [list(dict.fromkeys(pair)) for pair in labels],
        "scores": [[0.5] * len(set(pair)) for pair in labels],
        "parse_ok": [True] * count,
        "judge": ["cluster of one,two"] * count,
        "n_voters": pa.array([2] * count, pa.int32()),
        "status": ["ok"] * count,
        "run_id": [RUN] * count,
    }
    return pa.table(
        {field.name: columns.get(field.name, pa.nulls(count, field.type)) for field in table.schema},
        schema=table.schema,
    )


def manifest_of(clips: int) -> pa.Table:
    """A source with the same clips and one in a thousand more."""
    ids = identifiers(clips + clips // 1000)
    rows = rows_of(CLIPS, ids, None, 0)
    # Sizes are numbered within a shard above.
    known = {name: 1_000_000 + n % SHARDS["clips"] for n, name in enumerate(identifiers(clips))}
    sizes = pa.array([known.get(name, 0) for name in ids], pa.int64())
    columns = {
        field.name: rows.column(field.name)
        if field.name in rows.column_names
        else pa.nulls(len(ids), field.type)
        for field in MANIFEST
    }
    return pa.table({**columns, "size": sizes}, schema=MANIFEST)


def measured(part: str, storage: Storage, clips: int) -> dict[str, float]:
    """One part in this process: what it took, and what it found."""
    before = manifest_of(clips) if part in ("plan", "left") else None
    files = len(committed.files(storage, CLIPS.name))
    began = time.perf_counter()
    rows = work(part, storage, before)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "mib": peak, "files": files, "rows": rows}


def work(part: str, storage: Storage, manifest: pa.Table | None) -> int:
    if part == "list":
        return int(committed.read_newest(storage, CLIPS.name, CLIPS, ["status"]).num_rows)
    if part == "plan":
        ingest = steps(load_config(), manifest)[0]
        return int(ingest.left(storage, ingest.given(storage)).num_rows)
    if part == "left":
        described = [experts.settings_of({"kind": "words", "name": name}) for name in EXPERTS]
        left = (DescribeStep(described[0]), ExtractStep(load_config().extract, described))
        return sum(step.left(storage, step.given(storage)).num_rows for step in left)
    if part == "judge":
        judge = JudgeStep(load_config().judge, list(EXPERTS))
        clips = judge.given(storage)
        plan = judge.work(storage, "20260102T000000Z", clips)
        worker = plan.worker()
        return sum(worker(rows).num_rows for rows in committed.batched(clips, plan.shard_rows))
    if part == "report":
        names = (
            ("clips", CLIPS, CLIP_COLUMNS),
            ("descriptions", DESCRIPTIONS, DESCRIPTION_COLUMNS),
            ("votes", VOTES, VOTE_COLUMNS),
            ("judgments", JUDGMENTS, JUDGMENT_COLUMNS),
        )
        light = {
            name: [committed.read_newest(storage, table.name, table, columns).select(list(columns))]
            for name, table, columns in names
        }
        return len(render(summarise(**light), [], [], storage.url))
    for table in (CLIPS, DESCRIPTIONS, VOTES, JUDGMENTS):
        for where in sorted({path.rpartition("/")[0] for path in committed.files(storage, table.name)}):
            compaction.compact(storage, where, table, "20260102T000000Z")
    return len(committed.files(storage, CLIPS.name))


if __name__ == "__main__":
    main()
