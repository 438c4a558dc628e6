"""A folder, a glob, a prefix and a file become the same manifest; what cannot be one is refused by name."""

import os
import tempfile
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from emo.errors import InputError, StorageError
from emo.sources.lookup import MANIFEST, look_up
from emo.sources.source import read_source
from emo.store.storage import Storage
from source_files import column, touch


def test_a_folder_is_read_through_and_ids_are_paths_without_extension(tmp_path):
    touch(tmp_path, "b.mp4", "a/x.MKV", "a/deep/y.webm", "notes.doc", "b.jpg")
    rows = read_source(str(tmp_path))
    assert read_source(f"{tmp_path}/") == rows
    assert rows.schema == MANIFEST
    assert column(rows, "video_id") == ["a/deep/y", "a/x", "b"]
    assert column(rows, "size") == [13, 7, 5]
    assert column(rows, "uri")[2] == str(tmp_path / "b.mp4")


def test_a_glob_takes_ids_from_where_its_wildcards_begin(tmp_path):
    touch(tmp_path, "one/a.mp4", "two/a.mp4", "two/a.txt", "other/c.mp4")
    rows = read_source(f"{tmp_path}/*/a.*")
    assert column(rows, "video_id") == ["one/a", "two/a"]
    assert column(rows, "sidecar") == [None, str(tmp_path / "two/a.txt")]


def test_a_single_file_is_a_source(tmp_path):
    touch(tmp_path, "a.mp4", "a.srt")
    rows = read_source(str(tmp_path / "a.mp4"))
    assert column(rows, "video_id") == ["a"]
    assert column(rows, "sidecar") == [str(tmp_path / "a.srt")]


def test_an_s3_prefix_is_like_a_folder(bucket):
    url, settings = bucket
    storage = Storage(f"{url}/videos", settings)
    for name in ("a.mp4", "a.vtt", "sub/b.mov", "readme.md"):
        storage.write(name, b"12345")
    rows = read_source(f"{url}/videos", settings)
    assert read_source(f"{url}/videos/", settings) == rows
    assert column(rows, "video_id") == ["a", "sub/b"]
    assert column(rows, "uri") == [f"{url}/videos/a.mp4", f"{url}/videos/sub/b.mov"]
    assert column(rows, "sidecar") == [f"{url}/videos/a.vtt", None]
    assert column(rows, "size") == [5, 5]


def test_an_empty_folder_gives_no_rows(tmp_path):
    assert read_source(str(tmp_path)).num_rows == 0


@pytest.mark.parametrize("name", ["m.tsv", "notes.pdf", "clip"])
def test_a_file_that_is_no_video_by_its_name_is_no_source(tmp_path, name):
    touch(tmp_path, name, "a.mp4")
    with pytest.raises(InputError, match=r"neither a manifest \(\.csv, .* nor a video by its name \(.*\.mp4"):
        read_source(str(tmp_path / name))
    assert column(read_source(str(tmp_path)), "video_id") == ["a"]


@pytest.mark.parametrize("source", ["", " "])
def test_an_empty_source_is_not_the_current_folder(tmp_path, monkeypatch, source):
    touch(tmp_path, "a.mp4")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="the source is empty; expected a folder"):
        read_source(source)


def test_two_files_that_would_share_an_id_are_refused(tmp_path):
    touch(tmp_path, "a.mp4", "a.mov")
    with pytest.raises(InputError, match=r"share the id 'a': a.*mo?[pv]4? and a"):
        read_source(str(tmp_path))


@pytest.mark.parametrize("source", ["nowhere", "nowhere.csv", "nowhere/list.jsonl", "a.txt"])
def test_a_source_that_does_not_exist_is_refused(tmp_path, source):
    with pytest.raises(InputError, match="does not exist"):
        read_source(str(tmp_path / source))


def test_links_are_followed_and_each_folder_is_read_once(tmp_path, capsys):
    touch(tmp_path, "videos/a.mp4", "videos/b/c.mp4", "elsewhere/deep/d.mp4", "elsewhere/deep/d.srt")
    videos = tmp_path / "videos"
    for link, target in [
        ("to_file.mp4", "../elsewhere/deep/d.mp4"),
        ("out", "../elsewhere"),
        ("out_again", "../elsewhere/deep"),
        ("0_within", "b"),
        ("b/circle", ".."),
        ("b/up", "../.."),
        ("../elsewhere/back", "../videos"),
    ]:
        (videos / link).symlink_to(target)
    rows = read_source(str(videos))
    assert column(rows, "video_id") == ["a", "b/c", "out/deep/d", "to_file"]
    assert column(rows, "size") == [12, 14, 20, 20]
    assert column(rows, "sidecar")[2] == str(videos / "out/deep/d.srt")
    said = capsys.readouterr().err.splitlines()
    assert said == [f"{videos}/b/up: links to a folder above the source and is not followed"]
    # A glob finds what it matches, once each too.
    globbed = column(read_source(f"{videos}/**/*.mp4"), "video_id")
    assert globbed == ["a", "b/c", "out/deep/d", "to_file"]


def test_what_is_no_file_but_named_like_a_video_keeps_its_row(tmp_path):
    touch(tmp_path, "good.mp4")
    (tmp_path / "dangling.mp4").symlink_to("nowhere.mp4")
    (tmp_path / "itself.mp4").symlink_to("itself.mp4")
    (tmp_path / "dangling.txt").symlink_to("nowhere.txt")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    expected = {"dangling": None, "good": 8, "itself": None, "pipe": None}
    for source in (str(tmp_path), f"{tmp_path}/*.mp4"):
        rows = read_source(source)
        assert dict(zip(column(rows, "video_id"), column(rows, "size"), strict=True)) == expected


@pytest.fixture
def as_nobody(tmp_path):
    """A folder, and a look into it as a user to whom some of it is closed: root may read everything."""
    if os.geteuid() != 0:
        yield tmp_path, nullcontext
        return

    @contextmanager
    def nobody():
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder), nobody


def test_a_folder_that_cannot_be_read_is_named(as_nobody):
    root, nobody = as_nobody
    touch(root, "a.mp4", "closed/b.mp4")
    (root / "closed").chmod(0)
    said = f"{root}/closed: this folder cannot be read: Permission denied"
    with nobody(), pytest.raises(StorageError, match=said):
        read_source(str(root))


def test_a_link_into_a_folder_that_cannot_be_read_keeps_its_row(as_nobody):
    root, nobody = as_nobody
    touch(root, "videos/a.mp4", "closed/b.mp4")
    (root / "videos/b.mp4").symlink_to("../closed/b.mp4")
    (root / "closed").chmod(0)
    for source in (root / "videos", f"{root}/videos/*.mp4", f"{root}/videos/**/*.mp4"):
        with nobody():
            rows = read_source(str(source))
        assert dict(zip(column(rows, "video_id"), column(rows, "size"), strict=True)) == {
            "a": 12,
            "b": None,
        }


def test_one_object_of_s3_is_a_source_and_a_glob_there_is_refused(bucket):
    url, settings = bucket
    Storage(f"{url}/v", settings).write("a.mp4", b"123")
    rows = read_source(f"{url}/v/a.mp4", settings)
    assert (column(rows, "video_id"), column(rows, "size")) == (["a"], [3])
    with pytest.raises(InputError, match="a glob works on local files only"):
        read_source(f"{url}/v/*.mp4", settings)


_SEEN = {
    "a.mp4": b"1",
    "b.OGV": b"1",
    "c.m2t": b"1",
    "d/clip.f4v": b"1",
    "d/clip.jpg": b"1",
    "notes.pdf": b"1",
    "a.txt": b"words",
    "stray.srt": b"1",
    "._a.mp4": b"1",
    "__MACOSX/a.mp4": b"1",
    "d/@eaDir/clip.mp4": b"1",
    ".Trashes/501/x.mp4": b"1",
}


def test_what_a_folder_leaves_out_is_said_with_its_count(tmp_path, bucket, capsys):
    url, settings = bucket
    for storage in (Storage(str(tmp_path / "s")), Storage(f"{url}/s", settings)):
        for name, data in _SEEN.items():
            storage.write(name, data)
        rows = read_source(storage.url, settings)
        assert column(rows, "video_id") == ["a", "b", "c", "d/clip"]
        assert capsys.readouterr().err == (
            f"{storage.url}: left out: 3 files that are no video by their name (1 .jpg, 1 .pdf, 1 .srt) and "
            "4 files that are hidden or of a system (._*, __MACOSX, @eaDir, .Trashes, ...)\n"
        )
    rows = read_source(f"{tmp_path}/s/**")
    assert column(rows, "video_id") == ["a", "b", "c", "d/clip"]
    assert "left out: 3 files that are no video by their name" in capsys.readouterr().err
    assert column(read_source(f"{tmp_path}/s/.Trashes/501/*.mp4"), "video_id") == ["x"]
    assert column(read_source(f"{tmp_path}/s/*/*.mp4"), "video_id") == []


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("clip.srt", None),
        ("clip.SRT", None),
        ("clip.TXT", None),
        ("clip.mp4.srt", None),
        ("clip.en.srt", "en"),
        ("clip.eng.VTT", "en"),
        ("clip.zh-CN.vtt", "zh"),
        ("clip.zh-Hans.vtt", "zh"),
        ("clip.mp4.de.srt", "de"),
        ("clip.pt_BR.sdh.srt", "pt"),
    ],
)
def test_subtitle_files_are_found_by_their_usual_names(tmp_path, bucket, name, language):
    url, settings = bucket
    for storage in (Storage(str(tmp_path)), Storage(f"{url}/v", settings)):
        storage.write("clip.mp4", b"1")
        storage.write("clip2.mp4", b"1")
        storage.write(name, b"1")
        rows = read_source(storage.url, settings)
        assert column(rows, "sidecar") == [storage.full(name), None]
        assert column(rows, "language") == [language, None]
    assert column(look_up(rows, settings), "transcript_version") == column(rows, "transcript_version")


def test_of_several_subtitle_files_the_right_one_is_taken(tmp_path, capsys):
    touch(tmp_path, "a.mp4", "a.en.mp4", "a.en.srt", "b.mp4", "b.en.srt", "b.zh.srt", "b.forced.srt", "c.mp4")
    touch(tmp_path, "c.srt", "c.en.srt", "d.mp4", "d.final.srt")
    rows = read_source(str(tmp_path))
    names = [path and path.rpartition("/")[2] for path in column(rows, "sidecar")]
    assert dict(zip(column(rows, "video_id"), names, strict=True)) == {
        "a": None,
        "a.en": "a.en.srt",
        "b": "b.en.srt",
        "c": "c.srt",
        "d": None,
    }
    assert "1 clips have subtitle files in several languages" in capsys.readouterr().err
    (tmp_path / "list.csv").write_text("uri,language\nb.mp4,zh\n")
    assert column(read_source(str(tmp_path / "list.csv")), "sidecar") == [str(tmp_path / "b.zh.srt")]


def test_a_time_of_change_that_no_table_can_hold_is_one_line():
    # Disks of the usual kinds end in 2446; the memory of Linux takes every time.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        touch(Path(folder), "a.mp4")
        os.utime(Path(folder, "a.mp4"), (1, 400_000_000_000))
        assert Path(folder, "a.mp4").stat().st_mtime == 400_000_000_000
        with pytest.raises(InputError, match=r"a\.mp4: was last changed in a year that is none"):
            read_source(folder)


@pytest.mark.parametrize("name", ["nothing", "nothing/", "m/MAN.csv", "m/list.doc", "a.mp4"])
def test_a_source_on_s3_that_is_not_there_is_refused_like_a_local_one(bucket, name):
    url, settings = bucket
    Storage(f"{url}/m", settings).write("list.doc", b"uri\n")
    with pytest.raises(InputError, match=r"does not exist|by its name; expected"):
        read_source(f"{url}/{name}", settings)


def test_an_empty_bucket_and_a_prefix_without_videos_are_there_and_give_no_rows(bucket):
    url, settings = bucket
    assert read_source(url, settings).num_rows == 0
    Storage(f"{url}/m", settings).write("notes.doc", b"1")
    assert read_source(f"{url}/m", settings).num_rows == 0
