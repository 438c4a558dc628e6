"""Tables from outside are read strictly: what is odd is refused with its file and row, and never guessed."""

import gzip
import io
import json
import time
import zipfile
from contextlib import suppress

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emo.errors import InputError
from emo.sources.cut_names import cut_names, without_zeros
from emo.sources.records import load, read_records, tables_at
from emo.sources.sheets import read_sheet
from emo.store.storage import Storage


def rows(text, name="t.csv"):
    data = text if isinstance(text, bytes) else text.encode()
    return [record.values for record in read_records(data, name).sound()]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('uri,subtitle\na.mp4,"He said hi\nb.mp4,fine\n', "row 2: unexpected end of data"),
        ('uri,subtitle\na.mp4,x\nb.mp4,"hi\nc.mp4,"ok"\n', "row 3: ',' expected after"),
        (
            'uri,subtitle\na.mp4,"He said hi\nb.mp4,fine"\nc.mp4,ok\n',
            "row 2 opens .* row 3 within it looks like",
        ),
        ('video_id,clip_id,text,label\nv,1,"他,1\nv,2,好",1\n', "row 2 opens .* row 3 within"),
        ('uri\n"a.mp4\nb.mp4"\nc.mp4\n', "row 2 opens .* row 3 within"),
        ('uri,subtitle\na.mp4,"hi" there\n', "row 2: ',' expected after"),
        ("name,openset\n1,[happy, excited]\n", "row 2 has 3 fields, its header has 2"),
        ("name,openset\n1,[sad]\n2,a,b,c\n", "row 3 has 4 fields, its header has 2"),
        ("name,openset\n1\n", "row 2 has too few columns"),
        ("uri,subtitle,subtitle\na,b,c\n", "has the column 'subtitle' twice"),
        ("uri,,\na,b,c\n", "row 2 has 3 fields, its header has 1"),
        (b"uri\n\xff.mp4\n", "not in UTF-8 at byte 4"),
        (b"uri\n\xc4\xe3\xba\xc3.mp4\n", "not in UTF-8"),
    ],
)
def test_a_csv_that_could_be_read_in_two_ways_is_refused_by_row(text, says):
    with pytest.raises(InputError, match=rf"(?s)t\.csv.*{says}"):
        rows(text)


def test_what_a_spreadsheet_leaves_behind_is_read_over():
    expected = [{"uri": "a.mp4", "subtitle": "x"}, {"uri": "b.mp4", "subtitle": ""}]
    assert rows("uri,subtitle\na.mp4,x\nb.mp4,\n") == expected
    assert rows("uri,subtitle,\na.mp4,x,\n,,\nb.mp4,,\n,,\n\n") == expected
    assert rows("uri,subtitle\r\na.mp4,x,,,\r\n , \r\nb.mp4,\r\n") == expected
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert rows("uri,subtitle\na.mp4,x\nb.mp4,\n".encode(encoding)) == expected
    assert rows(gzip.compress(b"uri,subtitle\na.mp4,x\nb.mp4,\n"), "t.CSV.gz") == expected


def test_texts_of_any_length_with_quotes_commas_and_line_breaks_are_read_whole():
    long = 'He said "go, now"\nand more, yes\n' + "x" * 300_000
    quoted = long.replace('"', '""')
    found = read_records(f'uri,subtitle\na.mp4,"{quoted}"\nb.mp4,ok\n'.encode(), "t.csv").sound()
    assert found[0].values["subtitle"] == long
    # A row is named by the line on which it begins.
    assert [record.where for record in found] == ["t.csv row 2", "t.csv row 5"]


def test_where_all_cells_are_quoted_a_line_without_quotes_is_text():
    text = '"name","reason"\n"a","One, two.\nb, three"\n"c","x"\n'
    assert rows(text)[0]["reason"] == "One, two.\nb, three"


def test_json_lists_objects_by_name_and_lines_are_the_same():
    expected = [{"name": "a", "labels": ["x"]}, {"name": "b", "labels": []}]
    assert rows(json.dumps(expected), "t.json") == expected
    assert rows("\n".join(map(json.dumps, expected)), "t.jsonl") == expected
    by_name = rows(json.dumps({"a": {"labels": ["x"]}}), "t.JSON")
    assert by_name == [{"name": "a", "names": "a", "labels": ["x"]}]
    assert rows('{"reason": "a\u2028b\u2029c\u0085d"}\n', "t.jsonl") == [{"reason": "a\u2028b\u2029c\u0085d"}]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("t.jsonl", '{"uri": "a", "uri": "b"}', "row 1 has the key 'uri' twice"),
        ("t.json", '[{"uri": "a"},\n{"uri": "a", "uri": "b"}]', "row 2 has the key 'uri' twice"),
        ("t.jsonl", '{"uri": "a"}\n{"uri": ' + "[" * 200_000, "row 2 is not JSON: it is nested too deeply"),
        ("t.json", '[{"uri": ' + "[" * 200_000, "line 1: what begins here is nested too deeply"),
        ("t.jsonl", '{"uri": ' + "1" * 10_000 + "}", "row 1 is not JSON: Exceeds the limit"),
        ("t.json", '[{"uri": ' + "1" * 10_000 + "}]", "line 1: Exceeds the limit"),
        ("t.json", "[7]", "row 1 7, expected an object"),
        ("t.csv.gz", "uri\na\n", "cannot be read as gzip"),
    ],
)
def test_json_that_is_none_or_says_a_thing_twice_is_refused_by_row(name, text, says):
    with pytest.raises(InputError, match=says):
        rows(text, name)


def test_a_folder_of_parquet_files_is_one_table_and_its_folders_may_hold_a_column(tmp_path, bucket):
    url, settings = bucket
    for storage in (Storage(str(tmp_path / "clips.parquet")), Storage(f"{url}/clips.parquet", settings)):
        for name, uri in (
            ("language=zh/1.parquet", "a"),
            ("language=en/1.parquet", "b"),
            ("_notes.parquet", "c"),
        ):
            sink = io.BytesIO()
            pq.write_table(pa.table({"uri": [uri], "more": [1]}), sink)
            storage.write(name, sink.getvalue())
        found, names = tables_at(storage.url, settings)
        assert names == ["language=en/1.parquet", "language=zh/1.parquet"]
        values = [load(found, name, ["uri", "language"]).sound()[0].values for name in names]
        assert values == [{"uri": "b", "language": "en"}, {"uri": "a", "language": "zh"}]
        assert load(found, names[0], ["uri"]).columns == ("uri", "more", "language")


def test_bytes_of_a_parquet_file_that_are_no_text_are_one_line(tmp_path):
    odd = pa.Array.from_buffers(pa.string(), 1, [None, *pa.array([b"\x80"]).buffers()[1:]])
    pq.write_table(pa.table({"uri": odd}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet: cannot be read as Parquet: .*UTF8"):
        load(Storage(str(tmp_path)), "a.parquet", ["uri"])


def test_lists_in_several_groups_of_rows_are_one_column(tmp_path):
    column = [["happy", "sad"][: number % 3] for number in range(9)]
    pq.write_table(pa.table({"labels": column}), tmp_path / "a.parquet", row_group_size=2)
    found = load(Storage(str(tmp_path)), "a.parquet", ["labels"]).sound()
    assert [record.values["labels"] for record in found] == column


def test_a_parquet_file_that_unpacks_to_gigabytes_is_refused_in_no_time(tmp_path):
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 8000, pa.int32()), ["x" * 1_000_000])
    lists = pa.ListArray.from_arrays(pa.array([0, 8000], pa.int32()), texts)
    for name, column in (("texts", texts), ("lists", lists)):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"uri": column}), path)
        assert path.stat().st_size < 1_000_000
        began = time.monotonic()
        with pytest.raises(InputError, match=rf"{name}\.parquet: holds more than 2 GiB"):
            load(Storage(str(tmp_path)), path.name, ["uri"])
        assert time.monotonic() - began < 10


def test_a_parquet_file_with_a_column_twice_or_cut_bytes_is_refused(tmp_path):
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["uri", "uri"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(InputError, match="has the column 'uri' twice"):
        load(Storage(str(tmp_path)), "twice.parquet", ["uri"])
    pq.write_table(pa.table({"uri": ["a"] * 1000}), tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    for cut in range(0, len(whole), 37):
        (tmp_path / "cut.parquet").write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"cut\.parquet: cannot be read as Parquet"):
            load(Storage(str(tmp_path)), "cut.parquet", ["uri"])
    for place in range(4, len(whole), 5):
        odd = bytes([*whole[:place], whole[place] ^ 0xFF, *whole[place + 1 :]])
        (tmp_path / "odd.parquet").write_bytes(odd)
        with suppress(InputError):
            load(Storage(str(tmp_path)), "odd.parquet", ["uri"])


def test_a_workbook_that_unpacks_to_gigabytes_or_claims_a_million_columns_costs_nothing(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * 300_000_000)
    with pytest.raises(InputError, match=r"bomb\.xlsx: holds more than"):
        list(read_sheet(tmp_path / "bomb.xlsx"))
    book = openpyxl.Workbook()
    book.active.append(["level1", "level2"])
    book.active["XFD1000000"] = "far"
    book.save(tmp_path / "wide.xlsx")
    # Of this process alone, however busy the machine is.
    began = time.process_time()
    assert [row[:2] for row in read_sheet(tmp_path / "wide.xlsx")] == [("level1", "level2")]
    assert time.process_time() - began < 20


def test_names_that_a_spreadsheet_cut_are_found_where_only_one_comes_into_question():
    assert without_zeros("video_1/0001") == without_zeros("video_1/1.0") == "video_1/1"
    assert cut_names(["v/1", "v/12"], ["v/0001", "v/0012", "v/3"]) == {"v/1": "v/0001", "v/12": "v/0012"}
    assert cut_names(["1"], ["01", "001"]) == {}
    assert cut_names(["1", "01"], ["01"]) == {}
