"""Trackers: the curve of a run arrives there, and what fails there costs nothing here."""

import struct
import sys
from pathlib import Path

import pytest

from emo.errors import InputError
from emo.finetuning import trackers
from emo.finetuning.live import Live
from emo.finetuning.settings import Finetune
from emo.finetuning.task import Task
from emo.store.storage import Storage

DATA = {"fingerprint": "f", "train": 3, "held_out": 1, "refused": {}}


def task(place, **settings):
    return Task("faces", Finetune(model="m", **settings), place, DATA)


def record(step, loss, held_out=None):
    return {
        "step": step, "loss": loss, "rate": 0.1, "tokens_per_s": 5.0, "waited_share": 0.0, "memory_gib": 1.0,
        "held_out_loss": held_out, "tokens": 9, "trained": 3, "norm": 1.0,
    }  # fmt: skip


def follow(given, steps, said=None):
    """A run of these steps, as the command follows it."""
    live = Live("faces", 9)
    notes = [] if said is None else said
    with trackers.tracked(given, notes.append) as tracked:
        live.also = tracked.add
        for step in steps:
            live.add(record(step, 1.0 / step, 0.5 if step == max(steps) else None))
        tracked.end({"step": 2, "f1": 0.75, "not_answered": "text"})


def events(files):
    """tag -> step -> value, as TensorBoard joins event files: a writer purges the steps behind its start."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    found = {}
    for data in files:
        at = 0
        # A record is its length, a checksum of that, the event, a checksum of that.
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            if event.session_log.status == SessionLog.START:
                for values in found.values():
                    for step in [one for one in values if one >= event.step]:
                        del values[step]
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
            at += 16 + length
    return found


@pytest.fixture(params=["local", "s3"])
def place(request, tmp_path):
    if request.param == "local":
        return Storage(str(tmp_path / "run"))
    pytest.importorskip("moto")
    url, settings = request.getfixturevalue("bucket")
    return Storage(f"{url}/run", settings)


def test_tensorboard_has_the_curve_on_a_disk_and_on_s3_also_where_a_run_goes_on(place):
    follow(task(place, tensorboard=True), [1, 2, 3, 4])
    follow(task(place, tensorboard=True), [3, 4, 5])
    files = sorted(place.names(trackers.TENSORBOARD))
    assert len(files) == 2
    found = events([place.read(path) for path in files])
    assert found["loss"] == pytest.approx({step: 1.0 / step for step in (1, 2, 3, 4, 5)})
    assert found["held_out_loss"] == {5: 0.5}
    assert found["best/f1"] == {5: 0.75}
    assert "best/not_answered" not in found


def test_a_worker_that_died_makes_its_steps_again_and_they_stand_once(tmp_path):
    place = Storage(str(tmp_path))
    follow(task(place, tensorboard=True), [1, 2, 3, 2, 3, 4])
    found = events([place.read(path) for path in sorted(place.names(trackers.TENSORBOARD))])
    assert list(found["loss"]) == [1, 2, 3, 4]


class Failing:
    def log(self, step, figures):
        raise ConnectionError("no such server")

    def close(self):
        raise ConnectionError("no such server")


def test_a_tracker_that_fails_is_told_once_and_the_others_go_on():
    class Kept:
        def __init__(self):
            self.seen = []

        def log(self, step, figures):
            self.seen.append(step)

    said, kept = [], Kept()
    tracked = trackers.Tracked({"wandb": Failing(), "kept": kept}, said.append)
    for step in (1, 2, 3):
        tracked.add(record(step, 1.0))
    assert said == ["wandb is given nothing more: ConnectionError: no such server"]
    assert kept.seen == [1, 2, 3]


def test_a_tracker_that_cannot_be_opened_is_told_and_the_run_is_followed_by_the_others(tmp_path):
    pytest.importorskip("mlflow.tracking")
    said = []
    nowhere = {"uri": "nosuch://server"}
    follow(task(Storage(str(tmp_path)), mlflow=nowhere, tensorboard=True), [1, 2], said)
    assert len(said) == 1
    assert said[0].startswith("mlflow is given nothing: ")
    assert len(list(tmp_path.glob("tensorboard/events.*"))) == 1


@pytest.mark.parametrize(
    ("settings", "module", "extra"),
    [
        ({"tensorboard": True}, "tensorboardX", "tensorboard"),
        ({"wandb": {"project": "p"}}, "wandb", "wandb"),
        ({"mlflow": {"uri": "u"}}, "mlflow", "mlflow"),
    ],
)
def test_a_package_that_is_not_there_is_said_before_anything_starts(settings, module, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)  # as Python marks what cannot be imported
    with pytest.raises(InputError, match=rf"pip install 'emo\[{extra}\]'"):
        trackers.check_trackers(Finetune(**settings))
    trackers.check_trackers(Finetune())


def test_mlflow_has_the_curve_and_a_run_that_goes_on_is_the_same_one(tmp_path, monkeypatch):
    tracking = pytest.importorskip("mlflow.tracking")
    # Without a database, which the small package does not bring along.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    given = task(Storage(str(tmp_path / "run")), mlflow={"uri": uri})
    follow(given, [1, 2, 3])
    follow(given, [3, 4])
    client = tracking.MlflowClient(tracking_uri=uri)
    [run] = client.search_runs([client.get_experiment_by_name("emo").experiment_id])
    assert run.info.run_name == "faces"
    assert run.info.status == "FINISHED"
    assert run.data.params["model"] == "m"
    assert [one.step for one in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 3, 3, 4]
    assert run.data.metrics["best/f1"] == 0.75


def test_wandb_has_the_curve_of_a_run_without_a_network(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    said = []
    follow(task(Storage(str(tmp_path / "run")), wandb={"project": "p"}), [1, 2, 3], said)
    assert not said
    # A process beside this one writes the file: maybe still when the run is finished, not when it is gone.
    wandb.teardown()
    [written] = Path(tmp_path, "wandb").glob("offline-run-*/run-*.wandb")
    data = written.read_bytes()
    assert all(name in data for name in (b"held_out_loss", b"tokens_per_s", b"best/f1"))
