"""Recordings on S3 are read in ranges: how many bytes that is, and that it changes nothing else."""

from contextlib import contextmanager

import pytest

from clips import ffmpeg
from emo.jobs.ingest import IngestWorker, by_file
from emo.jobs.split import SplitWorker, recordings_of
from emo.media.partial import Partial, opened_bytes
from emo.media.settings import Ingest
from emo.sources.source import read_source
from emo.split.settings import Split
from emo.store.ranges import BLOCK, Ranges
from emo.store.s3 import s3_filesystem
from emo.store.storage import Storage

SECONDS, PIECES = 120, (30, 33, 80)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A recording of about 13 MB in two containers, its index at the end and spread; and another one."""
    folder = tmp_path_factory.mktemp("films")
    film = folder / "film.mp4"
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=320x240:r=10:d={SECONDS},noise=alls=40:all_seed=1",
           "-f", "lavfi", "-i", f"sine=f=220:r=16000:d={SECONDS}", "-c:v", "libx264",
           "-preset", "ultrafast", "-crf", "28", "-g", "20",
           "-c:a", "aac", "-aac_coder", "fast", film)  # fmt: skip
    ffmpeg("-i", film, "-c", "copy", folder / "film.mkv")
    ffmpeg("-ss", "20", "-i", film, "-c", "copy", folder / "other.mp4")
    return folder


@contextmanager
def counted(s3):
    """The bytes of every object that is got meanwhile, whole or in part."""
    got = []
    filesystem = s3_filesystem(s3)
    filesystem.connect()

    def note(parsed, **_):
        got.append(parsed.get("ContentLength", 0))

    events = filesystem._s3.meta.events
    events.register("after-call.s3.GetObject", note, unique_id="counted")
    try:
        yield got
    finally:
        events.unregister("after-call.s3.GetObject", unique_id="counted")


def listed(name):
    """A manifest of the pieces."""
    return "\n".join(["uri,start_s,end_s", *(f"{name},{start},{start + 2}" for start in PIECES)])


def put(bucket, films, name):
    url, s3 = bucket
    source = Storage(url, s3)
    source.write(name, (films / name).read_bytes())
    source.write("list.csv", listed(name).encode())
    return source, by_file(read_source(f"{url}/list.csv", s3))


def told(rows):
    return [{k: v for k, v in row.items() if k not in ("uri", "modified")} for row in rows.to_pylist()]


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
def test_a_few_pieces_cost_a_few_ranges_and_equal_those_of_the_downloaded_file(name, films, bucket, tmp_path):
    _, s3 = bucket
    _, rows = put(bucket, films, name)
    size = (films / name).stat().st_size
    assert size > 40 * BLOCK
    with counted(s3) as got:
        by_ranges = IngestWorker(Ingest(frames=4), s3, "run")(rows)
    assert len(got) > 1
    # Six of 120 seconds, with what lies around them.
    assert sum(got) < size / 3
    (tmp_path / name).write_bytes((films / name).read_bytes())
    (tmp_path / "list.csv").write_text(listed(name))
    local = by_file(read_source(str(tmp_path / "list.csv")))
    whole = IngestWorker(Ingest(frames=4), s3, "run")(local)
    assert told(by_ranges) == told(whole)
    assert by_ranges["status"].to_pylist() == ["ok"] * len(PIECES)
    assert all(len(row["frames"]) == 4 and row["audio"] for row in told(by_ranges))


def test_splitting_by_windows_reads_the_ends_of_an_object_and_by_shots_each_byte_once(films, bucket):
    url, s3 = bucket
    Storage(url, s3).write("film.mp4", (films / "film.mp4").read_bytes())
    size = (films / "film.mp4").stat().st_size
    rows = recordings_of(read_source(url, s3))
    for by, least, most in (("fixed", 0, size / 3), ("shots", 0.9 * size, size)):
        with counted(s3) as got:
            found = SplitWorker(Split(by=by), s3, "run")(rows)
        assert least <= sum(got) <= most
        assert found["status"].to_pylist() == ["ok"] * found.num_rows
        assert found["end_s"].to_pylist()[-1] == pytest.approx(SECONDS, abs=0.2)


def replacing(monkeypatch, times, replace):
    """After so many ranges, and again after as many, somebody writes the object anew."""
    take = Ranges._take
    taken = []

    def replaced(self, first, last):
        taken.append(first)
        if len(taken) in times:
            replace()
        take(self, first, last)

    monkeypatch.setattr(Ranges, "_take", replaced)


def test_an_object_that_changes_while_it_is_read_is_read_anew(films, bucket, monkeypatch):
    _, s3 = bucket
    source, rows = put(bucket, films, "film.mp4")
    other = (films / "other.mp4").read_bytes()
    replacing(monkeypatch, {3}, lambda: source.write("film.mp4", other))
    made = IngestWorker(Ingest(frames=4), s3, "run")(rows).to_pylist()
    assert [row["error"] for row in made] == [None] * len(PIECES)
    assert {row["size"] for row in made} == {len(other)}
    source.write("list.csv", listed("film.mp4").encode())
    again = by_file(read_source(f"{source.url}/list.csv", s3))
    monkeypatch.undo()
    of_other = IngestWorker(Ingest(frames=4), s3, "run")(again).to_pylist()
    assert [row["frames"] for row in made] == [row["frames"] for row in of_other]


def test_a_recording_that_changes_while_it_is_split_is_a_failed_row_that_may_pass(films, bucket, monkeypatch):
    source, _ = put(bucket, films, "film.mp4")
    rows = recordings_of(read_source(source.url, bucket[1]))
    other = (films / "other.mp4").read_bytes()
    replacing(monkeypatch, {3}, lambda: source.write("film.mp4", other))
    worker = SplitWorker(Split(by="shots"), bucket[1], "run")
    assert [row["error"] for row in worker(rows).to_pylist()] == ["replaced"]
    # It is another recording by now, which is split as one that changed.
    now = recordings_of(read_source(source.url, bucket[1]))
    assert now["size"].to_pylist() == [len(other)]
    assert set(worker(now)["status"].to_pylist()) == {"ok"}


def test_an_object_that_never_stands_still_is_a_failed_row_that_may_pass(films, bucket, monkeypatch):
    _, s3 = bucket
    source, rows = put(bucket, films, "film.mp4")
    data = (films / "film.mp4").read_bytes()
    written = []

    def write():
        written.append(b"\0")
        source.write("film.mp4", data + b"".join(written))

    replacing(monkeypatch, set(range(2, 99)), write)
    made = IngestWorker(Ingest(frames=4), s3, "run")(rows).to_pylist()
    assert {row["error"] for row in made} == {"replaced"}
    assert {row["status"] for row in made} == {"failed"}


def test_a_server_that_fails_midway_is_a_failed_row_as_before(films, bucket, monkeypatch):
    _, s3 = bucket
    source, rows = put(bucket, films, "film.mp4")
    replacing(monkeypatch, {3}, lambda: source.delete("film.mp4"))
    worker = IngestWorker(Ingest(frames=4), s3, "run")
    made = worker(rows).to_pylist()
    assert {row["error"] for row in made} == {"unreadable"}
    assert "is not there" in made[0]["error_message"]
    # The worker goes on.
    monkeypatch.undo()
    source.write("film.mp4", (films / "film.mp4").read_bytes())
    assert worker(rows)["status"].to_pylist() == ["ok"] * len(PIECES)


def test_a_range_is_fetched_once_and_never_more_than_there_is(tmp_path):
    data = bytes(range(251)) * 20_000
    asked = []

    def get(start, end):
        asked.append((start, end))
        return data[start:end]

    filled = Ranges(tmp_path / "copy", len(data), get)
    assert filled.fetch(len(data) - 10, len(data))[1] == len(data)
    for start in range(0, len(data), 32_768):
        end = min(start + 32_768, len(data))
        there = filled.fetch(start, end)
        assert there[0] <= start < end <= there[1] <= len(data)
    assert (tmp_path / "copy").read_bytes() == data
    assert sum(end - start for start, end in asked) == len(data)
    # Reading on and on takes longer ranges.
    assert len(asked) < len(data) / BLOCK / 2


def test_what_is_read_far_apart_is_fetched_alone(tmp_path):
    size = 100 * BLOCK
    got = []

    def get(start, end):
        got.append(end - start)
        return bytes(end - start)

    filled = Ranges(tmp_path / "copy", size, get)
    for place in (90, 10, 50, 30, 70):
        filled.fetch(place * BLOCK + 5, place * BLOCK + 6)
    assert got == [BLOCK] * 5
    assert (tmp_path / "copy").stat().st_size == size
    assert (tmp_path / "copy").stat().st_blocks * 512 < 10 * BLOCK


def test_bytes_that_nobody_fills_are_an_error(tmp_path):
    (tmp_path / "copy").write_bytes(bytes(10))
    with opened_bytes(Partial(str(tmp_path / "copy"))) as file, pytest.raises(RuntimeError, match="nobody"):
        file.read(4)
