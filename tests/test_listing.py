"""Files of a source as columns say what each file says, and what is new or changed follows from them."""

import os
from datetime import UTC, datetime
from posixpath import basename, splitext

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from emo.jobs.ingest import IngestStep
from emo.media.settings import Ingest
from emo.media.transcript import SIDECARS
from emo.sources import folders
from emo.sources.folders import _OF_SYSTEM as OF_SYSTEM
from emo.sources.listing import Listing, together
from emo.sources.lookup import VIDEO_SUFFIXES, are_videos, is_video
from emo.sources.sidecars import Sidecars
from emo.sources.source import read_source
from emo.store import committed
from emo.store.backend import Entry
from emo.store.s3 import S3Settings
from emo.store.storage import Storage
from emo.store.tables import CLIPS

SECONDS = st.floats(-7e10, 3e11) | st.integers(-(2**62), 2**62).map(float) | st.floats(0, 2e9)
LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
FIRST = datetime(1, 1, 1, tzinfo=UTC).timestamp()


@given(st.lists(SECONDS, max_size=5))
@example([1.0000005, 1.0000015, -0.0000005, 1700000000.9999996, -1.5])
@example([LAST, LAST + 0.9999, LAST + 0.99999999, LAST + 1, FIRST, FIRST - 0.5, FIRST - 1e-7])
def test_a_time_is_rounded_to_the_microsecond_that_python_takes(times):
    moments, none = folders.moments_of(times)
    expected = []
    for seconds in times:
        try:
            expected.append(datetime.fromtimestamp(seconds, UTC))
        except (ValueError, OverflowError, OSError):
            expected.append(None)
    paths = pa.array([str(at) for at in range(len(times))], pa.string())
    found = Listing.measured(paths, pa.array([0] * len(times), pa.int64()), moments)
    assert none.tolist() == [at for at, moment in enumerate(expected) if moment is None]
    for at, moment in enumerate(expected):
        assert moment is None or found.entry(str(at)).modified == moment


names = st.text("ab/.", min_size=1, max_size=4)
entries = st.dictionaries(names, st.tuples(st.integers(0, 2**40), st.integers(0, 2**36))).map(
    lambda found: [
        Entry(name, size, datetime.fromtimestamp(when, UTC)) for name, (size, when) in found.items()
    ]
)


@given(entries, st.lists(names | st.none()), st.sets(st.integers(0, 5)))
def test_columns_hold_what_the_entries_say(there, asked, gone):
    listing = Listing.of(there)
    known = {entry.path: entry for entry in there}
    assert list(listing) == list(known)
    assert [listing.entry(name) for name in known] == there
    assert list(listing.ordered()) == sorted(known)
    kept = listing.without([place for place in gone if place < len(there)])
    assert list(kept) == [entry.path for place, entry in enumerate(there) if place not in gone]
    for some in (listing, listing.ordered(), together([kept, listing.below("/x/")])):
        whole = [some.entry(path) for path in some]
        for paths in (asked, list(some)):
            entry_of = {entry.path: entry for entry in whole}
            sizes, modified = some.versions(pa.array(paths, pa.string()))
            assert sizes.to_pylist() == [entry_of[p].size if p in entry_of else None for p in paths]
            assert modified.to_pylist() == [entry_of[p].modified if p in entry_of else None for p in paths]


# Letters that have a small or a large form of ASCII in one way of looking at them and not in another, the end
# of a line, what ends a name, and names that are near to those that are looked for.
odd = st.sampled_from([*"aAkKsSit.\n/\\$#é", "\u212a", "\u017f", "\u0131", "\u0130", "中", "\U0001f600"])
near = st.sampled_from([*VIDEO_SUFFIXES, *SIDECARS, *OF_SYSTEM, ".", "..", "._", "/.", "/"])
odd_paths = st.lists(odd | near | near.map(str.upper) | near.map(str.title), max_size=5).map("".join)


@given(st.lists(odd_paths))
@example(
    [
        "a.m\u212av",
        "a.M\u212aV",
        "a.t\u017f",
        "a.mp4\n",
        "a\n.mp4",
        "..mp4",
        "a/.mp4",
        "a./..mp4",
        ".mp4",
        "mp4",
    ]
)
@example(
    ["#Recycle/a", "a/#RECYCLE", "a#recycle/b", ".a", "a/.b/c", "a.b", "a\n.b", "\n/.b", "Lo\u017ft+found/a"]
)
def test_the_paths_of_a_million_files_are_told_apart_as_each_alone(paths):
    column = pa.array(paths, pa.string())
    assert are_videos(column).to_pylist() == [is_video(path) for path in paths]
    expected = [place for place, path in enumerate(paths) if folders.is_of_system(path)]
    assert folders.of_system(column).tolist() == expected


@given(st.lists(odd_paths.filter(lambda path: path), unique=True))
@example(["a.mp4", "a.SRT", "a.\u017frt", "b.mp4\n.srt", "b.mp4\n", "b.srt\n", "c.mkv", "c.en.vtt", ".d.srt"])
def test_subtitle_files_are_found_among_all_as_each_alone(paths):
    listing = Listing.of(Entry(path, 0, datetime(2026, 1, 1, tzinfo=UTC)) for path in paths)
    found = Sidecars(listing, are_videos)
    named = [path for path in paths if path.lower().endswith(SIDECARS) and not basename(path).startswith(".")]
    assert bool(found) == bool(named)
    for path in named:
        assert found.of(splitext(path)[0] + ".mp4", None) is not None


def _ingested(storage, run_id, manifest):
    """As a run leaves the clips of a manifest, without their frames."""
    columns = {name: manifest.column(name) for name in CLIPS.schema.names if name in manifest.column_names}
    rows = CLIPS.rows(columns, run_id, [None] * manifest.num_rows)
    for number, part in enumerate(committed.batched(rows, 2)):
        committed.commit(storage, CLIPS.name, CLIPS, f"{run_id}-{number}", part)


def _left(videos, out):
    """The ids that are left, as two processes see them: one writes an index, the next reads it."""
    step = IngestStep(Ingest(), S3Settings(), read_source(str(videos)))
    found = []
    for _ in range(2):
        storage = Storage(str(out))
        committed.keep_index(storage)
        found.append(step.left(storage, step.given(storage)).column("video_id").to_pylist())
    assert found[0] == found[1]
    return found[0]


@pytest.fixture
def labelled(tmp_path, monkeypatch):
    monkeypatch.setattr(committed, "LEAST_FILES", 2)
    videos, out = tmp_path / "videos", tmp_path / "out"
    for number in range(7):
        path = videos / f"part{number % 2}" / f"clip{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(number))
    _ingested(Storage(str(out)), "1", read_source(str(videos)))
    return videos, out


def test_nothing_is_left_of_files_that_are_as_they_were(labelled):
    assert _left(*labelled) == []


def test_of_a_source_in_which_files_changed_exactly_these_are_left(labelled):
    videos, out = labelled
    assert _left(videos, out) == []
    (videos / "part0/clip0.mp4").unlink()
    (videos / "part1/clip1.mp4").write_bytes(b"more")
    (videos / "part1/new.mp4").write_bytes(b"")
    other = (videos / "part0/clip2.mp4").stat()
    # Times are seconds in a float, rounded to microseconds: two of these are always seen.
    os.utime(videos / "part0/clip2.mp4", ns=(other.st_atime_ns, other.st_mtime_ns + 2000))
    assert _left(videos, out) == ["part0/clip2", "part1/clip1", "part1/new"]


def test_a_folder_of_more_files_than_are_looked_at_together_has_them_all(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "_LOOKED_AT", 3)
    monkeypatch.setattr(folders, "_LOOKING", 2)
    made = {}
    for number in range(40):
        path = tmp_path / "source" / ("deep/below" if number % 5 == 0 else "") / f"clip{number:02d} é.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(number))
        os.utime(path, ns=(0, number * 10**9 + 123_456_789))
        made[str(path)] = (number, path.stat().st_mtime)
    (tmp_path / "source" / "gone.mp4").symlink_to(tmp_path / "nowhere")
    (tmp_path / "source" / "link.mp4").symlink_to(tmp_path / "source" / "clip07 é.mp4")
    made[str(tmp_path / "source" / "link.mp4")] = made[str(tmp_path / "source" / "clip07 é.mp4")]
    made[str(tmp_path / "source" / "gone.mp4")] = (None, None)
    rows = read_source(str(tmp_path / "source")).to_pylist()
    found = {row["uri"]: (row["size"], row["modified"] and row["modified"].timestamp()) for row in rows}
    assert found == {path: (size, when and round(when, 6)) for path, (size, when) in made.items()}
    assert [row["video_id"] for row in rows] == sorted(row["video_id"] for row in rows)


def test_a_file_that_goes_while_its_folder_is_read_is_not_there(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.mp4").write_bytes(b"1")
    with os.scandir(tmp_path) as items:
        listed = sorted(items, key=lambda item: item.name)
    (tmp_path / "b.mp4").unlink()
    found = folders._measured(listed, len(str(tmp_path)) + 1)
    assert found.paths.to_pylist() == ["a.mp4", "c.mp4"]
    assert found.sizes.to_pylist() == [1, 1]
    assert len(found.times) == 2


def test_of_the_same_number_of_files_with_another_name_that_one_is_left(labelled):
    videos, out = labelled
    (videos / "part0/clip6.mp4").rename(videos / "part0/clip5.mp4")
    assert _left(videos, out) == ["part0/clip5"]


def test_subtitles_that_come_or_change_are_seen_beside_files_that_did_not(labelled):
    videos, out = labelled
    (videos / "part1/clip3.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nHello.\n")
    assert _left(videos, out) == ["part1/clip3"]


def test_a_committed_file_that_was_replaced_under_its_name_is_seen(labelled):
    videos, out = labelled
    assert _left(videos, out) == []
    storage = Storage(str(out))
    rows = committed.read_file(storage, CLIPS, "clips/1-0.parquet")
    at = rows.schema.get_field_index("size")
    wrong = rows.set_column(at, rows.schema.field("size"), pa.array([99] * rows.num_rows, pa.int64()))
    committed.commit(storage, CLIPS.name, CLIPS, "1-0", wrong)
    assert _left(videos, out) == rows.column("video_id").to_pylist()


def test_of_equal_paths_every_look_takes_the_same_one():
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    listing = Listing.of([Entry("a", 7, moment), Entry("b", 1, moment), Entry("a", 5, moment)])
    sizes, _ = listing.versions(pa.array(["a"]))
    assert sizes.to_pylist() == [listing.entry("a").size]
