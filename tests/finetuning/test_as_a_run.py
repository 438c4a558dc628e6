"""A training is a run of its OUT: status, watch and report tell of it; runs that make rows do not mind it."""

import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest

from emo.config import load_config
from emo.errors import EmoError, LeaseHeldError
from emo.finetuning.live import CURVE_POINTS, Live
from emo.nightly.retention import RUNS_KEPT, prune_runs
from emo.report.write import PATH, write
from emo.run.session import session
from emo.run.training_run import training_run
from emo.store import lease as leases
from emo.store.lease import Lease
from emo.store.runs import Run, StepRecord, load_runs, newest_config, training_place
from emo.store.storage import Storage
from emo.terminal.watch import Watches
from labelling import emo

NAME = "calm.v2-a"
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def out(tmp_path):
    return Storage(str(tmp_path / "out"))


def record(step, held_out=None):
    speed = {"rate": 1e-4, "tokens_per_s": 900.0, "memory_gib": 1.5, "workers": 2}
    return {"step": step, "loss": 3.0 / step, "held_out_loss": held_out, **speed}


def train(out, records, steps=10):
    """A training that makes these steps and ends."""
    with begun(out) as told:
        going_on(told, records, steps)
    return load_runs(out, trainings=True)[-1]


@contextmanager
def begun(out):
    lease = Lease(training_place(out, NAME), f"finetune {NAME}")
    with lease, training_run(load_config(), out, NAME, lease) as told:
        yield told


def going_on(told, records, steps):
    step = StepRecord(f"finetune {NAME}", rows=steps)
    live = Live(NAME, steps, step, stream=StringIO())
    with told.doing(step):
        for one in records:
            live.add(one)
            told.go_on()


def test_the_run_file_of_a_training_tells_how_far_it_came_and_with_what_figures(out):
    told = train(out, [*map(record, range(1, 10)), record(10, held_out=0.5)])
    assert told["outcome"] == "done"
    [step] = told["steps"]
    assert (step["rows"], step["ok"], step["skipped"], step["workers"]) == (10, 10, 0, 2)
    assert step["figures"] == {
        "loss": 0.3, "held_out_loss": 0.5, "rate": 1e-4, "tokens_per_s": 900.0, "memory_gib": 1.5
    }  # fmt: skip
    assert step["curve"][0] == [1, 3.0, None]
    assert step["curve"][-1] == [10, 0.3, 0.5]
    # Workers that start again repeat steps, which count once.
    again = train(out, map(record, [5, 6, 7, 6, 7, 8]))["steps"][0]
    assert (again["rows"], again["ok"], again["skipped"]) == (6, 4, 4)
    assert [point[0] for point in again["curve"]] == [5, 6, 7, 8]


def test_the_curve_of_a_long_training_keeps_its_shape_in_a_small_file(out):
    steps = 10 * CURVE_POINTS
    told = train(out, (record(n, held_out=1.0 if n == 777 else None) for n in range(1, steps + 1)), steps)
    places = [point[0] for point in told["steps"][0]["curve"]]
    assert len(places) == CURVE_POINTS + 1
    assert 777 in places
    assert places[-1] == steps


def test_a_run_on_the_tables_goes_on_beside_a_training_and_reads_no_settings_from_it(out):
    with session(load_config(preset="signals"), out.url, "label", "clips") as labelling:
        labelling.run.made_with["ingest"] = {"frames": 8}
        told = train(out, [record(1)], steps=1)
        # Under the same second too, each has its own file.
        assert told["run_id"] == f"{told['run_id'][:16]}-{NAME}"
    with session(load_config(preset="signals"), out.url, "label", "clips") as later:
        assert later.run.made_with == {"ingest": {"frames": 8}}
    assert [run["command"] for run in load_runs(out)] == ["label", "label"]
    assert newest_config(out)["experts"]


def test_two_trainings_of_one_name_do_not_write_one_folder(out):
    with begun(out) as told, pytest.raises(LeaseHeldError, match=f"in use by emo finetune {NAME}"):
        train(out, [record(1)])
    assert [run["run_id"] for run in load_runs(out, trainings=True)] == [told.run.run_id]


def test_a_training_whose_folder_was_taken_stops_and_says_so_in_its_run_file(out, monkeypatch):
    monkeypatch.setattr(leases, "RENEW_S", 0.01)

    def train_on():
        with begun(out) as told, told.doing(StepRecord(NAME)):
            training_place(out, NAME).write(leases.PATH, b"another's")
            while True:
                told.go_on()

    with pytest.raises(EmoError, match="was taken by another run"):
        train_on()
    [run] = load_runs(out, trainings=True)
    assert run["outcome"] == "failed"
    assert "this run stops" in run["error"]


def test_status_and_watch_tell_of_a_training_beside_a_run_and_of_one_that_was_killed(out):
    with session(load_config(preset="signals"), out.url, "label", "clips"):
        with begun(out) as told:
            going_on(told, [record(1), record(2, held_out=1.25)], 9)
            watches = Watches(out)
            label, training = watches.look()
            assert (label.active, training.active) == (True, True)
            assert f"finetune {NAME}: 2/9" in training.line()
            assert "loss 1.5000, held out 1.2500, lr 1.0e-04, 900 tokens/s" in training.line()
        label, training = watches.look()
        assert (label.active, training.active) == (True, False)
        assert "done" in training.lines()[0]
    killed = (
        "import os, sys; from emo.store.lease import Lease; from emo.store.runs import training_place\n"
        "from emo.store.storage import Storage; from emo.run.training_run import training_run\n"
        "from emo.config import load_config; out = Storage(sys.argv[1]); name = sys.argv[2]\n"
        "lease = Lease(training_place(out, name), name).__enter__()\n"
        "run = training_run(load_config(), out, name, lease); run.__enter__(); os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", killed, out.url, NAME], check=False)
    [dead] = Watches(out).look()
    assert not dead.active
    assert "not active" in dead.lines()[0]
    assert "its process is gone" in dead.lines()[0]
    done = emo("status", "--out", out.url)
    assert f"finetune {NAME} 2 (loss 1.5000)" in done.stdout
    assert [line.split()[2] for line in done.stdout.splitlines() if NAME in line] == ["done", "running"]


def test_an_out_that_holds_only_a_training_has_a_status(out):
    train(out, [record(1)], steps=1)
    done = emo("status", "--out", out.url, "--watch")
    assert done.returncode == 0, done.stderr
    assert f"finetune {NAME} 1 (loss 3.0000)" in done.stdout


def test_the_report_draws_the_loss_of_a_training_over_all_its_runs(out):
    train(out, map(record, range(1, 7)))
    train(out, [*map(record, range(5, 10)), record(10, held_out=0.4)])
    run = Run("20260501T120000Z", "label", "clips", {}, NOON.isoformat())
    write(out, 10, run)
    page = out.read(PATH).decode()
    assert NAME in page
    assert "Loss by step" in page
    points = [line.partition(" fill")[0].count(",") for line in page.split("<polyline")[1:]]
    assert points == [10, 1]
    assert "held out 0.4000" in page
    # A training that came later is reason enough to write it anew.
    assert "step 12" not in page
    train(out, [record(11), record(12)], steps=12)
    write(out, 10, run, only_if_changed=True)
    assert "step 12" in out.read(PATH).decode()


def test_old_run_files_of_trainings_go_and_push_none_of_the_others_out(out):
    Run("20260101T120000Z", "label", "clips", {}, NOON.isoformat()).save(out)
    for day in range(RUNS_KEPT + 2):
        run_id = f"{NOON + timedelta(days=day):%Y%m%dT%H%M%SZ}-{NAME}"
        Run(run_id, "finetune", None, {}, NOON.isoformat()).save(out)
    assert prune_runs(out, 1, NOON + timedelta(days=900)) == 2
    assert len(load_runs(out)) == 1


def test_the_run_file_is_kept_up_while_a_training_goes_on(out, monkeypatch):
    monkeypatch.setattr("emo.run.training_run.SAVE_EVERY_S", 0.0)
    step = StepRecord(f"finetune {NAME}", rows=9)
    with begun(out) as told, told.doing(step):
        Live(NAME, 9, step, stream=StringIO()).add(record(3))
        told.go_on()
        [seen] = load_runs(out, trainings=True)
        assert seen["outcome"] == "running"
        assert seen["steps"][0]["figures"]["loss"] == 1.0
