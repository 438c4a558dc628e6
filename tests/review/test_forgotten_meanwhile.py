"""Clips that are forgotten while people review: no answer on them stays, whatever comes first."""

import json

import pyarrow as pa
import pytest

from emo.cli import main
from emo.errors import StorageError
from emo.review import importing
from emo.review.answers import Answer, Forgotten
from emo.review.consensus import read_reviews
from emo.review.desk import Desk, Rules
from emo.run import session
from emo.store import committed, fences
from emo.store.runs import Run
from emo.store.storage import Storage
from emo.store.tables import CLIPS as CLIPS_TABLE
from review_outs import Judged, answer, make_out, write
from review_server import Client, review_server
from test_forget import list_of

CLIPS = [Judged(name, frames=(b"jpeg",), audio=b"flac") for name in ("a", "b", "c")]


def forget(out, tmp_path, *names):
    assert main(["forget", "--out", str(out), "--list", list_of(tmp_path, *names)]) == 0


def reviewed(out):
    return sorted({row["video_id"] for row in read_reviews(Storage(str(out)))})


def test_a_running_page_refuses_what_is_forgotten_and_goes_on(tmp_path):
    out = make_out(tmp_path / "out", CLIPS).url
    with review_server(out, "--blind", "0") as running:
        ann = Client(running.addresses["ann"])
        ann.answer("a", ["happy"])
        forget(out, tmp_path, "a", "b")
        # Answered while the page still showed it, and after its queue was made anew.
        for wanted in (410, 400):
            status, _, data = ann.send("POST", "/api/review", {"video_id": "b", "labels": ["sad"]})
            assert status == wanted, data
            assert [ann.next("c"), ann.next()["video_id"]] == [None, "c"]
        for path in ("api/clip?", "media/video?", "media/frame?place=0&", "media/sound?", "media/part?"):
            assert ann.send("GET", f"/{path}video_id=b")[0] == 404, path
        ann.answer("c", ["sad"])
        assert ann.get("/api/progress")["mine"] == 1
    assert reviewed(out) == ["c"]


class Interrupted(Storage):
    """A storage on which something happens right before or after a review is written."""

    def __init__(self, url, before=None, after=None):
        super().__init__(url)
        self.before, self.after = before, after

    def write(self, path, data):
        is_review = path.startswith("reviews/")
        if is_review and self.before:
            self.before()
        super().write(path, data)
        if is_review and self.after:
            self.after()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_one_that_is_forgotten_while_the_answer_is_written_keeps_none(tmp_path, moment):
    out = make_out(tmp_path / "out", CLIPS).url
    desk = Desk(Interrupted(out, **{moment: lambda: forget(out, tmp_path, "b")}), Rules())
    with pytest.raises(Forgotten, match="b was removed"):
        desk.answer(Answer("b", "ann", ("happy",), None), None)
    assert reviewed(out) == []
    assert not Storage(out).names("reviews")
    # Nothing of it is left in memory that a later answer would bring back.
    assert desk.review("b", "ann") is None
    desk.anew()
    assert desk.next("ann", frozenset({"a", "c"})) is None


def test_a_review_that_comes_while_clips_are_removed_leaves_with_them(tmp_path, monkeypatch):
    """Written after the reviews were looked at, and before the clips are gone."""
    from emo.jobs import forget as job

    storage = make_out(tmp_path / "out", CLIPS)
    remove = job._remove

    def removing(storage, table, *more):
        if table.name == "clips":
            answer(storage, "b", ["happy"])
        return remove(storage, table, *more)

    monkeypatch.setattr(job, "_remove", removing)
    forget(storage.url, tmp_path, "b")
    assert reviewed(storage.url) == []


def test_other_clips_of_a_file_that_was_written_anew_are_reviewed_on(tmp_path):
    storage = make_out(tmp_path / "out", CLIPS)
    desk = Desk(storage, Rules())
    forget(storage.url, tmp_path, "b")
    desk.answer(Answer("a", "ann", ("happy",), None), None)
    assert reviewed(storage.url) == ["a"]


def test_an_import_keeps_no_answer_on_what_is_forgotten_meanwhile(tmp_path):
    out = make_out(tmp_path / "out", CLIPS).url
    storage = Interrupted(out, after=lambda: forget(out, tmp_path, "b"))
    with pytest.raises(Forgotten):
        importing.take(storage, [Answer(name, "ann", ("happy",), None) for name in ("a", "b")])
    assert "b" not in reviewed(out)
    taken, known, strange = importing.take(
        Storage(out), [Answer(name, "ann", ("happy",), None) for name in ("a", "b")]
    )
    assert (taken + known, strange) == (1, ["b"])
    assert reviewed(out) == ["a"]


def test_a_run_that_lost_out_to_the_removal_brings_nothing_back(tmp_path):
    """A paused machine wakes up: what it still writes is not read, and the next removal deletes it."""
    storage = make_out(tmp_path / "out", CLIPS)
    run = "20261121T000000Z"
    config = json.loads(storage.read("runs/20261120T230135Z.json"))["config"]
    Run(run, "label", "videos", config, "2026-11-21T00:00:00+00:00").save(storage)
    forget(storage.url, tmp_path, "b")
    with pytest.raises(StorageError, match="another run has taken the place"):
        fences.check(storage, run)
    row = {"video_id": "b", "uri": "/v/b.mp4", "status": "ok", "run_id": run}
    rows = pa.Table.from_pylist([row], schema=CLIPS_TABLE.schema)
    late = committed.commit(storage, "clips", CLIPS_TABLE, f"{run}-late", rows)
    left = committed.read_newest(Storage(storage.url), "clips", CLIPS_TABLE, [])
    assert left.column("video_id").to_pylist() == ["a", "c"]
    assert storage.has(late)
    forget(storage.url, tmp_path, "b")
    assert not storage.has(late)


def test_a_clip_that_a_run_has_added_since_is_forgotten_too(tmp_path, monkeypatch):
    """The list is read again once no run can add pieces of a recording any more."""

    storage = make_out(tmp_path / "out", CLIPS)
    lease = session.Lease

    def taken(*given):
        write(
            Storage(storage.url),
            CLIPS_TABLE,
            [{"video_id": "talk/000000000-end", "uri": "/v/talk.mp4"}],
            "late",
        )
        return lease(*given)

    monkeypatch.setattr(session, "Lease", taken)
    forget(storage.url, tmp_path, "talk")
    assert not storage.names("clips/late")
