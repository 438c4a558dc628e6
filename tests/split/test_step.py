"""What the step reads off the tables: what is left, what failed, and the manifest that ingest gets."""

import pyarrow as pa
import pytest

from emo.config import load_config
from emo.errors import RowError
from emo.jobs.label import steps
from emo.jobs.split import SplitStep, dropped, failed_row, pieces_manifest, segment_rows
from emo.sources.lookup import MANIFEST
from emo.sources.source import read_source
from emo.split.finder import Missing, Pieces
from emo.split.segment import Segment
from emo.split.settings import Split
from emo.store import committed
from emo.store.s3 import S3Settings
from emo.store.storage import Storage
from emo.store.tables import SEGMENTS

SETTINGS = Split(by="auto")


@pytest.fixture
def films(tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.mp4").write_bytes(b"film")
    return folder


@pytest.fixture
def storage(tmp_path):
    return Storage(str(tmp_path / "out"))


def found(*times, missing=()):
    return Pieces("speech", [Segment(start, end) for start, end in times], missing=missing)


def commit(storage, run_id, rows):
    committed.commit(storage, "segments", SEGMENTS, f"{run_id}-{rows['recording'][0]}", rows)


def rows_of(manifest):
    return {row["video_id"]: row for row in manifest.to_pylist()}


def test_what_is_left_are_new_and_changed_recordings(films, storage):
    manifest = read_source(str(films))
    step = SplitStep(SETTINGS, S3Settings(), manifest)
    assert step.left(storage, step.given(storage))["recording"].to_pylist() == ["a", "b", "c"]
    rows = rows_of(manifest)
    commit(storage, "1", segment_rows(rows["a"], found((1, 3), (4, 4.5)), SETTINGS, "1"))
    commit(storage, "1", failed_row(rows["b"], RowError("damaged", "it is broken"), "1"))
    assert step.left(storage, step.given(storage))["recording"].to_pylist() == ["c"]
    assert step.left(storage, step.given(storage), retry=True)["recording"].to_pylist() == ["b", "c"]
    assert [row["video_id"] for row in step.failed(storage).to_pylist()] == ["b"]
    (films / "a.mp4").write_bytes(b"another film")
    step = SplitStep(SETTINGS, S3Settings(), read_source(str(films)))
    assert step.left(storage, step.given(storage))["recording"].to_pylist() == ["a", "c"]


def test_rows_of_all_steps_stand_beside_each_other(films, storage):
    manifest = read_source(str(films))
    for given in (manifest, None):
        every = steps(load_config(overrides=["split.by=auto"]), given)
        assert [step.name for step in every][:2] == ["split", "ingest"]
        pa.concat_tables([step.made(storage).select(["video_id"]) for step in every])
        (first, *_) = every
        pa.concat_tables(
            [part.select(["recording"]) for part in (first.given(storage), first.failed(storage))]
        )


def test_ingest_gets_the_pieces_that_are_kept_and_rows_with_times_as_they_are(films, storage):
    (films / "list.csv").write_text("uri,start_s,end_s,language\na.mp4,,,fr\nb.mp4,5,6,\nc.mp4,,,\n")
    manifest = read_source(str(films / "list.csv"))
    rows = rows_of(manifest)
    lost = Missing(60.0, 90.0, RowError("truncated", "its end is missing"))
    pieces = found((1, 3), (4, 4.5), (7, 9), missing=[lost])
    commit(storage, "1", segment_rows(rows["a"], pieces, SETTINGS, "1"))
    commit(storage, "1", segment_rows(rows["c"], found(), SETTINGS, "1"))
    given = pieces_manifest(storage, manifest)
    assert given.schema.names == MANIFEST.names
    assert [
        (row["video_id"], row["start_s"], row["end_s"], row["language"]) for row in given.to_pylist()
    ] == [
        ("a/000001000-000003000", 1.0, 3.0, "fr"),
        ("a/000007000-000009000", 7.0, 9.0, "fr"),
        ("b/000005000-000006000", 5.0, 6.0, None),
    ]
    assert given["size"].to_pylist() == [4, 4, 4]


def test_of_a_recording_that_is_split_anew_only_the_new_pieces_count(films, storage):
    manifest = read_source(str(films))
    rows = rows_of(manifest)
    commit(storage, "1", segment_rows(rows["a"], found((1, 3), (4, 6)), SETTINGS, "1"))
    commit(storage, "1", segment_rows(rows["b"], found((1, 3)), SETTINGS, "1"))
    commit(storage, "2", segment_rows(rows["a"], found((4, 6), (7, 9)), SETTINGS, "2"))
    ids = pieces_manifest(storage, manifest)["video_id"].to_pylist()
    assert ids == ["a/000004000-000006000", "a/000007000-000009000", "b/000001000-000003000"]
    SplitStep(SETTINGS, S3Settings(), manifest).settle(storage, "2")
    assert dropped(storage, manifest) == (["a/000001000-000003000"], [])
    (films / "b.mp4").unlink()
    assert sorted(dropped(storage, read_source(str(films)))[0]) == [
        "a/000001000-000003000", "b/000001000-000003000"
    ]  # fmt: skip


def test_without_split_by_there_is_no_such_step(films):
    assert steps(load_config(), read_source(str(films)))[0].name == "ingest"
