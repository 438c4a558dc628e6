"""What Prometheus finds at a node of the cluster before, while and after a step runs."""

import json
import mmap
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.request import urlopen

import pyarrow as pa
import pytest
import yaml

from conftest import REPOSITORY, free_port, ray_head
from emo.errors import EmoError
from emo.experts.protocol import Resources
from emo.jobs.extract import vote_rows
from emo.run import metrics
from emo.run.connection import cluster
from emo.run.on_ray import OnRay
from emo.run.passes import run_passes
from emo.run.running import BoundReached
from emo.step import Pass
from emo.store.runs import StepRecord
from emo.store.storage import Storage
from emo.store.tables import VOTES

# How often Ray collects what it exports, unless it is told otherwise, and how often on the cluster here.
RAYS_REPORT_MS = 10_000
REPORT_MS = 2_000
# What a machine without a GPU does not export, and a run that needs no disk.
ONLY_ELSEWHERE = {"ray_node_gpus_utilization", "ray_spill_manager_objects_bytes"}


class Dying:
    """A worker that the row `kills` kills."""

    def __call__(self, shard):
        if "kills" in shard.column("video_id").to_pylist():
            os.kill(os.getpid(), 9)
        return vote_rows(shard, [["happy"]] * shard.num_rows, "test", "1")


class Frozen:
    """A worker that ends a shard once the file is there that its rows are named after."""

    def __call__(self, shard):
        while not Path(shard.column("video_id")[0].as_py()).parent.joinpath("go on").exists():
            time.sleep(0.1)
        return vote_rows(shard, [["happy"]] * shard.num_rows, "test", "1")


def a_pass(step, ids, worker):
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    rows = pa.table(
        {"video_id": ids, "expert": ["e"] * len(ids), "sample": pa.array([0] * len(ids), pa.int32())}
    )
    return Pass(
        step=step,
        table=VOTES,
        where=VOTES.name,
        rows=rows,
        key=VOTES.key,
        worker=worker,
        failed=lambda lost, error: vote_rows(lost, [error] * lost.num_rows, None, "1"),
        resources=Resources(cpus=1),
        shard_rows=1,
    )


def scraped():
    """Every series of this node: name, labels, value."""
    import ray

    port = ray.nodes()[0]["MetricsExportPort"]
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = [re.match(r"(\w+)\{(.*)\} (\S+)$", line) for line in lines]
    return [
        (match[1], dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2])), float(match[3]))
        for match in found
        if match
    ]


def values(step, series=None):
    """The emo metrics of a step, among series or those of now: name and status or direction → value."""
    return {
        (name.removeprefix("ray_"), labels.get("status") or labels.get("direction") or ""): value
        for name, labels, value in series or scraped()
        if labels.get("step") == step
    }


def wait_for(what, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def asked():
    """Every metric that a rule or a panel asks for, with the labels that it sorts or selects by."""
    rules = yaml.safe_load((REPOSITORY / "cluster/alert-rules.yml").read_text())["groups"][0]["rules"]
    dashboard = json.loads((REPOSITORY / "cluster/grafana-dashboard.json").read_text())
    targets = [target for panel in dashboard["panels"] for target in panel["targets"]]
    texts = [(rule["expr"], "") for rule in rules]
    texts += [(target["expr"], target["legendFormat"]) for target in targets]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    for expression, legend in texts:
        of_all = {
            label for by in re.findall(r"by \(([^)]*)\)", expression) for label in re.split(r",\s*", by)
        }
        of_all |= set(re.findall(r"\{\{(\w+)\}\}", legend))
        names = re.findall(r"([a-z]\w*(?::\w+)+|ray_\w+)(?:\{([^}]*)\})?", expression)
        assert names, expression
        for name, selectors in names:
            if ":" in name:
                assert name in recorded
                continue
            selected = dict(re.findall(r'(\w+)="([^"]*)"', selectors))
            # The instance is Prometheus's own label.
            yield name, of_all - {"instance"}, selected


@pytest.fixture(scope="module")
def reporting_cluster():
    """The address of a cluster that exports metrics, and reports them every two seconds in place of ten."""
    port = free_port()
    every = {"metrics_report_interval_ms": REPORT_MS}
    options = ["--num-cpus=2", "--object-store-memory=100000000", f"--system-config={json.dumps(every)}"]
    options += ["--no-monitor", f"--dashboard-agent-listen-port={free_port()}"]
    # Its agent asks the variable.
    environment = {f"RAY_{name}": str(value) for name, value in every.items()}
    with ray_head(port, Path(f"/tmp/emo-test-metrics-{port}"), options, environment, metrics=True):
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def passes(reporting_cluster):
    """The metrics of the passes by step, as the driver has them: what it counted as ok, shard by shard, too.

    It stays connected for all tests, because Ray collects from it.
    """
    made = {}

    class Noted(metrics.PassMetrics):
        def __init__(self, step):
            super().__init__(step)
            self.ok = []
            made[step] = self

        def shard(self, counts):
            super().shard(counts)
            self.ok.append(counts["ok"])

    with pytest.MonkeyPatch.context() as patch, cluster(reporting_cluster, None):
        patch.setattr("emo.run.on_ray.PassMetrics", Noted)
        patch.setattr(metrics, "SET_EVERY_S", metrics.SET_EVERY_S * REPORT_MS / RAYS_REPORT_MS)
        yield made


@pytest.fixture(scope="module")
def ended(passes, tmp_path_factory):
    """The steps of three passes that are over: whose worker died, whose bound was reached, that failed."""
    steps = [f"{what} {time.monotonic_ns()}" for what in ("dying", "bound", "error")]
    folder = tmp_path_factory.mktemp("ended")

    def run(step, ids, worker, stop=lambda: None):
        record = StepRecord(step, rows=len(ids))
        run_passes([(a_pass(step, ids, worker), record)], Storage(str(folder / step)), "1", stop, OnRay())

    def bound():
        raise BoundReached("reached")

    def broken(_):
        raise EmoError("this worker cannot start")

    run(steps[0], ["a", "b", "kills"], Dying)
    (folder / "go on").touch()
    with pytest.raises(BoundReached):
        run(steps[1], [str(folder / str(n)) for n in range(8)], Frozen, bound)
    with pytest.raises(EmoError, match="cannot start"):
        run(steps[2], ["a"], lambda: broken)
    return steps


@pytest.fixture(scope="module")
def exported(ended):
    """What was not exported of these passes within a minute, and the last values of the first one.

    Looked at together: Ray soon drops the gauges of a pass that is over.
    """
    wanted = list(asked())
    assert len(wanted) > 10
    dying, *early = ended
    left = dict.fromkeys(ended)
    deadline = time.monotonic() + 60
    while left and time.monotonic() < deadline:
        now = scraped()
        for step in [one for one in early if one in left]:
            if values(step, now).get(("emo_waiting", "")) == 0:
                del left[step]
        if dying in left:
            found = values(dying, now)
            left[dying] = missing(wanted, dying, now)
            if not left[dying]:
                del left[dying]
        time.sleep(0.5)
    return left, found


def missing(wanted, step, now):
    """What the rules and panels want and is not there."""
    # One row died three times with its worker and once alone: it failed, and was tried again.
    if values(step, now).get(("emo_clips_total", "failed"), 0) < 1:
        return ["the last counts"]
    series = [(name, labels) for name, labels, _ in now if labels.get("step") in (step, None)]
    return [
        (name, by, selected)
        for name, by, selected in wanted
        if name not in ONLY_ELSEWHERE
        and not any(
            name == exported and by <= labels.keys() and selected.items() <= labels.items()
            for exported, labels in series
        )
    ]


def test_every_metric_and_label_of_rules_and_panels_is_exported_by_a_run(passes, ended, exported):
    left, found = exported
    assert ended[0] not in left, left[ended[0]]
    assert sum(passes[ended[0]].ok) == 2
    # At least: where the machine is slow, Ray's exporter sends an increment again.
    assert found["emo_clips_total", "ok"] >= 2
    assert found["emo_retries_total", ""] >= 1
    assert found["emo_tokens_total", "prompt"] == found["emo_tokens_total", "output"] == 0


def test_a_pass_that_ends_early_leaves_nothing_waiting(passes, ended, exported):
    """Rows were left over: they wait for another run, and no alarm of this one."""
    left, _ = exported
    for step in ended[1:]:
        assert passes[step]._timer is not None
        assert not passes[step]._timer.is_alive()
        assert step not in left


def test_the_report_of_a_cluster_that_is_told_nothing_comes_as_often_as_the_tests_assume():
    # This process has heard of the other interval from its cluster.
    asked = [sys.executable, "-c", "import ray; print(ray._config.metrics_report_interval_ms())"]
    assert int(subprocess.run(asked, capture_output=True, text=True, check=True).stdout) == RAYS_REPORT_MS


def test_metrics_of_a_gpu_and_of_spilling_are_named_as_ray_names_them():
    import ray
    from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

    assert {name for name, _, _ in asked()} >= ONLY_ELSEWHERE
    (labels,) = [by for name, by, _ in asked() if name == "ray_node_gpus_utilization"]
    assert labels <= set(METRICS_GAUGES["node_gpus_utilization"].view.columns)
    # The raylet counts what it spills: its program holds the names.
    raylet = Path(ray.__file__).parent / "core/src/ray/raylet/raylet"
    with raylet.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as program:
        assert program.find(b"spill_manager_objects_bytes") >= 0
        for name, _, selected in asked():
            if name == "ray_spill_manager_objects_bytes":
                assert all(program.find(word.encode()) >= 0 for pair in selected.items() for word in pair)


def test_a_frozen_worker_shows_waiting_rows_and_counters_at_zero_until_the_pass_ends(passes, tmp_path):
    step = f"frozen {time.monotonic_ns()}"
    plan = a_pass(step, [str(tmp_path / name) for name in "abc"], Frozen)
    running = threading.Thread(
        target=run_passes,
        args=([(plan, StepRecord(step, rows=3))], Storage(str(tmp_path)), "1", lambda: None, OnRay()),
    )
    running.start()
    try:
        first = wait_for(lambda: found if (found := values(step)) else None)
        zeros = {
            ("emo_clips_total", "ok"): 0,
            ("emo_clips_total", "failed"): 0,
            ("emo_tokens_total", "prompt"): 0,
            ("emo_tokens_total", "output"): 0,
            ("emo_retries_total", ""): 0,
        }
        seconds = ("emo_running_seconds_total", "")
        began = first.pop(seconds)
        assert first == {("emo_waiting", ""): 3, **zeros}
        # Longer than Ray keeps a gauge that nobody sets: two of its reports.
        for _ in range(12):
            time.sleep(0.2 * REPORT_MS / 1000)
            assert values(step)["emo_waiting", ""] == 3
        wait_for(lambda: values(step)[seconds] > began)
    finally:
        (tmp_path / "go on").touch()
        running.join()
    found = wait_for(lambda: now if (now := values(step)).get(("emo_waiting", "")) == 0 else None)
    assert sum(passes[step].ok) == 3
    # At least: where the machine is slow, Ray's exporter sends an increment again.
    assert found["emo_clips_total", "ok"] >= 3
