"""Whatever dies, no row is lost, none is there twice, and nothing runs for ever.

The random moments come from seeds: EMO_TEST_SEEDS of them, one by default so that the tests stay quick.
"""

import _thread
import gc
import io
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import cloudpickle
import pyarrow as pa
import pytest

from emo.errors import EmoError, MachineError, RowError
from emo.experts.protocol import Resources
from emo.jobs.extract import vote_rows
from emo.run import committing, waiting
from emo.run.attempts import ATTEMPTS
from emo.run.connection import cluster
from emo.run.here import Here
from emo.run.on_ray import OnRay
from emo.run.passes import run_passes
from emo.run.running import BoundReached
from emo.step import Pass
from emo.store.runs import StepRecord
from emo.store.storage import Storage
from emo.store.tables import VOTES
from emo.terminal import progress
from labelling import raw_rows, rows


class Labels:
    """A worker that dies, or raises, on the rows whose id says so."""

    def __init__(self, run_id, log=None):
        self._run_id = run_id
        self._log = log

    def __call__(self, shard):
        ids = shard.column("video_id").to_pylist()
        for video_id in ids:
            if self._log is not None:
                with Path(self._log).open("a") as log:
                    log.write(f"{video_id}\n")
            if "kills" in video_id:
                os.kill(os.getpid(), signal.SIGKILL)
            if "raises" in video_id:
                raise EmoError(f"the place of {video_id} is gone")
        return vote_rows(shard, [["happy"]] * len(ids), "test", self._run_id)


def make_pass(ids, log=None, make=Labels, **changes):
    votes = pa.table(
        {
            "video_id": ids,
            "expert": ["e"] * len(ids),
            "sample": pa.array([0] * len(ids), pa.int32()),
        }
    )
    options = {
        "step": "test",
        "table": VOTES,
        "where": VOTES.name,
        "rows": votes,
        "key": VOTES.key,
        "worker": lambda: make("1", log),
        "failed": lambda lost, error: vote_rows(lost, [error] * lost.num_rows, None, "1"),
        "resources": Resources(cpus=1),
        "shard_rows": 5,
        # Each is a process that starts: one is enough where their number is not the point.
        "workers": 1,
        **changes,
    }
    return Pass(**options)


@pytest.fixture(scope="module")
def connection(ray_cluster):
    """This process as a driver on the tests' cluster. Each connection starts processes of its own there."""
    import ray

    # The workers cannot import a test module: its classes travel whole.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with cluster(ray_cluster["RAY_ADDRESS"], None):
        # A pass that is cut looks for garbage, and only what came since can be its own. A process in which
        # many other tests have run holds millions of objects.
        gc.freeze()
        try:
            yield OnRay()
        finally:
            gc.unfreeze()


@pytest.fixture(params=["on Ray", "here"])
def engine(request):
    """Both places where a pass runs."""
    if request.param == "on Ray":
        yield request.getfixturevalue("connection")
        return
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with Here(2) as here:
        yield here


def run(plan, out, engine):
    step = StepRecord(plan.step, rows=plan.rows.num_rows)
    run_passes([(plan, step)], Storage(str(out)), "1", lambda: None, engine)
    return step


def test_a_row_that_always_kills_its_worker_is_one_failed_row(engine, tmp_path):
    ids = [f"clip{number:02d}" for number in range(12)] + ["kills"]
    log = tmp_path / "log"
    step = run(make_pass(ids, str(log), workers=None), tmp_path / "out", engine)
    assert (step.ok, step.failed, step.error_codes) == (12, 1, {"worker_died": 1})
    found = {row["video_id"]: row["error"] for row in rows(tmp_path / "out", VOTES, "error")}
    assert found == {**dict.fromkeys(ids[:12]), "kills": "worker_died"}
    assert raw_rows(tmp_path / "out", VOTES).num_rows == 13
    # Twice in its shard, which others shared with it, twice alone, and never again.
    assert log.read_text().split().count("kills") == 2 * ATTEMPTS


class DiesAfterCommit(Labels):
    """Its rows are in the table, and nobody hears of them."""

    def __init__(self, run_id, log=None):
        super().__init__(run_id, log)
        committing.log_failures = lambda *about: os._exit(1)


def test_rows_whose_worker_died_after_their_commit_are_counted(engine, tmp_path):
    step = run(make_pass(["a", "b"], make=DiesAfterCommit, shard_rows=1), tmp_path / "out", engine)
    assert (step.ok, step.failed, step.under_way) == (2, 0, 0)
    assert raw_rows(tmp_path / "out", VOTES).num_rows == 2


class Holds(Labels):
    """A worker that is at its shard until somebody lets it go on."""

    def __call__(self, shard):
        Path(self._log).touch()
        _wait_for(Path(f"{self._log}-on"))
        return super().__call__(shard)


def test_a_pass_that_is_interrupted_says_how_many_shards_may_still_come(engine, tmp_path):
    log, plan = tmp_path / "log", make_pass(["a"], str(tmp_path / "log"), make=Holds)

    def interrupt():
        _wait_for(log)
        _thread.interrupt_main()

    # A shell that starts these tests in the background has them ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt, daemon=True).start()
    step = StepRecord(plan.step, rows=1)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_passes([(plan, step)], Storage(str(tmp_path / "out")), "1", lambda: None, engine)
    finally:
        signal.signal(signal.SIGINT, before)
        Path(f"{log}-on").touch()
    # Processes of its own end at once.
    still = 1 if isinstance(engine, OnRay) else 0
    assert (step.ok, step.failed, step.under_way) == (0, 0, still)


def _wait_for(path):
    while not path.exists():
        time.sleep(0.05)


def test_an_error_of_the_place_stops_the_pass_with_its_own_words(engine, tmp_path):
    with pytest.raises(EmoError, match=r"^the place of raises is gone$"):
        run(make_pass(["a", "raises"]), tmp_path / "out", engine)


class Odd(Labels):
    """A worker that meets what nobody foresaw."""

    def __call__(self, shard):
        for video_id in shard.column("video_id").to_pylist():
            if "digits" in video_id:
                float(10**400)
            if "panics" in video_id:
                raise type("PanicException", (BaseException,), {})("index out\nof bounds")
            if "coded" in video_id:
                raise RowError("bad_frames", "no picture")
        return super().__call__(shard)


def read_but_for_some(shard):
    if any(video_id.startswith("unread") for video_id in shard.column("video_id").to_pylist()):
        float(10**400)
    return shard.append_column("large", pa.array(["x"] * shard.num_rows))


def test_what_a_worker_or_its_reader_raises_for_a_row_is_that_rows_failure_and_no_others(engine, tmp_path):
    overflow = ("unexpected", "OverflowError: int too large to convert to float")
    odd = {
        "digits": overflow,
        "unread": overflow,
        "panics": ("unexpected", "PanicException: index out of bounds"),
        "coded": ("bad_frames", "no picture"),
        # Alone in the last shard.
        "unread too": overflow,
    }
    good = [f"clip{number:02d}" for number in range(11)]
    ids = [*good[:2], *odd, *good[2:]]
    ids.append(ids.pop(ids.index("unread too")))
    step = run(make_pass(ids, make=Odd, read=read_but_for_some), tmp_path / "out", engine)
    assert (step.ok, step.failed) == (11, 5)
    assert step.error_codes == {"unexpected": 4, "bad_frames": 1}
    found = rows(tmp_path / "out", VOTES, "error", "error_message", "labels")
    assert {row["video_id"]: (row["error"], row["error_message"]) for row in found if row["error"]} == odd
    assert {row["video_id"] for row in found if row["labels"] == ["happy"]} == set(good)
    # A shard stays one file, also where its rows were tried alone.
    assert len(list((tmp_path / "out").rglob("*.parquet"))) == 4


class WithoutHandles(Labels):
    def __call__(self, shard):
        import resource

        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        try:
            Path(self._log).read_bytes()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_fault_of_the_machine_stops_the_pass_and_fails_no_row(engine, tmp_path):
    log = tmp_path / "log"
    log.touch()
    with pytest.raises(EmoError, match="too many files open"):
        run(make_pass(["a", "b"], str(log), make=WithoutHandles), tmp_path / "out", engine)
    assert not list((tmp_path / "out").rglob("*.parquet"))


class LosesItsDevice(Labels):
    """The first process that does a shard loses its GPU, and with it all that it would do."""

    def __call__(self, shard):
        log = Path(self._log)
        log.touch()
        if log.read_text() in ("", str(os.getpid())):
            log.write_text(str(os.getpid()))
            raise RuntimeError("CUDA error: an illegal memory access was encountered. Compile with ...")
        return super().__call__(shard)


def test_a_gpu_that_is_lost_costs_its_process_and_no_row(connection, tmp_path):
    plan = make_pass(["a", "b", "c"], make=LosesItsDevice, shard_rows=1)
    plan = replace(plan, worker=lambda: LosesItsDevice("1", str(tmp_path / "pid")))
    step = run(plan, tmp_path / "out", connection)
    assert (step.ok, step.failed) == (3, 0)


class Slow(Labels):
    def __call__(self, shard):
        time.sleep(0.5)
        return super().__call__(shard)


def test_a_bound_lets_the_shards_under_way_finish_and_starts_no_other(engine, tmp_path):
    def stop():
        raise BoundReached("enough")

    plan = make_pass([f"clip{number:02d}" for number in range(40)], make=Slow, shard_rows=1, workers=None)
    step = StepRecord(plan.step, rows=40)
    with pytest.raises(BoundReached, match="enough"):
        run_passes([(plan, step)], Storage(str(tmp_path)), "1", stop, engine)
    written = len(rows(tmp_path, VOTES))
    # What is on disk is what was counted, and few enough: one or two shards per worker.
    assert step.ok == written
    assert 1 <= written <= 6


def test_a_worker_process_that_cannot_start_ends_the_pass_with_its_own_words(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    with Here(2) as engine, pytest.raises(MachineError, match=r"does not start: ModuleNotFoundError: .*emo"):
        run(make_pass(["a", "b"]), tmp_path / "out", engine)


class Broken(Labels):
    def __init__(self, run_id, log=None):
        raise EmoError("the model's folder holds no weights")


def test_a_worker_that_cannot_start_stops_the_pass_with_the_reason(engine, tmp_path):
    with pytest.raises(EmoError, match="holds no weights"):
        run(make_pass(["a", "b"], make=Broken), tmp_path / "out", engine)


def test_more_than_the_cluster_has_is_said_at_once(connection, tmp_path):
    with pytest.raises(
        EmoError, match=r"needs 1 CPUs and 2 GPUs on one node; the cluster has 2 CPUs and 1 GPUs"
    ):
        run(make_pass(["a"], resources=Resources(cpus=1, gpus=2)), tmp_path / "out", connection)


class SlowToLoad(Labels):
    def __init__(self, run_id, log=None):
        time.sleep(2)
        super().__init__(run_id, log)


def test_a_full_cluster_and_a_model_that_loads_are_waited_for_aloud(connection, tmp_path, monkeypatch):
    import ray

    monkeypatch.setattr(waiting, "NO_WORKER_S", 1.0)
    monkeypatch.setattr(waiting, "LOOK_S", 0.2)
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.5)
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    # Somebody else's work on the same cluster.
    other = ray.remote(num_cpus=2)(Labels).remote("1")
    ray.get(other.__ray_ready__.remote())

    def leave_once_it_is_said():
        while "no worker has started" not in screen.getvalue():
            time.sleep(0.1)
        ray.kill(other)

    threading.Thread(target=leave_once_it_is_said, daemon=True).start()
    assert (
        run(make_pass(["a", "b"], make=SlowToLoad, step="describe internvl"), tmp_path / "out", connection).ok
        == 2
    )
    said = screen.getvalue().splitlines()
    [waited] = [line for line in said if "no worker has started" in line]
    assert "each needs 1 CPUs and 0 GPUs on one node" in waited
    assert "free in the cluster are 0 of 2 CPUs, 1 of 1 GPUs" in waited
    loading = [line for line in said if "loading internvl for " in line]
    assert len(loading) >= 2
    assert said.index(waited) < said.index(loading[0])
    assert said[-1].startswith("describe internvl: 2/2, 0 failed")


def test_large_columns_are_read_ahead_by_few_also_when_workers_hold_every_cpu(engine, tmp_path):
    ids = [f"clip{number:02d}" for number in range(20)]
    log = tmp_path / "log"

    def read(shard):
        for change in ("+1", "-1"):
            with log.open("a") as file:
                file.write(f"{change}\n")
            time.sleep(0.05)
        return shard

    plan = make_pass(ids, read=read, resources=Resources(cpus=2), shard_rows=2, workers=None)
    assert run(plan, tmp_path / "out", engine).ok == 20
    # One worker, and two that read for it at once.
    readers = list(accumulate(map(int, log.read_text().split())))
    assert len(readers) == 20
    assert max(readers) <= 2
