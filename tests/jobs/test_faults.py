"""Whatever happens around a run, the tables end up as those of a run that nothing happened to.

The random moments come from seeds: EMO_TEST_SEEDS of them, two by default so that the tests stay quick.
Before a release run more: `EMO_TEST_SEEDS=10 pytest tests/jobs/test_faults*.py`.
"""

import json
import random
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from urllib.request import urlopen

import psutil
import pyarrow as pa
import pytest

import flaky_s3
import s3_servers
from conftest import free_port
from emo.config import load_config
from emo.jobs.judge import JudgeStep
from emo.store.lease import read_lease
from emo.store.s3 import s3_filesystem
from emo.store.storage import Storage
from emo.store.tables import CLIPS
from faults import SEEDS, until
from labelling import EMO, WHEN, WORDS_ONLY, emo, label_words, rows, spoken_clips, tables, works
from small_disk import small_disk

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
