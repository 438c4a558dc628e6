"""Recordings that are split anew: what was made of their old pieces counts no more, and is not lost."""

import pytest

from emo.cli.program import main
from emo.config import load_config
from emo.errors import RowError
from emo.export.selection import select
from emo.forgetting import clips_meant
from emo.jobs.label import steps
from emo.jobs.split import SplitStep, dropped, failed_row, segment_rows
from emo.review.effective import effective
from emo.sources.source import read_source
from emo.split.finder import Pieces
from emo.split.segment import Segment
from emo.split.settings import Split
from emo.step import Mode, todo
from emo.store import committed
from emo.store.compaction import compact
from emo.store.reading import read
from emo.store.s3 import S3Settings
from emo.store.storage import Storage
from emo.store.tables import CLIPS, DESCRIPTIONS, JUDGMENTS, SEGMENTS, TABLES, VOTES
from review_outs import RUN, Judged, answer, make_out

FIRST, SECOND, THIRD = (f"2026112{day}T000000Z" for day in (1, 2, 3))
OLD, KEPT, NEW = "a/000001000-000003000", "a/000004000-000006000", "a/000007000-000009000"
OTHER = "b/000001000-000003000"
MADE = (CLIPS, DESCRIPTIONS, VOTES, JUDGMENTS)


@pytest.fixture
def films(tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.mp4").write_bytes(b"film")
    return folder


def judged(video_id, films):
    times = video_id.partition("/")[2]
    start, end = (int(part) / 1000 for part in times.split("-")) if times else (None, None)
    return Judged(video_id, uri=str(films / f"{video_id[0]}.mp4"), start_s=start, end_s=end)


@pytest.fixture
def storage(tmp_path, films):
    """An OUT in which a and b were split and labelled, and a clip that was never split."""
    ids = (OLD, KEPT, OTHER, "whole")
    made = make_out(tmp_path / "out", [judged(name, films) for name in ids])
    for name, times in (("a", [(1, 3), (4, 6)]), ("b", [(1, 3)])):
        split(made, films, name, times, RUN)
    return made


def split(storage, films, name, times, run_id, settings=None, error=None):
    settings = settings or Split(by="auto")
    (row,) = [row for row in read_source(str(films)).to_pylist() if row["video_id"] == name]
    found = Pieces("speech", [Segment(start, end) for start, end in times])
    rows = failed_row(row, error, run_id) if error else segment_rows(row, found, settings, run_id)
    committed.commit(storage, "segments", SEGMENTS, f"{run_id}-{name}", rows)


def step_of(films):
    return SplitStep(Split(by="auto"), S3Settings(), read_source(str(films)))


def ids(storage, table):
    rows = committed.read_newest(storage, committed.folder(table), table, [])
    return sorted(set(rows.column("video_id").to_pylist()))


def test_pieces_that_were_not_found_again_count_nowhere_and_their_rows_stay(storage, films):
    split(storage, films, "a", [(4, 6), (7, 9)], FIRST)
    rows = {table.name: committed.read_all(storage, table.name, table, []).num_rows for table in MADE}
    told = step_of(films).settle(storage, FIRST)
    assert told is not None
    assert "split: 1 clips of earlier runs count no more" in told
    for table in MADE:
        assert ids(storage, table) == [KEPT, OTHER, "whole"]
        # Nothing was taken away: what there was still stands in its file.
        assert committed.read_all(storage, table.name, table, []).num_rows > rows[table.name]
    assert ids(storage, SEGMENTS) == [KEPT, NEW, OTHER]
    assert read(storage.url, "judgments").column("video_id").to_pylist() == [KEPT, OTHER, "whole"]
    assert read(storage.url, "judgments", failed=True).num_rows == 3
    assert [row["video_id"] for row in select(storage)] == [KEPT, OTHER, "whole"]
    # Said once, and of no use twice.
    files = storage.names()
    assert step_of(films).settle(storage, SECOND) is None
    assert storage.names() == files


def test_no_later_step_works_on_them_and_none_of_them_failed(storage, films):
    split(storage, films, "a", [(4, 6), (7, 9)], FIRST)
    step_of(films).settle(storage, FIRST)
    config = load_config(overrides=["split.by=auto"])
    every = steps(config, read_source(str(films)))
    for step in every[1:]:
        left = todo(step, storage, Mode(), lambda name: FIRST).rows.column("video_id").to_pylist()
        assert OLD not in left
        assert step.failed(storage).num_rows == 0
    assert NEW in every[1].left(storage, every[1].given(storage)).column("video_id").to_pylist()


def test_a_piece_that_is_left_out_by_now_counts_no_more(storage, films):
    split(storage, films, "a", [(1, 3), (4, 6)], FIRST, Split(by="auto", shortest_s=1.0, longest_s=1.5))
    step_of(films).settle(storage, FIRST)
    assert ids(storage, JUDGMENTS) == [OTHER, "whole"]
    # Its row in segments says why.
    rows = committed.read_newest(storage, "segments", SEGMENTS, ["kept", "reason"]).to_pylist()
    assert [row["reason"] for row in rows if row["video_id"] == OLD] == ["longer than 1.5 s"]


def test_a_recording_that_was_one_clip_is_its_pieces_now(storage, films):
    (films / "whole.mp4").write_bytes(b"film")
    split(storage, films, "whole", [(0, 2), (2, 4)], FIRST)
    step_of(films).settle(storage, FIRST)
    assert "whole" not in ids(storage, JUDGMENTS)
    assert ids(storage, CLIPS) == [OLD, KEPT, OTHER]


def test_a_piece_that_comes_back_is_made_anew(storage, films):
    split(storage, films, "a", [(4, 6)], FIRST)
    step_of(films).settle(storage, FIRST)
    split(storage, films, "a", [(1, 3), (4, 6)], SECOND)
    assert step_of(films).settle(storage, SECOND) is None
    ingest = steps(load_config(overrides=["split.by=auto"]), read_source(str(films)))[1]
    assert OLD in ingest.left(storage, ingest.given(storage)).column("video_id").to_pylist()


@pytest.mark.parametrize(("code", "stay"), [("unreachable", True), ("damaged", False)])
def test_what_a_failed_split_leaves(code, stay, storage, films):
    split(storage, films, "a", [], FIRST, error=RowError(code, "it is so"))
    step_of(films).settle(storage, FIRST)
    assert (OLD in ids(storage, JUDGMENTS)) is stay
    assert (KEPT in ids(storage, CLIPS)) is stay
    # The row that says so is there in either case.
    assert [row["error"] for row in step_of(films).failed(storage).to_pylist()] == [code]


def test_rows_with_times_of_a_manifest_stay(storage, films):
    (films / "list.csv").write_text("uri,start_s,end_s\na.mp4,,\nb.mp4,,\na.mp4,1,3\n")
    split(storage, films, "a", [(4, 6)], FIRST)
    manifest = read_source(str(films / "list.csv"))
    assert SplitStep(Split(by="auto"), S3Settings(), manifest).settle(storage, FIRST) is None
    assert OLD in ids(storage, JUDGMENTS)


def test_reviews_of_old_pieces_do_not_count_and_stay(storage, films):
    for name in (OLD, KEPT):
        answer(storage, name, ["calm"])
    assert {row["video_id"] for row in effective(storage).to_pylist() if row["reviewers"]} == {OLD, KEPT}
    split(storage, films, "a", [(4, 6)], FIRST)
    step_of(films).settle(storage, FIRST)
    assert {row["video_id"] for row in effective(storage).to_pylist() if row["reviewers"]} == {KEPT}
    assert OLD in ids(storage, TABLES["reviews"])


def test_who_forgets_a_recording_forgets_its_old_pieces_too(storage, films):
    split(storage, films, "a", [(4, 6)], FIRST)
    step_of(films).settle(storage, FIRST)
    for name in ("a", str(films / "a.mp4")):
        assert sorted(clips_meant(storage, [name]).clips) == [OLD, KEPT]


def test_a_run_that_has_nothing_left_to_split_does_it_too(storage, films, capsys):
    """As after a run that was killed between the two."""
    split(storage, films, "a", [(4, 6)], FIRST)
    assert main(["split", str(films), "--out", storage.url]) == 0
    told = capsys.readouterr().err
    assert "split: 1 clips of earlier runs count no more" in told
    assert "emo split: 0 split, 0 failed, 2 skipped as already done" in told
    assert ids(Storage(storage.url), JUDGMENTS) == [KEPT, OTHER, "whole"]


def test_one_that_was_cut_short_is_finished_by_the_next_run(storage, films, monkeypatch):
    split(storage, films, "a", [(4, 6)], FIRST)
    commit = committed.commit
    written = []

    def dies(storage, where, table, name, rows):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(where)
        return commit(storage, where, table, name, rows)

    with monkeypatch.context() as patch:
        patch.setattr(committed, "commit", dies)
        with pytest.raises(KeyboardInterrupt):
            step_of(films).settle(storage, FIRST)
    assert OLD in ids(storage, CLIPS)
    step_of(films).settle(storage, SECOND)
    assert all(OLD not in ids(storage, table) for table in (*MADE, SEGMENTS))


def test_compaction_keeps_them_out_and_a_night_that_drops_removes_them(storage, films):
    split(storage, films, "a", [(4, 6)], FIRST)
    step_of(films).settle(storage, FIRST)
    assert dropped(storage, read_source(str(films))) == ([OLD], [OLD])
    for table in (SEGMENTS, *MADE):
        for where in committed.folders(storage, table):
            compact(storage, where, table, SECOND)
        assert OLD not in ids(Storage(storage.url), table)
    for table in (SEGMENTS, *MADE):
        for where in committed.folders(storage, table):
            compact(storage, where, table, THIRD, drop=[OLD])
        every = committed.read_all(Storage(storage.url), table.name, table, ["video_id"])
        assert OLD not in every.column("video_id").to_pylist()
