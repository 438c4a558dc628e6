"""Every kind of source becomes the same manifest; what cannot be one is refused by name."""

import csv
import gzip
import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emo.errors import InputError, StorageError
from emo.paths import readable
from emo.sources.lookup import MANIFEST, look_up
from emo.sources.source import read_source
from emo.store.s3 import s3_filesystem
from emo.store.storage import Storage, storage_of


def _touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def _column(table, name):
    return table.column(name).to_pylist()


def test_a_folder_is_read_through_and_ids_are_paths_without_extension(tmp_path):
    _touch(tmp_path, "b.mp4", "a/x.MKV", "a/deep/y.webm", "notes.doc", "b.jpg")
    rows = read_source(str(tmp_path))
    assert read_source(f"{tmp_path}/") == rows
    assert rows.schema == MANIFEST
    assert _column(rows, "video_id") == ["a/deep/y", "a/x", "b"]
    assert _column(rows, "size") == [13, 7, 5]
    assert _column(rows, "uri")[2] == str(tmp_path / "b.mp4")


def test_a_glob_takes_ids_from_where_its_wildcards_begin(tmp_path):
    _touch(tmp_path, "one/a.mp4", "two/a.mp4", "two/a.txt", "other/c.mp4")
    rows = read_source(f"{tmp_path}/*/a.*")
    assert _column(rows, "video_id") == ["one/a", "two/a"]
    assert _column(rows, "sidecar") == [None, str(tmp_path / "two/a.txt")]


def test_a_single_file_is_a_source(tmp_path):
    _touch(tmp_path, "a.mp4", "a.srt")
    rows = read_source(str(tmp_path / "a.mp4"))
    assert _column(rows, "video_id") == ["a"]
    assert _column(rows, "sidecar") == [str(tmp_path / "a.srt")]


def test_an_s3_prefix_is_like_a_folder(bucket):
    url, settings = bucket
    storage = Storage(f"{url}/videos", settings)
    for name in ("a.mp4", "a.vtt", "sub/b.mov", "readme.md"):
        storage.write(name, b"12345")
    rows = read_source(f"{url}/videos", settings)
    assert read_source(f"{url}/videos/", settings) == rows
    assert _column(rows, "video_id") == ["a", "sub/b"]
    assert _column(rows, "uri") == [f"{url}/videos/a.mp4", f"{url}/videos/sub/b.mov"]
    assert _column(rows, "sidecar") == [f"{url}/videos/a.vtt", None]
    assert _column(rows, "size") == [5, 5]


def _manifest(tmp_path, kind, records):
    path = tmp_path / f"list.{kind}"
    if kind == "csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(records[0]))
            writer.writeheader()
            writer.writerows(records)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    else:
        pq.write_table(pa.Table.from_pylist(records), path)
    return str(path)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_manifest_names_clips_ids_subtitles_and_languages(tmp_path, kind):
    _touch(tmp_path, "v/a.mp4", "v/b.mp4", "v/b.srt", "v/a.srt")
    records = [
        {"uri": "v/a.mp4", "video_id": "first", "subtitle": "你好, “world”", "language": "zh"},
        {"uri": str(tmp_path / "v/b.mp4"), "video_id": "", "subtitle": "", "language": ""},
    ]
    rows = read_source(_manifest(tmp_path, kind, records))
    assert _column(rows, "video_id") == ["first", "v/b"]
    assert _column(rows, "subtitle") == ["你好, “world”", None]
    assert _column(rows, "language") == ["zh", None]
    # A subtitle of the manifest is preferred to a file beside the video.
    assert _column(rows, "sidecar") == [None, str(tmp_path / "v/b.srt")]


def test_a_manifest_on_s3_may_name_clips_anywhere(bucket):
    url, settings = bucket
    Storage(f"{url}/lists", settings).write("all.csv", f"uri\n../v/a.mp4\n{url}/w/b.mp4\n".encode())
    Storage(f"{url}/v", settings).write("a.mp4", b"1")
    Storage(f"{url}/w", settings).write("b.mp4", b"22")
    rows = read_source(f"{url}/lists/all.csv", settings)
    bucket_name = url.removeprefix("s3://")
    assert _column(rows, "video_id") == [f"{bucket_name}/v/a", f"{bucket_name}/w/b"]
    assert _column(rows, "size") == [1, 2]


def test_a_clip_that_is_not_there_keeps_its_row(tmp_path):
    (tmp_path / "list.csv").write_text("uri\nmissing.mp4\n")
    rows = read_source(str(tmp_path / "list.csv"))
    assert _column(rows, "video_id") == ["missing"]
    assert _column(rows, "size") == [None]


def test_chsims_layout(tmp_path):
    _touch(tmp_path, "Raw/video_0001/0001.mp4", "Raw/video_0001/0002.mp4", "Raw/video_0002/0001.mp4")
    (tmp_path / "label.csv").write_text(
        "video_id,clip_id,text,label,label_T\n"
        "video_0001,0001,我很高兴,0.8,1\nvideo_0001,0002,不行,-0.4,0\nvideo_0002,0001,,0,0\n",
        encoding="utf-8",
    )
    rows = read_source(str(tmp_path))
    assert _column(rows, "video_id") == ["video_0001/0001", "video_0001/0002", "video_0002/0001"]
    assert _column(rows, "subtitle") == ["我很高兴", "不行", None]
    assert _column(rows, "language") == ["zh", "zh", "zh"]
    assert None not in _column(rows, "size")


def test_the_second_chsims_is_laid_out_like_the_first(tmp_path, capsys):
    _touch(tmp_path, "Raw/tv_0001/00000.mp4", "Raw/tv_0001/00001.mp4", "Raw/tv_0002/00003.mp4")
    (tmp_path / "meta.csv").write_text(
        "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode\n"
        'tv_0001,0,"你好，再见",0.6,0.2,0.4,0.8,Positive,train\ntv_0001,1,,0,0,0,0,Neutral,test\n',
        encoding="utf-8",
    )
    rows = read_source(str(tmp_path))
    assert _column(rows, "video_id") == ["tv_0001/00000", "tv_0001/00001", "tv_0002/00003"]
    assert _column(rows, "subtitle") == ["你好，再见", None, None]
    assert _column(rows, "language") == ["zh", "zh", "zh"]
    said = capsys.readouterr().err.splitlines()
    assert "2 clips lost the zeros" in said[0]
    assert "meta.csv does not name 1 clips" in said[1]
    assert len(said) == 2


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("video_id,clip_id,label\na,1,0\n", "meta.csv has no column text; CH-SIMS' meta.csv has them"),
        ('video_id,clip_id,text\na,1,"嗯\na,2,好\n', "meta.csv"),
        ("video_id,clip_id,text\na,,好\n", "has no video_id or no clip_id"),
    ],
)
def test_a_bad_table_of_the_second_chsims_is_refused(tmp_path, table, said):
    _touch(tmp_path, "Raw/a/1.mp4")
    (tmp_path / "meta.csv").write_text(table, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_source(str(tmp_path))


def test_a_meta_csv_of_something_else_is_no_table_of_chsims(tmp_path, capsys):
    _touch(tmp_path, "Raw/a.mp4")
    (tmp_path / "meta.csv").write_text("camera,date\nleft,2020\n")
    assert _column(read_source(str(tmp_path)), "video_id") == ["Raw/a"]
    assert "1 .csv" in capsys.readouterr().err


def test_mer_layout(tmp_path):
    _touch(tmp_path, "video/sample_1.mp4", "video/sample_2.mp4", "video/sample_3.mp4")
    (tmp_path / "subtitle_chieng.csv").write_text(
        "name,chinese,english\nsample_1,你好,hello\nsample_2,,only english\n", encoding="utf-8-sig"
    )
    rows = read_source(str(tmp_path))
    assert _column(rows, "video_id") == ["sample_1", "sample_2", "sample_3"]
    assert _column(rows, "subtitle") == ["你好", "only english", None]
    assert _column(rows, "language") == ["zh", "en", None]


def test_an_empty_folder_gives_no_rows(tmp_path):
    assert read_source(str(tmp_path)).num_rows == 0


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("list.csv", "path\na.mp4\n", "no column uri; it has: path"),
        ("list.csv", "", "no column uri; it has: nothing"),
        ("list.csv", "uri,video_id\na.mp4,x\n,y\n", "row 3 has no uri"),
        ("list.jsonl", '{"uri": "a.mp4"}\n{"video": 1}\n', "row 2 has no uri"),
        ("list.jsonl", '{"uri": "a.mp4"}\nnope\n', "row 2 is not JSON"),
        ("list.jsonl", "[1]\n", "row 1 is not a JSON object"),
        ("list.jsonl", '{"uri": 7}\n', "uri is 7, expected text"),
        ("list.parquet", "not parquet", "is not a Parquet file"),
        ("list.csv", "uri,video_id\na.mp4,x\nb.mp4,x\n", "two clips would share the id 'x'.*row 2.*row 3"),
        ("list.csv", "uri\nhttp://example.org/a.mp4\n", "neither a path nor an s3:// address"),
        ("list.csv", "uri,subtitle\na.mp4,hi\nb.mp4,hi, there\n", r"list.csv row 3 has 3 fields, .* has 2;"),
        ("list.csv", "uri\na,b,c.mp4\n", r"list.csv row 2 has 3 fields, its header has 1;"),
    ],
)
def test_a_bad_manifest_is_refused_by_row_and_reason(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=expected):
        read_source(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "header", "row"),
    [
        ("label.csv", "video_id,clip_id,text,label", "video_0001,0001,嗯, 好,0.8"),
        ("subtitle_chieng.csv", "name,chinese,english", "sample_1,嗯, 好,well"),
    ],
)
def test_a_comma_too_many_in_the_table_of_a_known_layout_is_refused(tmp_path, name, header, row):
    _touch(tmp_path, "Raw/video_0001/0001.mp4", "video/sample_1.mp4")
    (tmp_path / name).write_text(f"{header}\n{row}\n", encoding="utf-8")
    counts = f"row 2 has {row.count(',') + 1} fields, its header has {header.count(',') + 1}"
    with pytest.raises(InputError, match=rf"{tmp_path}/{name} {counts}"):
        read_source(str(tmp_path))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_columns_of_a_manifest_that_are_not_used_are_named_once(tmp_path, capsys, kind):
    _touch(tmp_path, "a.mp4", "b.mp4")
    used = [{"uri": name, "video_id": name, "subtitle": "x", "language": "en"} for name in ("a.mp4", "b.mp4")]
    read_source(_manifest(tmp_path, kind, used))
    assert capsys.readouterr().err == ""
    path = _manifest(tmp_path, kind, [row | {"subtitel": "hi", " note": ""} for row in used])
    assert _column(read_source(path), "subtitle") == ["x", "x"]
    assert capsys.readouterr().err == (
        f"{path}: columns that are not used: 'subtitel', ' note'; those of a manifest are uri, video_id, "
        "subtitle, language, start_s, end_s, use, dialogue_id, turn, speaker; ingest.carry names others that "
        "stay with the clips\n"
    )


@pytest.mark.parametrize("name", ["m.tsv", "notes.pdf", "clip"])
def test_a_file_that_is_no_video_by_its_name_is_no_source(tmp_path, name):
    _touch(tmp_path, name, "a.mp4")
    with pytest.raises(InputError, match=r"neither a manifest \(\.csv, .* nor a video by its name \(.*\.mp4"):
        read_source(str(tmp_path / name))
    assert _column(read_source(str(tmp_path)), "video_id") == ["a"]


@pytest.mark.parametrize("source", ["", " "])
def test_an_empty_source_is_not_the_current_folder(tmp_path, monkeypatch, source):
    _touch(tmp_path, "a.mp4")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="the source is empty; expected a folder"):
        read_source(source)


def test_two_files_that_would_share_an_id_are_refused(tmp_path):
    _touch(tmp_path, "a.mp4", "a.mov")
    with pytest.raises(InputError, match=r"share the id 'a': a.*mo?[pv]4? and a"):
        read_source(str(tmp_path))


@pytest.mark.parametrize("source", ["nowhere", "nowhere.csv", "nowhere/list.jsonl", "a.txt"])
def test_a_source_that_does_not_exist_is_refused(tmp_path, source):
    with pytest.raises(InputError, match="does not exist"):
        read_source(str(tmp_path / source))


def test_looking_up_again_sees_the_files_as_they_are_now(tmp_path):
    _touch(tmp_path, "a.mp4")
    rows = read_source(str(tmp_path))
    (tmp_path / "a.mp4").write_bytes(b"longer than before")
    os.utime(tmp_path / "a.mp4", (1, 1))
    _touch(tmp_path, "a.srt")
    again = look_up(rows)
    assert _column(again, "size") == [18]
    assert _column(again, "sidecar") == [str(tmp_path / "a.srt")]


def test_other_words_are_another_version_and_the_same_words_the_same(tmp_path, bucket):
    url, settings = bucket
    for storage, s3 in ((Storage(str(tmp_path)), None), (Storage(f"{url}/v", settings), settings)):
        for name in ("a.mp4", "a.srt", "b.mp4", "c.mp4"):
            storage.write(name, b"12345")

        def versions(source="", storage=storage, s3=s3):
            rows = read_source(storage.full(source), s3)
            return dict(zip(_column(rows, "video_id"), _column(rows, "transcript_version"), strict=True))

        first = versions()
        assert versions() == first
        assert first["b"] is first["c"] is None
        storage.write("a.srt", b"123456")
        storage.write("b.txt", b"new")
        second = versions()
        assert len({first["a"], second["a"], second["b"], None}) == 4
        assert second["c"] is None
        storage.delete("a.srt")
        assert versions()["a"] is None

        storage.write("list.csv", b"uri,subtitle,language\na.mp4,hello,en\nb.mp4,hello,\nc.mp4,,\n")
        listed = versions("list.csv")
        assert len({listed["a"], listed["b"], None}) == 3
        assert listed["c"] is None
        storage.write("list.csv", b"uri,subtitle,language\na.mp4,hello!,en\nb.mp4,hello,\nc.mp4,,\n")
        again = versions("list.csv")
        assert again["a"] != listed["a"]
        assert (again["b"], again["c"]) == (listed["b"], None)


def test_a_folder_whose_name_looks_like_a_glob_is_a_folder(tmp_path):
    _touch(tmp_path, "My [clips] 100%?/a.mp4")
    assert _column(read_source(str(tmp_path / "My [clips] 100%?")), "video_id") == ["a"]


def test_a_name_that_is_not_utf8_keeps_its_row(tmp_path):
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff\xe9.mp4", os.O_CREAT | os.O_WRONLY))
    _touch(tmp_path, "good.mp4")
    assert _column(read_source(str(tmp_path)), "video_id") == ["\\xff\\xe9", "good"]


def test_links_are_followed_and_each_folder_is_read_once(tmp_path, capsys):
    _touch(tmp_path, "videos/a.mp4", "videos/b/c.mp4", "elsewhere/deep/d.mp4", "elsewhere/deep/d.srt")
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
    assert _column(rows, "video_id") == ["a", "b/c", "out/deep/d", "to_file"]
    assert _column(rows, "size") == [12, 14, 20, 20]
    assert _column(rows, "sidecar")[2] == str(videos / "out/deep/d.srt")
    said = capsys.readouterr().err.splitlines()
    assert said == [f"{videos}/b/up: links to a folder above the source and is not followed"]
    # A glob finds what it matches, once each too.
    globbed = _column(read_source(f"{videos}/**/*.mp4"), "video_id")
    assert globbed == ["a", "b/c", "out/deep/d", "to_file"]


def test_what_is_no_file_but_named_like_a_video_keeps_its_row(tmp_path):
    _touch(tmp_path, "good.mp4")
    (tmp_path / "dangling.mp4").symlink_to("nowhere.mp4")
    (tmp_path / "itself.mp4").symlink_to("itself.mp4")
    (tmp_path / "dangling.txt").symlink_to("nowhere.txt")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    expected = {"dangling": None, "good": 8, "itself": None, "pipe": None}
    for source in (str(tmp_path), f"{tmp_path}/*.mp4"):
        rows = read_source(source)
        assert dict(zip(_column(rows, "video_id"), _column(rows, "size"), strict=True)) == expected


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
    _touch(root, "a.mp4", "closed/b.mp4")
    (root / "closed").chmod(0)
    said = f"{root}/closed: this folder cannot be read: Permission denied"
    with nobody(), pytest.raises(StorageError, match=said):
        read_source(str(root))


def test_a_link_into_a_folder_that_cannot_be_read_keeps_its_row(as_nobody):
    root, nobody = as_nobody
    _touch(root, "videos/a.mp4", "closed/b.mp4")
    (root / "videos/b.mp4").symlink_to("../closed/b.mp4")
    (root / "closed").chmod(0)
    for source in (root / "videos", f"{root}/videos/*.mp4", f"{root}/videos/**/*.mp4"):
        with nobody():
            rows = read_source(str(source))
        assert dict(zip(_column(rows, "video_id"), _column(rows, "size"), strict=True)) == {
            "a": 12,
            "b": None,
        }


def test_one_object_of_s3_is_a_source_and_a_glob_there_is_refused(bucket):
    url, settings = bucket
    Storage(f"{url}/v", settings).write("a.mp4", b"123")
    rows = read_source(f"{url}/v/a.mp4", settings)
    assert (_column(rows, "video_id"), _column(rows, "size")) == (["a"], [3])
    with pytest.raises(InputError, match="a glob works on local files only"):
        read_source(f"{url}/v/*.mp4", settings)


def test_a_line_separator_inside_a_json_string_is_text(tmp_path):
    _touch(tmp_path, "a.mp4")
    (tmp_path / "list.jsonl").write_text(
        '{"uri": "a.mp4", "subtitle": "one\u2028two\u0085"}\n', encoding="utf-8"
    )
    assert _column(read_source(str(tmp_path / "list.jsonl")), "subtitle") == ["one\u2028two\u0085"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b'{"uri": "\xff.mp4"}', "not in UTF-8"), (b'{"uri": "\\udcff.mp4"}', "not text in Unicode")],
)
def test_text_that_is_none_is_refused(tmp_path, data, expected):
    (tmp_path / "list.jsonl").write_bytes(data)
    with pytest.raises(InputError, match=expected):
        read_source(str(tmp_path / "list.jsonl"))


def test_a_manifest_may_be_json_gzip_upper_case_or_a_parquet_folder(tmp_path, bucket):
    url, settings = bucket
    _touch(tmp_path, "v/a.mp4")
    text = "uri,video_id\nv/a.mp4,first\n"
    (tmp_path / "list.CSV").write_text(text)
    (tmp_path / "list.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "list.json").write_text('[{"uri": "v/a.mp4", "video_id": "first"}]')
    (tmp_path / "list.parquet").mkdir()
    pq.write_table(pa.table({"uri": ["v/a.mp4"], "video_id": ["first"]}), tmp_path / "list.parquet/0.parquet")
    (tmp_path / "list.parquet" / "_SUCCESS").write_text("")
    for name in ("list.CSV", "list.csv.gz", "list.json", "list.parquet", "list.parquet/"):
        rows = read_source(str(tmp_path / name))
        assert (_column(rows, "video_id"), _column(rows, "size")) == (["first"], [7])
        if not name.endswith(".parquet"):
            continue
        for path in (tmp_path / "list.parquet").glob("*.parquet"):
            Storage(f"{url}/m", settings).write(f"{name}/{path.name}", path.read_bytes())
        Storage(f"{url}/m", settings).write("v/a.mp4", b"12345")
        assert _column(read_source(f"{url}/m/{name}", settings), "size") == [5]


def test_what_pandas_and_spreadsheets_write_for_no_value_is_never_a_text_or_an_id(tmp_path, capsys):
    _touch(tmp_path, "a.mp4", "b.mp4", "b.srt")
    (tmp_path / "list.csv").write_text(
        "uri,video_id,subtitle,language\na.mp4,nan,NULL,None\nb.mp4,b,<NA>,#N/A\n"
    )
    rows = read_source(str(tmp_path / "list.csv"))
    assert (_column(rows, "video_id"), _column(rows, "subtitle")) == (["a", "b"], [None, None])
    assert _column(rows, "language") == [None, None]
    assert _column(rows, "sidecar") == [None, str(tmp_path / "b.srt")]
    assert "5 cells say nan, NULL, None or the like, and count as empty" in capsys.readouterr().err
    (tmp_path / "list.csv").write_text("uri\nnan\n")
    with pytest.raises(InputError, match="row 2 has no uri"):
        read_source(str(tmp_path / "list.csv"))


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
        assert _column(rows, "video_id") == ["a", "b", "c", "d/clip"]
        assert capsys.readouterr().err == (
            f"{storage.url}: left out: 3 files that are no video by their name (1 .jpg, 1 .pdf, 1 .srt) and "
            "4 files that are hidden or of a system (._*, __MACOSX, @eaDir, .Trashes, ...)\n"
        )
    rows = read_source(f"{tmp_path}/s/**")
    assert _column(rows, "video_id") == ["a", "b", "c", "d/clip"]
    assert "left out: 3 files that are no video by their name" in capsys.readouterr().err
    assert _column(read_source(f"{tmp_path}/s/.Trashes/501/*.mp4"), "video_id") == ["x"]
    assert _column(read_source(f"{tmp_path}/s/*/*.mp4"), "video_id") == []


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
        assert _column(rows, "sidecar") == [storage.full(name), None]
        assert _column(rows, "language") == [language, None]
    assert _column(look_up(rows, settings), "transcript_version") == _column(rows, "transcript_version")


def test_of_several_subtitle_files_the_right_one_is_taken(tmp_path, capsys):
    _touch(
        tmp_path, "a.mp4", "a.en.mp4", "a.en.srt", "b.mp4", "b.en.srt", "b.zh.srt", "b.forced.srt", "c.mp4"
    )
    _touch(tmp_path, "c.srt", "c.en.srt", "d.mp4", "d.final.srt")
    rows = read_source(str(tmp_path))
    names = [path and path.rpartition("/")[2] for path in _column(rows, "sidecar")]
    assert dict(zip(_column(rows, "video_id"), names, strict=True)) == {
        "a": None,
        "a.en": "a.en.srt",
        "b": "b.en.srt",
        "c": "c.srt",
        "d": None,
    }
    assert "1 clips have subtitle files in several languages" in capsys.readouterr().err
    (tmp_path / "list.csv").write_text("uri,language\nb.mp4,zh\n")
    assert _column(read_source(str(tmp_path / "list.csv")), "sidecar") == [str(tmp_path / "b.zh.srt")]


def test_clips_of_chsims_that_its_table_lost_are_found_and_said(tmp_path, capsys):
    _touch(tmp_path, *(f"Raw/video_0001/000{n}.mp4" for n in (1, 2, 3)), "Raw/video_0001/0010.mp4")
    (tmp_path / "label.csv").write_text(
        "video_id,clip_id,text,label\nvideo_0001,1,我很高兴,0.8\nvideo_0001,10.0,nan,0\n", encoding="utf-8"
    )
    rows = read_source(str(tmp_path))
    assert _column(rows, "video_id") == [f"video_0001/{n}" for n in ("0001", "0002", "0003", "0010")]
    assert _column(rows, "subtitle") == ["我很高兴", None, None, None]
    assert None not in _column(rows, "size")
    said = capsys.readouterr().err.splitlines()
    assert "2 clips lost the zeros in front of their numbers" in said[0]
    assert "does not name 2 clips that are in Raw/, such as video_0001/0002; they are labelled too" in said[1]
    assert len(said) == 2


def test_two_texts_for_one_clip_of_mer_are_refused_by_row(tmp_path):
    _touch(tmp_path, "video/s1.mp4")
    (tmp_path / "subtitle_chieng.csv").write_text(
        "name,chinese,english\ns1,好,well\ns1,不,no\n", encoding="utf-8"
    )
    with pytest.raises(InputError, match="row 3: 's1' has another text further up"):
        read_source(str(tmp_path))


def test_a_time_of_change_that_no_table_can_hold_is_one_line():
    # Disks of the usual kinds end in 2446; the memory of Linux takes every time.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        _touch(Path(folder), "a.mp4")
        os.utime(Path(folder, "a.mp4"), (1, 400_000_000_000))
        assert Path(folder, "a.mp4").stat().st_mtime == 400_000_000_000
        with pytest.raises(InputError, match=r"a\.mp4: was last changed in a year that is none"):
            read_source(folder)


@pytest.fixture
def odd_keys(bucket):
    """Keys that differ in slashes and in what follows a question mark, each with content of its own size."""
    url, settings = bucket
    files = s3_filesystem(settings)
    name = url.removeprefix("s3://")
    keys = ["d/x.mp4", "d//x.mp4", "d//z/w.mp4", "/lead.mp4", "lead.mp4", "v.mp4", "d/v?versionId=3.mp4"]
    for size, key in enumerate(keys, start=1):
        files.call_s3("put_object", Bucket=name, Key=key, Body=b"x" * size)
    return url, settings, {f"{url}/{key}": size for size, key in enumerate(keys, start=1)}


def _read_back(uri, settings):
    storage, name = storage_of(uri, settings)
    with storage.download(name) as path, storage.open(name) as handle:
        assert handle.read() == Path(path).read_bytes() == storage.read(name)
        return storage.entry(name).size, len(storage.read(name))


def test_every_key_of_a_prefix_is_its_own_clip(odd_keys):
    url, settings, sizes = odd_keys
    rows = read_source(url, settings)
    assert dict(zip(_column(rows, "uri"), _column(rows, "size"), strict=True)) == sizes
    assert len(set(_column(rows, "video_id"))) == len(sizes)
    for uri, size in sizes.items():
        assert _read_back(uri, settings) == (size, size)


def test_every_key_that_a_manifest_names_is_its_own_clip(odd_keys, tmp_path):
    url, settings, sizes = odd_keys
    lines = [json.dumps({"uri": uri, "video_id": f"{size}"}) for uri, size in sizes.items()]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    rows = read_source(str(tmp_path / "list.jsonl"), settings)
    found = dict(zip(_column(rows, "uri"), _column(rows, "size"), strict=True))
    assert found == sizes
    Storage(url, settings).write("d/list.csv", b"uri\nx.mp4\n/x.mp4\n../d//x.mp4\nz/../v?versionId=3.mp4\n")
    with pytest.raises(InputError, match="share the id"):
        read_source(f"{url}/d/list.csv", settings)
    Storage(url, settings).write("d/list.csv", b"uri\nx.mp4\n../d//x.mp4\nz/../v?versionId=3.mp4\n")
    rows = read_source(f"{url}/d/list.csv", settings)
    found = dict(zip(_column(rows, "uri"), _column(rows, "size"), strict=True))
    assert found == {uri: sizes[uri] for uri in found}
    assert len(found) == 3


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("d", {"d/x.mp4", "d//x.mp4", "d//z/w.mp4", "d/v?versionId=3.mp4"}),
        ("d/", {"d/x.mp4", "d//x.mp4", "d//z/w.mp4", "d/v?versionId=3.mp4"}),
        ("d//", {"d//x.mp4", "d//z/w.mp4"}),
        ("d//x.mp4", {"d//x.mp4"}),
        ("/lead.mp4", {"/lead.mp4"}),
        ("/", {"/lead.mp4"}),
        ("d//z", {"d//z/w.mp4"}),
    ],
)
def test_a_source_with_empty_names_in_it_is_what_it_says(odd_keys, source, expected):
    url, settings, sizes = odd_keys
    rows = read_source(f"{url}/{source}", settings)
    found = dict(zip(_column(rows, "uri"), _column(rows, "size"), strict=True))
    assert found == {f"{url}/{key}": sizes[f"{url}/{key}"] for key in expected}


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


def test_a_file_at_the_root_is_in_the_folder_of_the_root(tmp_path, monkeypatch):
    """Not in the current folder, where another has the same name."""
    monkeypatch.chdir(tmp_path)
    Path("x.csv").write_text("uri\n")
    storage, name = storage_of("/x.csv")
    assert (storage.url, name, storage.full(name)) == ("/", "x.csv", "/x.csv")
    assert not storage.has(name)
    assert storage_of("x.csv")[0].has("x.csv")


ODD = os.fsdecode(b"gbk_\xc4\xe3")


@pytest.mark.parametrize("kind", ["folder", "glob", "file", "manifest"])
def test_files_whose_names_are_not_utf8_are_found_again(tmp_path, kind):
    folder = tmp_path / ODD
    folder.mkdir()
    (folder / f"{ODD}.mp4").write_bytes(b"12345")
    (folder / f"{ODD}.srt").write_bytes(b"1")
    text = tmp_path / r"gbk_\xc4\xe3"
    sources = {
        "folder": str(folder),
        "glob": f"{folder}/*.mp4",
        "file": f"{folder}/{ODD}.mp4",
        "manifest": str(tmp_path / "list.jsonl"),
    }
    (tmp_path / "list.jsonl").write_text(json.dumps({"uri": str(text / r"gbk_\xc4\xe3.mp4")}))
    rows = read_source(readable(sources[kind]))
    assert _column(rows, "uri") == [str(text / r"gbk_\xc4\xe3.mp4")]
    assert _column(rows, "size") == [5]
    assert _column(rows, "sidecar") == [str(text / r"gbk_\xc4\xe3.srt")]
    storage, name = storage_of(rows.column("uri")[0].as_py())
    assert storage.read(name) == b"12345"
    with storage.download(name) as path:
        path.encode()
        assert Path(path).read_bytes() == b"12345"


def test_a_name_that_is_the_very_text_of_another_is_seen_and_refused(tmp_path):
    (tmp_path / f"{ODD}.mp4").write_bytes(b"1")
    (tmp_path / r"gbk_\xc4\xe3.mp4").write_bytes(b"22")
    with pytest.raises(InputError, match="two files would have the same path"):
        read_source(str(tmp_path))


@pytest.mark.parametrize("locale", ["C.UTF-8", "POSIX"])
def test_a_path_means_the_same_file_in_every_locale(tmp_path, locale):
    (tmp_path / "dü").mkdir()
    (tmp_path / "dü" / "é.mp4").write_bytes(b"12345")
    program = (
        "import sys; from emo.paths import readable; from emo.sources.source import read_source\n"
        "from emo.store.storage import storage_of\n"
        "rows = read_source(readable(sys.argv[1])).to_pylist()\n"
        "storage, name = storage_of(rows[0]['uri'])\n"
        "print(ascii(rows[0]['video_id']), rows[0]['size'], storage.read(name))\n"
    )
    plain = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "dü")],
        env={**os.environ, **plain},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["'\\xe9'", "5", "b'12345'"], done.stderr


def test_a_new_folder_whose_name_is_not_utf8_is_refused(tmp_path):
    with pytest.raises(InputError, match="not in UTF-8"):
        Storage(readable(str(tmp_path / ODD))).check()
    (tmp_path / ODD).mkdir()
    Storage(readable(str(tmp_path / ODD))).check()
