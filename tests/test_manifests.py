"""A manifest of any kind of file names clips; a bad one is refused by row and reason."""

import csv
import gzip
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emo.errors import InputError
from emo.sources.lookup import look_up
from emo.sources.source import read_source
from emo.store.storage import Storage
from source_files import column, touch


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
    touch(tmp_path, "v/a.mp4", "v/b.mp4", "v/b.srt", "v/a.srt")
    records = [
        {"uri": "v/a.mp4", "video_id": "first", "subtitle": "你好, “world”", "language": "zh"},
        {"uri": str(tmp_path / "v/b.mp4"), "video_id": "", "subtitle": "", "language": ""},
    ]
    rows = read_source(_manifest(tmp_path, kind, records))
    assert column(rows, "video_id") == ["first", "v/b"]
    assert column(rows, "subtitle") == ["你好, “world”", None]
    assert column(rows, "language") == ["zh", None]
    # A subtitle of the manifest is preferred to a file beside the video.
    assert column(rows, "sidecar") == [None, str(tmp_path / "v/b.srt")]


def test_a_manifest_on_s3_may_name_clips_anywhere(bucket):
    url, settings = bucket
    Storage(f"{url}/lists", settings).write("all.csv", f"uri\n../v/a.mp4\n{url}/w/b.mp4\n".encode())
    Storage(f"{url}/v", settings).write("a.mp4", b"1")
    Storage(f"{url}/w", settings).write("b.mp4", b"22")
    rows = read_source(f"{url}/lists/all.csv", settings)
    bucket_name = url.removeprefix("s3://")
    assert column(rows, "video_id") == [f"{bucket_name}/v/a", f"{bucket_name}/w/b"]
    assert column(rows, "size") == [1, 2]


def test_a_clip_that_is_not_there_keeps_its_row(tmp_path):
    (tmp_path / "list.csv").write_text("uri\nmissing.mp4\n")
    rows = read_source(str(tmp_path / "list.csv"))
    assert column(rows, "video_id") == ["missing"]
    assert column(rows, "size") == [None]


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


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_columns_of_a_manifest_that_are_not_used_are_named_once(tmp_path, capsys, kind):
    touch(tmp_path, "a.mp4", "b.mp4")
    used = [{"uri": name, "video_id": name, "subtitle": "x", "language": "en"} for name in ("a.mp4", "b.mp4")]
    read_source(_manifest(tmp_path, kind, used))
    assert capsys.readouterr().err == ""
    path = _manifest(tmp_path, kind, [row | {"subtitel": "hi", " note": ""} for row in used])
    assert column(read_source(path), "subtitle") == ["x", "x"]
    assert capsys.readouterr().err == (
        f"{path}: columns that are not used: 'subtitel', ' note'; those of a manifest are uri, video_id, "
        "subtitle, language, start_s, end_s, use, dialogue_id, turn, speaker; ingest.carry names others that "
        "stay with the clips\n"
    )


def test_looking_up_again_sees_the_files_as_they_are_now(tmp_path):
    touch(tmp_path, "a.mp4")
    rows = read_source(str(tmp_path))
    (tmp_path / "a.mp4").write_bytes(b"longer than before")
    os.utime(tmp_path / "a.mp4", (1, 1))
    touch(tmp_path, "a.srt")
    again = look_up(rows)
    assert column(again, "size") == [18]
    assert column(again, "sidecar") == [str(tmp_path / "a.srt")]


def test_other_words_are_another_version_and_the_same_words_the_same(tmp_path, bucket):
    url, settings = bucket
    for storage, s3 in ((Storage(str(tmp_path)), None), (Storage(f"{url}/v", settings), settings)):
        for name in ("a.mp4", "a.srt", "b.mp4", "c.mp4"):
            storage.write(name, b"12345")

        def versions(source="", storage=storage, s3=s3):
            rows = read_source(storage.full(source), s3)
            return dict(zip(column(rows, "video_id"), column(rows, "transcript_version"), strict=True))

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


def test_a_line_separator_inside_a_json_string_is_text(tmp_path):
    touch(tmp_path, "a.mp4")
    (tmp_path / "list.jsonl").write_text(
        '{"uri": "a.mp4", "subtitle": "one\u2028two\u0085"}\n', encoding="utf-8"
    )
    assert column(read_source(str(tmp_path / "list.jsonl")), "subtitle") == ["one\u2028two\u0085"]


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
    touch(tmp_path, "v/a.mp4")
    text = "uri,video_id\nv/a.mp4,first\n"
    (tmp_path / "list.CSV").write_text(text)
    (tmp_path / "list.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "list.json").write_text('[{"uri": "v/a.mp4", "video_id": "first"}]')
    (tmp_path / "list.parquet").mkdir()
    pq.write_table(pa.table({"uri": ["v/a.mp4"], "video_id": ["first"]}), tmp_path / "list.parquet/0.parquet")
    (tmp_path / "list.parquet" / "_SUCCESS").write_text("")
    for name in ("list.CSV", "list.csv.gz", "list.json", "list.parquet", "list.parquet/"):
        rows = read_source(str(tmp_path / name))
        assert (column(rows, "video_id"), column(rows, "size")) == (["first"], [7])
        if not name.endswith(".parquet"):
            continue
        for path in (tmp_path / "list.parquet").glob("*.parquet"):
            Storage(f"{url}/m", settings).write(f"{name}/{path.name}", path.read_bytes())
        Storage(f"{url}/m", settings).write("v/a.mp4", b"12345")
        assert column(read_source(f"{url}/m/{name}", settings), "size") == [5]


def test_what_pandas_and_spreadsheets_write_for_no_value_is_never_a_text_or_an_id(tmp_path, capsys):
    touch(tmp_path, "a.mp4", "b.mp4", "b.srt")
    (tmp_path / "list.csv").write_text(
        "uri,video_id,subtitle,language\na.mp4,nan,NULL,None\nb.mp4,b,<NA>,#N/A\n"
    )
    rows = read_source(str(tmp_path / "list.csv"))
    assert (column(rows, "video_id"), column(rows, "subtitle")) == (["a", "b"], [None, None])
    assert column(rows, "language") == [None, None]
    assert column(rows, "sidecar") == [None, str(tmp_path / "b.srt")]
    assert "5 cells say nan, NULL, None or the like, and count as empty" in capsys.readouterr().err
    (tmp_path / "list.csv").write_text("uri\nnan\n")
    with pytest.raises(InputError, match="row 2 has no uri"):
        read_source(str(tmp_path / "list.csv"))
