"""What Prometheus finds at a node of the cluster while and after a step ran."""

import os
import re
import sys
import time
from urllib.request import urlopen

import pyarrow as pa

from emo.experts.protocol import Resources
from emo.runs import Step
from emo.storage import Storage
from emo.tables import VOTES
from jobs.connection import cluster
from jobs.extract import vote_rows
from jobs.passes import Pass, run_passes


class Dying:
    """A worker that the row `kills` kills."""

    def __call__(self, shard):
        if "kills" in shard.column("video_id").to_pylist():
            os.kill(os.getpid(), 9)
        return vote_rows(shard, [["happy"]] * shard.num_rows, "test", "1")


def test_clips_seconds_waiting_rows_and_retries_are_exported(ray_cluster, tmp_path):
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ids = ["a", "b", "kills"]
    rows = pa.table({"video_id": ids, "expert": ["e"] * 3, "sample": pa.array([0] * 3, pa.int32())})
    step = f"metrics {time.monotonic_ns()}"
    plan = Pass(
        step=step,
        table=VOTES,
        where=VOTES.name,
        rows=rows,
        key=VOTES.key,
        worker=Dying,
        failed=lambda lost, error: vote_rows(lost, [error] * lost.num_rows, None, "1"),
        resources=Resources(cpus=1),
        shard_rows=1,
    )
    wanted = {"emo_clips_total", "emo_seconds_per_clip_bucket", "emo_waiting", "emo_retries_total"}
    with cluster(ray_cluster["RAY_ADDRESS"], None):
        done = Step(step, rows=3)
        run_passes([(plan, done)], Storage(str(tmp_path)), "1", lambda: None)
        port = ray.nodes()[0]["MetricsExportPort"]
        found: dict[str, str] = {}
        deadline = time.monotonic() + 60
        while not wanted <= found.keys():
            assert time.monotonic() < deadline, found
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
            lines = [line for line in text.splitlines() if step in line]
            found = {match[1]: line for line in lines if (match := re.match(r"ray_(emo_\w+)\{", line))}
            time.sleep(0.5)
    assert 'status="ok"' in found["emo_clips_total"]
    # At least: where the machine is slow, Ray's exporter sends an increment again.
    assert float(found["emo_retries_total"].rpartition(" ")[2]) >= 1
