"""A file that is replaced while it is read: its row is of one version, or it is tried again another night."""

import os
import shutil

import pytest

from clips import make_clip
from emo.config import load_config
from emo.jobs.ingest import READS, IngestWorker
from emo.nightly.retries import PASSING
from emo.sources.source import read_source
from emo.store.planning import clips_to_ingest
from emo.store.storage import Storage


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Two versions of a clip, of 160 and of 80 pixels width, and one that is cut off."""
    folder = tmp_path_factory.mktemp("versions")
    wide = make_clip(folder / "wide.mp4", seconds=1.0, size=(160, 120)).read_bytes()
    narrow = make_clip(folder / "narrow.mp4", seconds=0.5, size=(80, 60)).read_bytes()
    return wide, narrow, wide[: len(wide) // 2]


@pytest.fixture(params=["local", "s3"])
def source(request, tmp_path, bucket):
    return Storage(str(tmp_path / "videos")) if request.param == "local" else Storage(*bucket)


class Worker(IngestWorker):
    """The worker of ingest, beside somebody who writes the file each time that it has been read."""

    def __init__(self, source, meanwhile):
        super().__init__(load_config().ingest, source.s3, "1")
        self.reads = 0
        decode = self._decoder.decode

        def read(path):
            self.reads += 1
            try:
                return decode(path)
            finally:
                if meanwhile:
                    source.write("clip.mp4", meanwhile.pop(0))

        self._decoder.decode = read


def ingest(source, meanwhile):
    manifest = read_source(source.url, source.s3)
    worker = Worker(source, list(meanwhile))
    rows = worker(manifest)
    return rows.to_pylist()[0], worker.reads, clips_to_ingest(read_source(source.url, source.s3), rows)


def test_a_file_that_nobody_touches_is_read_once(source, versions):
    wide, *_ = versions
    source.write("clip.mp4", wide)
    row, reads, left = ingest(source, [])
    assert (row["status"], row["width"], reads, left.num_rows) == ("ok", 160, 1, 0)


def test_the_row_of_a_file_that_was_replaced_is_of_its_new_version_alone(source, versions):
    wide, narrow, _ = versions
    source.write("clip.mp4", wide)
    row, reads, left = ingest(source, [narrow])
    assert (row["status"], row["width"], row["height"], reads) == ("ok", 80, 60, 2)
    assert row["size"] == len(narrow)
    # It is not new to the next night: what the table says is what was read.
    assert left.num_rows == 0


def test_a_file_that_was_only_half_there_is_read_again(source, versions):
    wide, _, half = versions
    source.write("clip.mp4", half)
    row, reads, _ = ingest(source, [wide])
    assert (row["status"], row["width"], reads) == ("ok", 160, 2)


def test_a_file_that_is_written_again_and_again_fails_for_a_passing_reason(source, versions):
    wide, narrow, half = versions
    source.write("clip.mp4", wide)
    row, reads, left = ingest(source, [narrow, half, wide])
    assert (row["status"], row["error"], reads) == ("failed", "replaced", READS)
    assert "was written while it was read, 2 times" in row["error_message"]
    assert row["frames"] is None
    assert row["error"] in PASSING
    # The row keeps the version that was listed, so the next night sees another file too.
    assert left.num_rows == 1


def test_a_file_of_the_same_size_and_another_time_is_another_version(tmp_path, versions):
    source = Storage(str(tmp_path / "videos"))
    source.write("clip.mp4", versions[0])
    path = tmp_path / "videos/clip.mp4"
    manifest = read_source(source.url)
    os.utime(path, (1, 1))
    worker = Worker(source, [])
    row = worker(manifest).to_pylist()[0]
    assert (row["status"], worker.reads, row["modified"].year) == ("ok", 2, 1970)


def test_a_file_that_went_away_while_it_was_read_is_not_there(tmp_path, versions):
    source = Storage(str(tmp_path / "videos"))
    source.write("clip.mp4", versions[0])
    manifest = read_source(source.url)
    shutil.rmtree(tmp_path / "videos")
    row = Worker(source, [])(manifest).to_pylist()[0]
    assert (row["status"], row["error"]) == ("failed", "unreadable")
