import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.rule import Rule
from emo.errors import InputError
from emo.evaluation.labels import parse_list, read_labels
from emo.evaluation.systems import read_system, votes_table
from emo.jobs import judge_given
from emo.store.s3 import S3Settings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[happy, sad]", ("happy", "sad")),
        ("['happy', \"sad\"]", ("happy", "sad")),
        ("happy,sad", ("happy", "sad")),
        ("('happy', 'sad')", ("happy", "sad")),
        ("('happy',)", ("happy",)),
        ("{'happy', 'sad'}", ("happy", "sad")),
        ("(slightly) sad, happy (very)", ("(slightly) sad", "happy (very)")),
        ("happy + sad", ("happy", "sad")),
        ("高兴和激动", ("高兴", "激动")),
        ("温和友善，平和与喜悦", ("温和友善", "平和", "喜悦")),
        ("happy & sad", ("happy", "sad")),
        ("[]", ()),
        ("", ()),
        ("['轻松', '愉快']", ("轻松", "愉快")),
    ],
)
def test_lists_written_as_text_are_read(text, words):
    assert parse_list(text) == words


def test_a_csv_of_the_benchmark_is_read(tmp_path):
    path = tmp_path / "track2_train_mercaptionplus.csv"
    path.write_text('name,openset\nsample_1,"[worried, sad]"\nsample_2,[]\n', encoding="utf-8")
    assert read_labels(path) == {"sample_1": ("worried", "sad"), "sample_2": ()}


def test_predictions_of_the_benchmark_are_read(tmp_path):
    items = np.array(["[happy, sad]", "[]"], dtype=object)
    np.savez(tmp_path / "p-openset.npz", filenames=np.array(["a", "b"], dtype=object), fileitems=items)
    assert read_labels(tmp_path / "p-openset.npz") == {"a": ("happy", "sad"), "b": ()}


def test_json_lines_are_read(tmp_path):
    (tmp_path / "p.jsonl").write_text(
        '{"video_id": "a", "labels": ["sad"]}\n\n{"name": "b", "openset": "[low]"}\n'
    )
    assert read_labels(tmp_path / "p.jsonl") == {"a": ("sad",), "b": ("low",)}


def write(path, **columns):
    columns["labels"] = pa.array(columns["labels"], pa.list_(pa.string()))
    pq.write_table(pa.table(columns), path)
    return path


def test_of_a_folder_of_judgments_the_newest_run_counts_and_failed_rows_are_no_prediction(tmp_path):
    write(
        tmp_path / "1.parquet",
        video_id=["a", "b"],
        labels=[["sad"], ["low"]],
        status=["ok", "ok"],
        run_id=["1", "1"],
    )
    write(
        tmp_path / "2.parquet",
        video_id=["a", "b"],
        labels=[["glad"], None],
        status=["ok", "failed"],
        run_id=["2", "2"],
    )
    assert read_labels(tmp_path) == {"a": ("glad",)}


def test_one_voter_of_a_votes_table_is_chosen_by_name(ovmerd):
    labels = read_labels(ovmerd / "votes.parquet", expert="affectgpt", sample=3)
    assert len(labels) == 166
    with pytest.raises(InputError, match="say which with expert and sample"):
        read_labels(ovmerd / "votes.parquet")
    with pytest.raises(InputError, match="has nothing of expert 'nobody' sample 0; it has affectgpt#0, "):
        read_labels(ovmerd / "votes.parquet", expert="nobody", sample=0)


def test_bad_files_are_named_with_what_is_wrong(tmp_path):
    def refused(name, content, message):
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            read_labels(path)

    refused("a.csv", "name,label\nx,y\n", r"a\.csv: no column labels or openset; it has name, label")
    refused("b.csv", "name,openset\nx\n", "line 2 has too few columns")
    refused("c.csv", "name,openset\nx,y\nx,z\n", "x is there twice")
    refused("d.jsonl", "{", "line 1 is not JSON")
    refused("e.parquet", "PAR1", "cannot be read as Parquet")
    refused("f.txt", "x", "unknown kind of file")
    refused("g.csv", "name,openset\n", "has no labels")
    with pytest.raises(InputError, match=r"h\.csv: is not there"):
        read_labels(tmp_path / "h.csv")
    row = '{"name": "a", "labels": [], '
    refused("n.jsonl", row + '"expert": {}}', "line 1: expert is {}; expected a text")
    refused("o.jsonl", row + '"run_id": 3}', "line 1: run_id is 3; expected a text")
    refused("p.jsonl", row + '"sample": 1e999}', "line 1: sample is inf; expected a whole number")
    refused("q.jsonl", r'{"name": "\ud800", "labels": []}', "line 1: name is .* not text in Unicode")
    refused("r.jsonl", r'{"name": "a", "labels": ["\ud800"]}', "line 1: a label is .* not text in Unicode")
    refused("i.jsonl", '{"video_id": "a", "labels": {"sad": 1}}', "line 1: labels are .*; expected a list")
    with pytest.raises(InputError, match=r"a: labels are \['x', None\]; expected a list of strings"):
        read_labels(write(tmp_path / "j.parquet", video_id=["a"], labels=[["x", None]]))
    with pytest.raises(InputError, match=r"k\.parquet: a: labels are None; expected a list of strings"):
        read_labels(write(tmp_path / "k.parquet", video_id=["a"], labels=[None]))
    pq.write_table(pa.table({"video_id": ["a"], "labels": [[1]]}), tmp_path / "l.parquet")
    with pytest.raises(InputError, match=r"column 'labels' is list<.*>; expected a list of strings"):
        read_labels(tmp_path / "l.parquet")
    (tmp_path / "m.csv").write_bytes(b"name,openset\nx,\xff\n")
    with pytest.raises(InputError, match=r"m\.csv: cannot be read as UTF-8"):
        read_labels(tmp_path / "m.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no Parquet file"):
        read_labels(tmp_path / "empty")


def test_a_row_with_a_million_labels_is_refused_by_name_in_every_kind_of_file(tmp_path):
    many = ["happy"] * 1_000_000
    write(tmp_path / "a.parquet", video_id=["x"], labels=[many])
    (tmp_path / "a.jsonl").write_text(json.dumps({"video_id": "x", "labels": many}))
    (tmp_path / "a.csv").write_text(f'video_id,labels\nx,"{", ".join(many)}"\n')
    for name in ("a.parquet", "a.jsonl", "a.csv"):
        with pytest.raises(InputError, match=rf"{name}.* has 1000000 labels; expected at most") as error:
            read_labels(tmp_path / name)
        assert len(str(error.value)) < 500


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_votes_of_several_voters_are_fused_as_emo_judge_fuses_them(kind, tmp_path):
    rows = [
        # A voice that cannot tell two states apart, and a face that can.
        {"video_id": "a", "expert": "voice", "labels": ["angry", "excited"], "alternatives": [1, 1]},
        {"video_id": "a", "expert": "face", "labels": ["joyful"]},
        # One who is hardly sure of what it says beside one who is.
        {"video_id": "b", "expert": "voice", "labels": ["sad", "bored"], "strengths": [0.9, 0.3]},
        {"video_id": "b", "expert": "face", "labels": ["proud", "sad"], "strengths": [0.3, 0.9]},
        {"video_id": "c", "expert": "voice", "labels": []},
        {"video_id": "c", "expert": "face", "labels": ["calm"]},
    ]
    rows = [{"alternatives": None, "strengths": None, **row, "sample": 0} for row in rows]
    place = tmp_path / f"votes.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), place)
    else:
        place.write_text("".join(json.dumps(row) + "\n" for row in rows))
    voters = judge_given.votes_from(str(place), S3Settings())
    judged = judge_given.given_rows(judge_given.by_clip(voters), Rule(), "", "").to_pylist()
    system = read_system(str(place))
    assert system.values == {row["video_id"]: row["labels"] for row in judged}
    assert "angry" not in system.values["a"]
    beside = judge_votes(votes_table(system.votes, {"b": ()}), Rule()).to_pylist()
    assert [one["evidence"] for one in beside] == [
        row["evidence"] for row in judged if row["video_id"] == "b"
    ]
    without = votes_table(system.votes).drop_columns(["alternatives", "strengths"])
    assert judge_votes(without, Rule()).column("labels").to_pylist() != [row["labels"] for row in judged]


def test_alternatives_that_do_not_fit_their_labels_are_refused(tmp_path):
    place = tmp_path / "votes.jsonl"
    vote = {"video_id": "a", "expert": "x", "sample": 0, "labels": ["sad", "bored"], "alternatives": [1]}
    place.write_text("".join(json.dumps({**vote, "sample": number}) + "\n" for number in range(2)))
    with pytest.raises(InputError, match="'alternatives' has a row with more or fewer numbers than labels"):
        read_system(str(place))
