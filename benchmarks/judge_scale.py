"""The reduce at scale: `emo judge` on a finished OUT against the same fusion of one table in one process.

Writes clips and votes of five experts with three samples each, as runs leave them, for each number of clips,
then judges them as a whole command. Reports the time of the command, that of the fusion alone on one table
in memory (left out above --plain-up-to clips), `to_goal`: the first as a share of 1.5 times the second and
5 s, and the peak of the proportional resident memory (PSS) of all processes together.

    python benchmarks/judge_scale.py --clips 10000 100000 1000000 --json results.json
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from figures import add_json_option, compare, write
from ingest import Peak

from emo import vocabulary
from emo.cojudgment.fusion import judge_votes
from emo.config import load_config
from emo.store import committed
from emo.store.runs import Run
from emo.store.storage import Storage
from emo.store.tables import CLIPS, DESCRIPTIONS, VOTES

EXPERTS = tuple(f"expert{number}" for number in range(5))
SAMPLES = 3
LABELS = 3
RUN = "20260101T000000Z"
EMO = Path(sys.executable).with_name("emo")
FILE_CLIPS = 2000


def clip_ids(first: int, count: int) -> pa.Array:
    """So many ids from a number on; they sort as they count."""
    return pa.array([f"clip{number:08d}" for number in range(first, first + count)])


def clips(ids: pa.Array) -> pa.Table:
    """Ingested clips without their media."""
    count = len(ids)
    values = {"video_id": ids, "uri": ids, "status": pa.repeat("ok", count), "run_id": pa.repeat(RUN, count)}
    return pa.table(
        {field.name: values.get(field.name, pa.nulls(count, field.type)) for field in CLIPS.schema},
        schema=CLIPS.schema,
    )


def votes(ids: pa.Array, expert: str, random: np.random.Generator) -> pa.Table:
    """Every sample's labels: words of the vocabulary, the frequent ones more often."""
    words = sorted(word for cluster in vocabulary.clusters().values() for word in cluster)
    count = len(ids) * SAMPLES
    drawn = (random.random(count * LABELS) ** 3 * len(words)).astype(np.int64)
    labels = pa.ListArray.from_arrays(
        pa.array(np.arange(0, count * LABELS + 1, LABELS, dtype=np.int32)),
        pa.array(words).take(pa.array(drawn)),
    )
    values = {
        "video_id": ids.take(pa.array(np.repeat(np.arange(len(ids)), SAMPLES))),
        "expert": pa.repeat(expert, count),
        "sample": pa.array(np.tile(np.arange(SAMPLES, dtype=np.int32), len(ids))),
        "labels": labels,
        "parse_ok": pa.repeat(True, count),
        "status": pa.repeat("ok", count),
        "run_id": pa.repeat(RUN, count),
    }
    return pa.table(
        {field.name: values.get(field.name, pa.nulls(count, field.type)) for field in VOTES.schema},
        schema=VOTES.schema,
    )


def texts(voters: pa.Table) -> pa.Table:
    """The descriptions that the votes were read off."""
    count = voters.num_rows
    values = {name: voters.column(name) for name in ("video_id", "expert", "sample", "status", "run_id")}
    values["text"] = pa.repeat("The person seems happy and a little proud.", count)
    return pa.table(
        {field.name: values.get(field.name, pa.nulls(count, field.type)) for field in DESCRIPTIONS.schema},
        schema=DESCRIPTIONS.schema,
    )


def make_out(storage: Storage, count: int, keep: bool) -> pa.Table | None:
    """Write clips and votes; all votes as one table where they are kept."""
    random = np.random.default_rng(0)
    kept = []
    for number, first in enumerate(range(0, count, FILE_CLIPS)):
        ids = clip_ids(first, min(FILE_CLIPS, count - first))
        committed.commit(storage, committed.folder(CLIPS), CLIPS, f"{RUN}-{number:08d}", clips(ids))
        for expert in EXPERTS:
            rows = votes(ids, expert, random)
            name = f"{RUN}-{number:08d}"
            committed.commit(storage, committed.folder(VOTES, expert), VOTES, name, rows)
            where = committed.folder(DESCRIPTIONS, expert)
            committed.commit(storage, where, DESCRIPTIONS, name, texts(rows))
            if keep:
                kept.append(rows)
    Run(RUN, "label", None, load_config().model_dump(mode="json"), RUN, RUN, "done").save(storage)
    return pa.concat_tables(kept).combine_chunks() if keep else None


def measure(count: int, plain_up_to: int, cores: int) -> dict[str, float]:
    """One size."""
    with tempfile.TemporaryDirectory() as out:
        table = make_out(Storage(out), count, keep=count <= plain_up_to)
        result: dict[str, float] = {"clips": count}
        if table is not None:
            began = time.monotonic()
            judged = judge_votes(table, load_config().judge.rule(), texts(table))
            result["plain_s"] = time.monotonic() - began
            assert judged.num_rows == count
            del table, judged
        experts = ",".join(f"{{kind: words, name: {name}}}" for name in EXPERTS)
        changes = ["--set", f"experts=[{experts}]", "--set", f"ray.num_cpus={cores}"]
        began = time.monotonic()
        process = subprocess.Popen(
            [EMO, "judge", "--out", out, "--json", *changes],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        peak = Peak(process.pid)
        answer, _ = process.communicate()
        result["emo_judge_s"] = time.monotonic() - began
        result["peak_mib"] = peak.stop()
        if "plain_s" in result:
            result["to_goal"] = result["emo_judge_s"] / (1.5 * result["plain_s"] + 5)
        assert json.loads(answer)["steps"][0]["ok"] == count, answer
        return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--plain-up-to", type=int, default=100_000)
    parser.add_argument("--cores", type=int, default=2)
    add_json_option(parser)
    options = parser.parse_args()
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: options.cores]))
    results = {}
    for count in options.clips:
        found = results[str(count)] = measure(count, options.plain_up_to, options.cores)
        print("  ".join(f"{name} {value:,.2f}" for name, value in found.items()), flush=True)
    compare(options.json, results, lower=("to_goal",))
    write(options.json, results)


if __name__ == "__main__":
    main()
