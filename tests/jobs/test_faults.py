"""Whatever happens around a run, the tables end up as those of a run that nothing happened to.

The random moments come from seeds: EMO_TEST_SEEDS of them, two by default so that the tests stay quick.
Before a release run more: `EMO_TEST_SEEDS=10 pytest tests/jobs/test_faults.py`.
"""

import json
import os
import random
import re
import resource
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import psutil
import pyarrow as pa
import pytest

import flaky_s3
import s3_servers
from conftest import free_port
from emo import estimates
from emo.config import load_config
from emo.errors import EmoError, StorageError
from emo.experts.protocol import Resources
from emo.jobs.extract import vote_rows
from emo.jobs.judge import JudgeStep
from emo.run.connection import cluster
from emo.run.on_ray import OnRay
from emo.run.passes import run_passes
from emo.run.session import Bounds, session
from emo.run.settings import GrowsTo
from emo.step import Pass
from emo.store import committed, planning
from emo.store.lease import Lease, read_lease
from emo.store.runs import StepRecord
from emo.store.s3 import s3_filesystem
from emo.store.storage import Storage
from emo.store.tables import CLIPS, VOTES
from labelling import EMO, WHEN, WORDS_ONLY, by_id, emo, label_words, rows, spoken_clips, tables, works
from ray_nodes import Nodes
from small_disk import small_disk

SEEDS = range(int(os.environ.get("EMO_TEST_SEEDS", "2")))
CLIP_COUNT = 12
STEPS = ("ingest", "describe words", "extract", "judge")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return spoken_clips(tmp_path_factory.mktemp("videos"), CLIP_COUNT - 1, broken=True)


@pytest.fixture(scope="module")
def undisturbed(videos, tmp_path_factory, ray_cluster):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    done = label_words(videos, out, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    return tables(Storage(str(out)))


@contextmanager
def running(videos, out, *more):
    """`emo label` with a Ray cluster of its own, in a process group of its own."""
    command = [EMO, "label", videos, "--out", out, *WORDS_ONLY, "--set", "ingest.shard_rows=1", *more]
    command += ["--set", "ingest.workers=2", "--set", "ray.address=local"]
    process = subprocess.Popen(
        list(map(str, command)),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    said = []
    listener = threading.Thread(target=lambda: said.extend(process.stderr), daemon=True)
    listener.start()
    try:
        yield process, said
    finally:
        for one in _family(process.pid):
            one.kill()
        process.wait()
        listener.join(10)


def _family(pid):
    try:
        process = psutil.Process(pid)
        return [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        return []


def _title(process):
    try:
        return process.name() + " " + " ".join(process.cmdline()[:1])
    except psutil.Error:
        return ""


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
def test_workers_killed_at_random_moments_of_every_step_change_nothing(videos, undisturbed, tmp_path, seed):
    chance = random.Random(seed)
    out = tmp_path / "out"
    killed = dict.fromkeys(STEPS, 0)
    with running(videos, out) as (process, said):
        deadline = time.monotonic() + 200
        while process.poll() is None:
            assert time.monotonic() < deadline, said
            lines = [line for line in list(said) if line.partition(":")[0] in STEPS]
            step = lines[-1].partition(":")[0] if lines else None
            family = [(one, _title(one)) for one in _family(process.pid)]
            workers = [one for one, title in family if works(title)]
            # Now and then the process that counts the attempts too.
            counters = [one for one, title in family if "Attempts" in title and chance.random() < 0.25]
            if step and not killed[step] and workers:
                time.sleep(chance.uniform(0, 1.0))
                for one in [*chance.sample(workers, 1), *counters]:
                    try:
                        one.kill()
                        killed[step] += 1
                    except psutil.NoSuchProcess:
                        continue
            time.sleep(0.05)
        assert process.returncode == 0, said
    assert sum(killed.values()) >= 2, killed
    assert tables(Storage(str(out))) == undisturbed


# Each process that a run consists of, by its title; the driver is the command itself.
VICTIMS = {
    "driver": None,
    "worker": works,
    "raylet": lambda title: "/raylet" in title,
    "gcs": lambda title: "gcs_server" in title,
}
DISTURBANCES = [(victim, way) for victim in VICTIMS for way in ("kill", "pause")]
# What a run does not outlive; the same command then goes on.
DEADLY = {("driver", "kill"), ("raylet", "kill"), ("gcs", "kill")}


@pytest.fixture(params=["local", "moto", *s3_servers.NEEDS])
def chaotic_out(request, tmp_path):
    """OUT on a disk or on a server, and the arguments that reach it."""
    kind = request.param
    if kind == "local":
        yield Storage(str(tmp_path / "out")), []
        return
    if kind == "moto":
        url, s3 = request.getfixturevalue("bucket")
        yield Storage(f"{url}/out", s3), ["--set", f"s3.endpoint_url={s3.endpoint_url}"]
        return
    if lacking := s3_servers.lacking(kind):
        pytest.skip(f"not on this machine: {', '.join(lacking)}")
    with s3_servers.server(kind) as s3:
        s3_filesystem(s3).call_s3("create_bucket", Bucket="chaos")
        config = tmp_path / "config.yaml"
        config.write_text(f"s3: {s3_servers.settings_with_secrets(s3)}\n")
        yield Storage("s3://chaos/out", s3), ["--config", config]


def hit(process, victim, way, chance):
    """Kill a process of a run, or pause it for some seconds; whether there was one."""
    found = _family(process.pid)
    fits = VICTIMS[victim]
    hits = [one for one in found if (one.pid == process.pid if fits is None else fits(_title(one)))]
    if not hits:
        return False
    target = chance.choice(hits)
    try:
        if way == "kill":
            target.kill()
        else:
            target.suspend()
            time.sleep(chance.uniform(1, 6))
            target.resume()
    except psutil.NoSuchProcess:
        return False
    return True


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_killed_or_paused_the_same_command_ends_with_the_tables_of_an_undisturbed_run(
    videos, undisturbed, chaotic_out, seed, request
):
    """Four of eight disturbances, at random moments from the first worker on, over as many runs as it takes.

    A run that follows a killed one begins at once, while what is left of that one may still be at work.
    """
    out, settings = chaotic_out
    case = request.node.callspec.id
    chance = random.Random(case)
    todo, landed, left = chance.sample(DISTURBANCES, 4), [], []
    began = time.monotonic()
    try:
        for runs in range(1, 8):
            with running(videos, out.url, *settings) as (process, said):
                here, deadline = [], time.monotonic() + 300
                while process.poll() is None:
                    assert time.monotonic() < deadline, f"run {runs} after {landed}: {said}"
                    family = _family(process.pid)
                    if todo and any(works(_title(one)) for one in family):
                        time.sleep(chance.uniform(0, 2))
                        left += family
                        if process.poll() is None and hit(process, *todo[0], chance):
                            here.append(todo.pop(0))
                    time.sleep(0.05)
            landed += here
            assert process.returncode == 0 or DEADLY & set(here), f"run {runs} after {here}: {said}"
            if process.returncode == 0:
                break
        print(f"{case}: {landed} in {runs} runs, {time.monotonic() - began:.0f} s")
        assert process.returncode == 0, said
        assert len(landed) >= 2
        assert tables(out) == undisturbed
        # Every judgment is of the votes that are there.
        judge = JudgeStep(load_config().judge, ["words"])
        assert judge.left(out, judge.given(out)).num_rows == 0
        assert read_lease(out) is None
    finally:
        for one in left:
            with suppress(psutil.NoSuchProcess):
                one.resume()
                one.kill()


class Slow:
    """A worker that takes its time and tells which node it is on."""

    def __init__(self, seconds=0.3):
        self._seconds = seconds

    def __call__(self, shard):
        import ray

        time.sleep(self._seconds)
        node = ray.get_runtime_context().get_node_id()
        return vote_rows(shard, [[node]] * shard.num_rows, "test", "1")


def make_pass(count, **changes):
    ids = [f"clip{number:03d}" for number in range(count)]
    votes = pa.table({"video_id": ids, "expert": ["e"] * count, "sample": pa.array([0] * count, pa.int32())})
    options = {
        "step": "test",
        "table": VOTES,
        "where": VOTES.name,
        "rows": votes,
        "key": VOTES.key,
        "worker": Slow,
        "failed": lambda lost, error: vote_rows(lost, [error] * lost.num_rows, None, "1"),
        "resources": Resources(cpus=1),
        "shard_rows": 1,
        **changes,
    }
    return Pass(**options)


@pytest.fixture
def nodes():
    made = Nodes()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def _whole_classes():
    """The workers cannot import a test module: its classes travel whole."""
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


def alive():
    import ray

    return sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def run(plan, out, stop=lambda: None, grows_to=None):
    step = StepRecord(plan.step, rows=plan.rows.num_rows)
    run_passes([(plan, step)], Storage(str(out)), "1", stop, OnRay(grows_to))
    return step


def where_rows_were_made(out):
    labels = [row["labels"][0] for row in rows(out, VOTES, "labels")]
    return {label: labels.count(label) for label in labels}


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_goes_on_when_a_node_leaves_for_good(nodes, tmp_path, seed):
    chance = random.Random(seed)
    nodes.start(1, head=True)
    leaving = nodes.start(1)
    with cluster(nodes.address, None):
        until(lambda: alive() == 2)

        def leave():
            until(lambda: len(list(tmp_path.glob("out/votes/*/*.parquet"))) >= 4)
            time.sleep(chance.uniform(0, 2))
            nodes.kill(leaving)

        thread = threading.Thread(target=leave)
        thread.start()
        step = run(make_pass(24), tmp_path / "out")
        thread.join()
    assert (step.ok, step.failed) == (24, 0)
    assert len(where_rows_were_made(tmp_path / "out")) == 2
    assert committed.read_all(Storage(str(tmp_path / "out")), "votes", VOTES, []).num_rows == 24


@pytest.mark.long
def test_a_node_that_joins_half_way_is_used_where_the_cluster_may_grow(nodes, tmp_path):
    # Nothing but a head without CPUs at first, as where all pools scale from zero.
    nodes.start(0, head=True)
    with cluster(nodes.address, None):
        assert alive() == 0

        def join():
            nodes.start(1)
            until(lambda: len(list(tmp_path.glob("out/votes/*/*.parquet"))) >= 3)
            nodes.start(1)

        thread = threading.Thread(target=join)
        thread.start()
        plan = make_pass(100, worker=lambda: Slow(0.5))
        step = run(plan, tmp_path / "out", grows_to=GrowsTo(cpus=2))
        thread.join()
    assert (step.ok, step.failed) == (100, 0)
    assert len(where_rows_were_made(tmp_path / "out")) == 2


def test_a_bound_on_gpu_hours_ends_a_night_between_shards_and_the_next_goes_on(ray_cluster, tmp_path):
    config = load_config(overrides=[f"ray.address={ray_cluster['RAY_ADDRESS']}"])
    out = str(tmp_path / "out")
    # The GPU of the tests' cluster is only claimed, and claiming it is what costs.
    plan = make_pass(20, worker=lambda: Slow(0.2), resources=Resources(cpus=1, gpus=1))
    with session(config, out, "nightly", None) as night:
        night.limit(Bounds(gpu_hours=0.5 / 3600))
        first, second = night.execute(plan, 0), night.execute(plan, 0)
        assert night.bound == "the bound of 0.000138889 GPU-hours was reached"
    written = committed.read_newest(Storage(out), "votes", VOTES, [])
    # One worker, and it finished what it had begun.
    assert first.ok == written.num_rows == 20 - first.left
    assert 1 <= first.ok <= 12
    assert (second.ok, second.left) == (0, 20)
    spent = estimates.spent([vars(first), vars(second)], config.prices)["gpu_hours"]
    assert 0.5 / 3600 <= spent == pytest.approx(first.seconds / 3600)

    with session(config, out, "nightly", None) as night:
        left = planning.not_in(plan.rows, written, VOTES.key)
        rest = night.execute(replace(plan, rows=left), first.ok)
        assert night.bound is None
    assert (rest.ok, rest.left) == (first.left, 0)
    assert committed.read_all(Storage(out), "votes", VOTES, []).num_rows == 20
    assert committed.read_newest(Storage(out), "votes", VOTES, []).num_rows == 20


def test_a_run_can_be_watched_from_outside_until_it_ends(ray_cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("emo.run.session.SAVE_EVERY_S", 0.5)
    config = load_config(overrides=[f"ray.address={ray_cluster['RAY_ADDRESS']}"])
    out = str(tmp_path / "out")
    with session(config, out, "label", None) as watched:
        command = [EMO, "status", "--watch", "--out", out]
        watcher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        watched.execute(make_pass(30, worker=lambda: Slow(0.4)), 0)
    shown, said = watcher.communicate(timeout=60)
    assert watcher.returncode == 0
    # Not on a terminal: whole lines, nothing drawn over.
    assert "\x1b" not in said
    head = rf"run {watched.run_id} \(label\): running; held by emo label on \S+, process {os.getpid()}"
    assert re.search(rf"^{head}; test: \d+/30, 0 failed, .*(/s|s each), \d+ s left$", said, re.MULTILINE), (
        said
    )
    assert f"run {watched.run_id} (label): done; no run is active" in said
    assert re.search(r"^  test +30/30, 0 failed, .*took \d+ s$", said, re.MULTILINE), said
    assert "votes                     30 rows           0 failed" in shown


@pytest.fixture
def flaky(s3_endpoint, request):
    """The address of an S3 server on a bad day, and what it did so far."""
    port = free_port()
    seed = getattr(request, "param", 0)
    backend = s3_endpoint.rpartition(":")[2]
    process = subprocess.Popen([sys.executable, flaky_s3.__file__, str(port), backend, str(seed)])

    def log():
        with urlopen(f"http://127.0.0.1:{port}/__log", timeout=10) as answer:
            return json.load(answer)

    def up():
        try:
            return log() is not None
        except OSError:
            return False

    until(up)
    yield f"http://127.0.0.1:{port}", log
    process.kill()
    process.wait()


def upload(videos, url, s3):
    storage = Storage(url, s3)
    for path in videos.iterdir():
        storage.write(f"videos/{path.name}", path.read_bytes())
    return storage


@pytest.mark.long
@pytest.mark.parametrize("flaky", SEEDS[:1] if len(SEEDS) < 10 else SEEDS, indirect=True)
def test_on_a_bad_day_of_s3_no_row_is_lost_and_none_is_there_twice(
    videos, undisturbed, bucket, flaky, ray_cluster
):
    url, s3 = bucket
    upload(videos, url, s3)
    endpoint, log = flaky
    settings = ["--set", f"s3.endpoint_url={endpoint}", "--set", "s3.max_attempts=8"]
    done = label_words(f"{url}/videos", f"{url}/out", *settings, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    injected = log()
    assert injected.keys() >= {"SlowDown", "InternalError", "cut", "answer lost"}, injected
    places = (*WHEN, "uri", "modified", "transcript_version")
    expected = {
        name: [{key: value for key, value in row.items() if key not in places} for row in found]
        for name, found in undisturbed.items()
    }
    assert tables(Storage(f"{url}/out", s3), without=places) == expected
    # Whoever wonders why it was slow finds the retries in the log.
    assert re.search(r'"event": "s3_retry", "operation": "\w+", "attempt": \d', done.stderr)
    assert read_lease(Storage(f"{url}/out", s3)) is None


def test_a_lease_whose_answers_are_lost_is_still_held(bucket, monkeypatch):
    url, s3 = bucket
    storage = Storage(url, s3)
    filesystem = storage.backend.filesystem
    real = filesystem.call_s3

    def lossy(method, *arguments, **options):
        if method == "put_object" and "Body" in options:
            real(method, *arguments, **options)
        return real(method, *arguments, **options)

    # The server stores it, the answer is lost, the client sends it again: the second is refused.
    monkeypatch.setattr(filesystem, "call_s3", lossy)
    with Lease(storage, "label") as lease:
        assert not lease.lost
        assert read_lease(storage) is not None
    assert read_lease(storage) is None


def test_no_space_left_is_said_as_such_and_not_taken_for_a_missing_file(tmp_path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full, the file of a disk that is full")
    storage = Storage(str(tmp_path))
    with (
        pytest.raises(StorageError, match=r"clip00\.mp4: no space left on the device"),
        storage.errors("clip00.mp4"),
        full.open("wb", buffering=0) as target,
    ):
        target.write(b"x")


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", "300k") as made:
        yield made


@pytest.mark.long
def test_out_on_a_full_disk_is_a_clear_error_and_more_space_is_all_that_it_takes(
    videos, undisturbed, disk, ray_cluster
):
    folder, enlarge = disk
    full = label_words(videos, folder / "out", "--set", "ingest.shard_rows=1", env=ray_cluster)
    assert full.returncode == 1, full.stderr
    assert re.search(r"^emo: \S+: no space left on the device$", full.stderr, re.MULTILINE), full.stderr
    # What is there is whole and right.
    ingested = {row["video_id"] for row in undisturbed["clips"]}
    assert {row["video_id"] for row in rows(folder / "out", CLIPS, "frames")} < ingested
    enlarge()
    done = label_words(videos, folder / "out", "--set", "ingest.shard_rows=1", env=ray_cluster)
    assert done.returncode == 0, done.stderr
    assert tables(Storage(str(folder / "out"))) == undisturbed


@pytest.mark.long
def test_blocks_of_which_the_object_store_holds_one_lose_no_row(nodes, tmp_path):
    """Blocks of 60 MB, read quicker than they are used, through an object store of 100 MB.

    Whether the engine waits or spills is its own choice.
    """
    nodes.start(2, head=True)

    def read(shard):
        return shard.append_column(
            "large", pa.array([os.urandom(60_000_000)] * shard.num_rows, pa.large_binary())
        )

    with cluster(nodes.address, None):
        step = run(make_pass(30, read=read, worker=Checking), tmp_path / "out")
    assert (step.ok, step.failed) == (30, 0)
    assert committed.read_all(Storage(str(tmp_path / "out")), "votes", VOTES, []).num_rows == 30
    assert where_rows_were_made(tmp_path / "out") == {"60000000": 30}


class Checking:
    """A worker that tells how large its column is."""

    def __call__(self, shard):
        time.sleep(0.2)
        size = str(len(shard.column("large")[0].as_buffer()))
        return vote_rows(shard, [[size]] * shard.num_rows, "test", "1")


class Hungry:
    """A worker of a process that may have 200 MB more than it has, and takes more for one row."""

    def __init__(self):
        self._eaten = []

    def __call__(self, shard):
        if "clip003" in shard.column("video_id").to_pylist():
            before = resource.getrlimit(resource.RLIMIT_DATA)
            has = psutil.Process().memory_info().data
            resource.setrlimit(resource.RLIMIT_DATA, (has + 200_000_000, before[1]))
            try:
                self._eaten = [b"x" * 50_000_000 for _ in range(20)]
            finally:
                resource.setrlimit(resource.RLIMIT_DATA, before)
        return vote_rows(shard, [["fed"]] * shard.num_rows, "test", "1")


def test_a_worker_without_memory_stops_the_pass_by_name_and_with_memory_it_goes_on(ray_cluster, tmp_path):
    # One that the system or Ray kills for its memory is like any other that dies.
    storage, plan = Storage(str(tmp_path)), make_pass(8, worker=Hungry)
    with cluster(ray_cluster["RAY_ADDRESS"], None), pytest.raises(EmoError, match="MemoryError"):
        run(plan, tmp_path)
    done = committed.read_newest(storage, "votes", VOTES, ["labels"])
    assert done.num_rows < 8
    left = planning.not_in(plan.rows, done, VOTES.key)
    # Another connection, as of another command: Ray Data keeps the workers of what failed in a cycle.
    with cluster(ray_cluster["RAY_ADDRESS"], None):
        run(replace(plan, rows=left, worker=Slow), tmp_path)
    assert committed.read_all(storage, "votes", VOTES, []).num_rows == 8


def test_a_run_removes_what_killed_writers_left(tmp_path):
    names = ("clips/.a.x1.part", "votes/words/.b.x2.part", ".lease.x3.part")
    dead = [tmp_path / name for name in names]
    for path in dead:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half a fi")
        os.utime(path, (1e9, 1e9))
    young, foreign = tmp_path / "clips/.c.x4.part", tmp_path / "videos/.d.x5.part"
    foreign.parent.mkdir()
    for path in (young, foreign):
        path.write_bytes(b"")
    os.utime(foreign, (1e9, 1e9))
    with session(load_config(), str(tmp_path), "label", None):
        assert not any(path.exists() for path in dead)
        # Of folders that are not emo's it touches nothing.
        assert young.exists()
        assert foreign.exists()


class Greedy:
    """A worker that takes memory for one row until it is killed, of 8 GB at the most."""

    def __call__(self, shard):
        eaten = []
        while "clip003" in shard.column("video_id").to_pylist() and len(eaten) < 40:
            eaten.append(os.urandom(1_000_000) * 200)
            time.sleep(0.05)
        return vote_rows(shard, [["fed"]] * shard.num_rows, "test", "1")


@pytest.mark.long
def test_a_worker_that_ray_kills_for_its_memory_costs_its_row_and_no_other(nodes, tmp_path, monkeypatch):
    memory = psutil.virtual_memory()
    if memory.available < 9e9:
        pytest.skip("fewer than 9 GB of memory are free here")
    limit = (memory.total - memory.available + 3e9) / memory.total
    with monkeypatch.context() as watched:
        watched.setenv("RAY_memory_monitor_refresh_ms", "100")
        watched.setenv("RAY_memory_usage_threshold", str(limit))
        nodes.start(2, head=True)
    with cluster(nodes.address, None):
        step = run(make_pass(8, worker=Greedy), tmp_path)
    assert (step.ok, step.failed, step.error_codes) == (7, 1, {"worker_died": 1})
    found = by_id(rows(tmp_path, VOTES, "labels"), "labels")
    assert found == {f"clip{number:03d}": None if number == 3 else ["fed"] for number in range(8)}
    assert committed.read_all(Storage(str(tmp_path)), "votes", VOTES, []).num_rows == 8


def test_foreign_files_are_named_and_refused_and_set_aside_when_asked(videos, tmp_path, ray_cluster):
    out = tmp_path / "out"
    assert label_words(videos, out, env=ray_cluster).returncode == 0
    expected = tables(Storage(str(out)))
    good = next((out / "clips").glob("*.parquet"))
    cut = good.with_name("cut.parquet")
    cut.write_bytes(good.read_bytes()[:-100])
    foreign = out / "votes/words/foreign.parquet"
    pa.parquet.write_table(pa.table({"a": [1]}), foreign)
    before = {path: path.read_bytes() for path in out.rglob("*.parquet")}

    refused = label_words(videos, out, env=ray_cluster)
    assert refused.returncode == 1
    assert "cut.parquet is not a readable Parquet file" in refused.stderr
    assert {path: path.read_bytes() for path in out.rglob("*.parquet")} == before

    repaired = emo("repair", "--out", out)
    assert repaired.returncode == 0, repaired.stderr
    assert repaired.stderr.splitlines()[-1] == "emo repair: 2 files were set aside"
    assert (out / "set-aside/clips/cut.parquet").read_bytes() == before[cut]
    assert (out / "set-aside/votes/words/foreign.parquet").read_bytes() == before[foreign]
    again = label_words(videos, out, env=ray_cluster)
    assert again.returncode == 0, again.stderr
    assert tables(Storage(str(out))) == expected
