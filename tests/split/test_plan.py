"""What `emo plan` says of splitting: hours of video and seconds of them, by what earlier runs took."""

import json

import pytest

from emo.cli.program import main
from emo.config import load_config
from emo.jobs.label import steps
from emo.jobs.split import SplitStep, segment_rows
from emo.sources.source import read_source
from emo.split.finder import Pieces
from emo.split.pace import Pace, pace_of
from emo.split.segment import Segment
from emo.split.settings import Split
from emo.status import plan
from emo.store import committed
from emo.store.runs import Run, StepRecord
from emo.store.s3 import S3Settings
from emo.store.storage import Storage
from emo.store.tables import SEGMENTS

RUN = "20261120T230135Z"


def film(folder, name, size):
    folder.mkdir(exist_ok=True)
    with (folder / name).open("wb") as file:
        file.truncate(size)


@pytest.fixture
def storage(tmp_path):
    """An OUT in which two recordings of 100 s and 1 MB in all, with 8 pieces, took a worker 40 s."""
    storage = Storage(str(tmp_path / "out"))
    for name, size in (("a.mp4", 400_000), ("b.mp4", 600_000)):
        film(tmp_path / "before", name, size)
    settings = Split(by="auto")
    for row, ends in zip(read_source(str(tmp_path / "before")).to_pylist(), (40, 60), strict=True):
        pieces = [Segment(ends - 10.0 * place - 2, ends - 10.0 * place) for place in range(4)]
        rows = segment_rows(row, Pieces("speech", pieces), settings, RUN)
        committed.commit(storage, "segments", SEGMENTS, f"{RUN}-{row['video_id']}", rows)
    run = Run(RUN, "label", "before", load_config().model_dump(mode="json"), "2026-11-20T23:01:35+00:00")
    run.steps.append(StepRecord("split", rows=2, ok=2, seconds=10.0, workers=4, cpus=4.0))
    run.outcome = "done"
    run.save(storage)
    return storage


def split_and_ingest(storage, films):
    config = load_config(overrides=["split.by=auto"])
    return plan(storage, steps(config, read_source(str(films)))).steps[:2]


def test_what_was_split_says_how_long_recordings_are(storage):
    pace = pace_of(storage)
    assert pace == Pace(bytes_per_s=10_000, pieces_per_hour=288, recordings=2, mean_bytes=500_000)
    assert pace.hours(36_000_000) == 1.0
    assert pace.pieces(36_000_000) == 288
    assert pace_of(Storage(f"{storage.url}-of-nobody")) == Pace()


def test_a_long_recording_is_planned_by_its_hours_and_not_as_one_row(storage, tmp_path):
    film(tmp_path / "films", "long.mp4", 72_000_000)
    film(tmp_path / "films", "short.mp4", 18_000_000)
    split, ingest = split_and_ingest(storage, tmp_path / "films")
    # 20 s for half a megabyte: 40 s for each, and 90 of these.
    assert (split.rows, split.measured) == (2, 2)
    assert split.rows * split.worker_seconds == pytest.approx(40 * 90)
    assert ingest.rows == round(288 * 2.5)


def test_without_earlier_runs_it_is_assumed(tmp_path):
    film(tmp_path / "films", "long.mp4", 300_000 * 7200)
    storage = Storage(str(tmp_path / "none"))
    split, ingest = split_and_ingest(storage, tmp_path / "films")
    assert (split.rows, split.measured, ingest.rows) == (1, 0, 1000)
    by_shots = SplitStep(Split(by="shots"), S3Settings(), read_source(str(tmp_path / "films")))
    assert by_shots.rate(storage, by_shots.given(storage), None) == (7200 / 15, 0)


def test_the_command_says_hours(storage, tmp_path, capsys):
    film(tmp_path / "films", "long.mp4", 72_000_000)
    command = ["plan", str(tmp_path / "films"), "--out", storage.url, "--set", "split.by=auto"]
    command += ["--set", "experts=[{kind: words}]"]
    assert main(command) == 0
    told = capsys.readouterr()
    assert "about 2.00 hours of video in 1 recordings to split (10 kB a second, measured on 2)" in told.err
    assert "(2.88e+03 s per row and worker, measured on 2 rows)" in told.out
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["hours_of_video"] == 2.0
    assert found["estimate"][0]["cpu_hours"] == pytest.approx(0.8)
