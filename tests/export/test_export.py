"""What is exported, opened by the programs that it is for."""

import json
from pathlib import Path

import pytest

import emo
from emo.cli import main
from emo.export.spreadsheet import cell
from emo.review.consensus import read_reviews
from emo.store.storage import Storage
from review_outs import VIDEO, Judged, answer, make_out

BAD = "=HYPERLINK(1)"


@pytest.fixture
def out(tmp_path):
    storage = make_out(
        tmp_path / "out",
        [
            Judged("a"),
            Judged("b", labels=(BAD, "开心"), agreement=0.9, transcript="+1, he said"),
            Judged("c"),
            Judged("-d", agreement=None),
        ],
    )
    answer(storage, "a", ["relieved"])
    answer(storage, "c", None)
    return storage


def export(out, to, name, *more):
    assert main(["export", "--out", out.url, "--to", str(to), "--format", name, *more]) == 0


def test_datasets_opens_the_parquet_and_the_card(out, tmp_path):
    import datasets

    export(out, tmp_path / "to", "huggingface")
    found = datasets.load_dataset(str(tmp_path / "to"), cache_dir=str(tmp_path / "cache"))["train"]
    rows = {row["video_id"]: row for row in found}
    assert rows.keys() == {"a", "b", "-d"}
    assert (rows["a"]["labels"], rows["a"]["labelled_by"]) == (["relieved"], "people")
    card = (tmp_path / "to/README.md").read_text()
    assert "3 clips: 1 labelled by people" in card
    assert "| 开心 | 1 |" in card


def test_datasets_opens_the_videofolder(out, tmp_path):
    import datasets

    export(out, tmp_path / "to", "huggingface")
    export(out, tmp_path / "to", "huggingface", "--media")
    found = datasets.load_dataset(str(tmp_path / "to"), cache_dir=str(tmp_path / "cache"))["train"]
    found = found.cast_column("video", datasets.Video(decode=False))
    assert sorted(found["video_id"]) == ["-d", "a", "b"]
    for row in found:
        assert Path(row["video"]["path"]).read_bytes() == VIDEO.read_bytes()


def test_pandas_opens_the_csv_and_no_cell_is_a_formula(out, tmp_path):
    import pandas

    export(out, tmp_path / "to", "csv")
    labels = pandas.read_csv(tmp_path / "to/labels.csv")
    assert list(labels.columns) == ["name", "openset"]
    assert dict(zip(labels["name"], labels["openset"], strict=True)) == {
        "a": "[relieved]",
        "b": f"[{BAD}, 开心]",
        "'-d": "[happy, tired]",
    }
    scores = pandas.read_csv(tmp_path / "to/scores.csv")
    for table in (labels, scores):
        for column in table.columns:
            assert not any(str(value).startswith(("=", "+", "-", "@")) for value in table[column])
    # What emo itself reads as predictions.
    assert emo.evaluate(tmp_path / "to/labels.csv", tmp_path / "to/labels.csv", metric="emo-clusters")


def test_only_what_is_asked_for(out, tmp_path):
    export(out, tmp_path / "one", "fiftyone", "--reviewed")
    export(out, tmp_path / "two", "fiftyone", "--min-agreement", "0.8")
    found = [
        {one["video_id"] for one in json.loads((tmp_path / place / "samples.json").read_text())["samples"]}
        for place in ("one", "two")
    ]
    assert found == [{"a"}, {"a", "b"}]


def test_label_studio_there_and_back(out, tmp_path, capsys):
    export(out, tmp_path / "to", "label-studio")
    tasks = json.loads((tmp_path / "to/tasks.json").read_text())
    [task] = [one for one in tasks if one["data"]["video_id"] == "b"]
    assert task["predictions"][0]["score"] == 0.9
    result = task["predictions"][0]["result"][0]
    assert result["value"]["choices"] == [BAD, "开心"]
    assert f'<Choice value="{BAD}"/>' in (tmp_path / "to/labelling.xml").read_text()
    kept = {**result, "value": {"choices": ["开心"]}}
    written = {**result, "from_name": "other", "type": "textarea", "value": {"text": ["proud"]}}
    mark = {**result, "from_name": "marks", "value": {"choices": ["more than one person"]}}
    person = {"id": 3, "email": "ann@example.org"}
    task["annotations"] = [
        {"completed_by": person, "lead_time": 4.5, "was_cancelled": False, "result": [kept, written, mark]},
        {"completed_by": 7, "was_cancelled": True, "result": []},
    ]
    file = tmp_path / "project.json"
    file.write_text(json.dumps([task]))
    for told in ("1 answers imported, 0 were", "0 answers imported, 1 were"):
        assert main(["review", "--out", out.url, "--import", str(file)]) == 0
        assert told in capsys.readouterr().err
    [row] = [row for row in read_reviews(Storage(out.url)) if row["video_id"] == "b"]
    assert (row["reviewer"], row["labels"]) == ("ann@example.org", ["开心", "proud"])
    assert (row["removed"], row["several_people"], row["source_tool"]) == ([BAD], True, "label-studio")
    assert (row["seconds"], row["queue"]) == (4.5, None)


@pytest.mark.parametrize("text", ["{", "{}", "[{}]", '[{"data": {"video_id": "b"}}]'])
def test_what_is_no_export_of_label_studio_is_refused(out, tmp_path, text, capsys):
    (tmp_path / "x.json").write_text(text)
    assert main(["review", "--out", out.url, "--import", str(tmp_path / "x.json")]) == 2
    assert "x.json" in capsys.readouterr().err


def test_emo_reads_the_folder_of_mer(out, tmp_path):
    from emo.sources.source import read_source
    from emo.store.s3 import S3Settings

    export(out, tmp_path / "to", "mer", "--media")
    manifest = read_source(str(tmp_path / "to"), S3Settings()).to_pylist()
    assert {row["video_id"] for row in manifest} >= {"a", "b"}


def test_an_export_into_the_out_and_one_of_nothing_are_refused(out, tmp_path):
    refused = ["export", "--out", out.url, "--format", "csv", "--to"]
    assert main([*refused, out.url]) == 1
    assert main(["export", "--out", out.url, "--format", "xml", "--to", str(tmp_path / "x")]) == 2
    assert main(["export", "--out", out.url, "--format", "ms-swift", "--to", str(tmp_path / "x")]) == 2


def test_status_says_what_reviews_say(out, capsys):
    assert main(["status", "--out", out.url]) == 0
    assert "2 reviews of 2 clips by 1 reviewers, 1 clips unusable" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text", ["=1", "+1", "-1", "@a", " =1", "\t=1", "\r\n=1", "＝1", "＋1", "－1", "＠a"]
)
def test_no_cell_is_run_as_a_formula(text):
    assert cell(text) == f"'{text}"
    assert cell("1=1 a-b @") == "1=1 a-b @"
