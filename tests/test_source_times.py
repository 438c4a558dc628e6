"""Rows of a manifest that are a part of their file: ids, times, and what is left to do of them."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emo.errors import InputError
from emo.sources.source import read_source
from emo.sources.times import recording_of
from emo.store import planning


def manifest(folder, text):
    (folder / "film.mp4").write_bytes(b"film")
    (folder / "list.csv").write_text(text)
    return read_source(str(folder / "list.csv"))


def test_parts_of_a_file_get_ids_that_sort_in_time(tmp_path):
    rows = manifest(
        tmp_path, "uri,start_s,end_s\nfilm.mp4,100.5,102\nfilm.mp4,2.25,9\nfilm.mp4,100.5,\nfilm.mp4,,1\n"
    ).to_pylist()
    assert [(row["video_id"], row["start_s"], row["end_s"]) for row in rows] == [
        ("film/000000000-000001000", 0.0, 1.0),
        ("film/000002250-000009000", 2.25, 9.0),
        ("film/000100500-000102000", 100.5, 102.0),
        ("film/000100500-end", 100.5, None),
    ]
    assert {row["uri"] for row in rows} == {str(tmp_path / "film.mp4")}
    assert {recording_of(row["video_id"]) for row in rows} == {"film"}
    assert recording_of("season/film") == "season/film"


def test_a_row_without_times_is_all_of_its_file_and_one_with_an_id_keeps_it(tmp_path):
    rows = manifest(tmp_path, "uri,video_id,start_s,end_s\nfilm.mp4,,,\nfilm.mp4,dia0_utt3,1,2\n").to_pylist()
    assert [(row["video_id"], row["start_s"]) for row in rows] == [("dia0_utt3", 1.0), ("film", None)]


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ("3,2", "row 2: end_s is 2 and start_s 3"),
        ("2,2", "the end comes after the start"),
        ("-1,2", "before the beginning"),
        ("1,-2", "before the beginning"),
        ("soon,2", "row 2: start_s is 'soon', expected a number of seconds"),
        ("1,inf", "expected a number of seconds"),
        ("00:01:00,62", "expected a number of seconds"),
    ],
)
def test_times_that_are_none_are_named_with_their_row(tmp_path, cells, said):
    with pytest.raises(InputError) as caught:
        manifest(tmp_path, f"uri,start_s,end_s\nfilm.mp4,{cells}\n")
    assert said in str(caught.value)
    assert "list.csv" in str(caught.value)


def test_times_may_be_numbers_of_json_and_parquet(tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"film")
    (tmp_path / "list.jsonl").write_text(json.dumps({"uri": "film.mp4", "start_s": 1, "end_s": 2.5}))
    pq.write_table(pa.table({"uri": ["film.mp4"], "start_s": [1.0], "end_s": [2.5]}), tmp_path / "a.parquet")
    found = [read_source(str(tmp_path / name)).to_pylist()[0] for name in ("list.jsonl", "a.parquet")]
    assert found[0] == found[1]
    assert (found[0]["start_s"], found[0]["end_s"]) == (1.0, 2.5)
    (tmp_path / "list.jsonl").write_text(json.dumps({"uri": "film.mp4", "start_s": True}))
    with pytest.raises(InputError, match="expected a number of seconds"):
        read_source(str(tmp_path / "list.jsonl"))


def test_the_same_part_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match="two clips would share the id"):
        manifest(tmp_path, "uri,start_s,end_s\nfilm.mp4,1,2\nfilm.mp4,1.0,2.0\n")


def test_another_part_of_a_file_is_new_work_alone_and_a_changed_file_redoes_its_parts(tmp_path):
    before = manifest(tmp_path, "uri,video_id,start_s,end_s\nfilm.mp4,a,1,2\nfilm.mp4,b,2,3\n")
    after = manifest(tmp_path, "uri,video_id,start_s,end_s\nfilm.mp4,a,1,2\nfilm.mp4,b,2,4\nfilm.mp4,c,4,5\n")
    # The same file: written anew in between, it would count as another.
    after = after.set_column(3, "modified", pa.repeat(before["modified"][0], 3))
    left = planning.clips_to_ingest(after, before)
    assert left["video_id"].to_pylist() == ["b", "c"]
    (tmp_path / "film.mp4").write_bytes(b"another film")
    changed = read_source(str(tmp_path / "list.csv"))
    assert planning.clips_to_ingest(changed, after)["video_id"].to_pylist() == ["a", "b", "c"]
