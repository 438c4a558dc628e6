"""Rows of every form that the field writes chats in, in files of every kind."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emo.captions.chat_files import files_of, read_chats
from emo.captions.messages import Sample, read_messages, write_messages
from emo.captions.published import read_published
from emo.errors import InputError, RowError
from emo.finetuning import listing
from emo.finetuning.settings import Finetune
from emo.store.storage import Storage

CHAT = [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "She frowns."}]
PLAIN = {"messages": CHAT, "images": ["a.jpg"]}


def one(row):
    [sample] = read_messages(json.dumps(row).encode(), "f")
    return sample


def said(sample):
    return [(turn.role, turn.content, turn.loss) for turn in sample.turns]


@pytest.mark.parametrize(
    "row",
    [
        {"query": "<image>What?", "response": "She frowns.", "images": "a.jpg"},
        {"instruction": "<image>", "input": "What?", "output": "She frowns.", "image": "a.jpg"},
        {
            "conversations": [
                {"from": "human", "value": "<image>What?"},
                {"from": "gpt", "value": "She frowns."},
            ],
            "image": "a.jpg",
        },
        {
            "messages": [
                {"from": "user", "value": "<image>What?"},
                {"from": "assistant", "value": "She frowns."},
            ],
            "images": ["a.jpg"],
        },
    ],
)
def test_other_forms_of_a_chat_are_the_same_chat(row):
    made = one(row)
    assert made.images == ("a.jpg",)
    assert [(role, text.replace("\n", ""), loss) for role, text, loss in said(made)] == said(one(PLAIN))


def test_a_history_comes_before_its_question():
    made = one({"query": "And now?", "response": "Calm.", "history": [["What?", "Angry."]]})
    assert [turn.content for turn in made.turns] == ["What?", "Angry.", "And now?", "Calm."]


@pytest.mark.parametrize("key", ["system", "system_prompt"])
def test_a_system_turn_of_its_own_key_comes_first(key):
    made = one({**PLAIN, key: "Be exact."})
    assert said(made)[0] == ("system", "Be exact.", None)
    again = {**PLAIN, key: "Be exact.", "messages": [{"role": "system", "content": "Be exact."}, *CHAT]}
    assert said(one(again)) == said(made)


def test_a_loss_scale_of_nought_or_one_says_whether_an_answer_is_trained():
    turns = [*CHAT, {"role": "user", "content": "And?"}, {"role": "assistant", "content": "So."}]
    turns[1] = {**turns[1], "loss_scale": 0}
    turns[3] = {**turns[3], "loss_scale": 1.0}
    assert [turn.trained for turn in one({**PLAIN, "messages": turns}).turns] == [False, False, False, True]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rejected_response": "No."}, "rejected_response, which is for training on preferences"),
        ({"loss_scale": "last_round"}, "loss_scale, which is for weighing"),
        ({"tools": "[...]"}, "tools, which is for calling tools"),
        ({"system": "A", "system_prompt": "B"}, "several system turns: 'A', 'B'"),
        ({"messages": [CHAT[0], {**CHAT[1], "loss_scale": 0.5}]}, "loss_scale is 0.5; expected 1 or 0"),
        ({"messages": [CHAT[0], {**CHAT[1], "loss": True, "loss_scale": 0}]}, "loss is True and loss_scale"),
        ({"messages": [CHAT[0], {**CHAT[1], "tool_calls": [1]}]}, "tool_calls, which nothing is done with"),
        ({"image": "b.jpg"}, "the row has images and image"),
        ({"images": ["http://host/a.jpg"]}, "expected a file, or one on S3"),
        ({"images": [{"bytes": "x", "path": None}]}, "images holds bytes, expected a path"),
        ({"messages": None, "text": "She."}, "the row has images, text; expected one of the forms"),
    ],
)
def test_what_would_be_lost_is_refused_by_line(changes, why):
    error = one({**PLAIN, **changes})
    assert isinstance(error, RowError)
    assert error.message.startswith("f line 1: ")
    assert why in error.message


def test_keys_of_no_meaning_are_named():
    assert one({**PLAIN, "id": 7, "source": "x", "rejected_response": None}).unused == ("id", "source")


def test_a_video_may_be_its_frames_with_their_times():
    row = {
        "messages": [{"role": "user", "content": "<video>What?"}, CHAT[1]],
        "videos": [["a.jpg", "b.jpg"]],
        "frame_times": [[0.5, 2]],
    }
    made = one(row)
    assert made.videos == (("a.jpg", "b.jpg"),)
    assert made.frame_times == ((0.5, 2.0),)
    assert [*read_messages(write_messages([made]), "f")] == [made]
    assert "a time for each frame" in one({**row, "frame_times": [[0.5]]}).message
    assert "expected seconds that grow" in one({**row, "frame_times": [[2, 1]]}).message


def test_a_file_of_any_kind_holds_the_same_chats():
    rows = [{**PLAIN, "system": "Be exact."}, PLAIN]
    lines = "\n".join(map(json.dumps, rows)).encode()
    table = pa.Table.from_pylist(rows)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    files = {
        "f.jsonl": lines,
        "f.jsonl.gz": gzip.compress(lines),
        "f.json": json.dumps(rows).encode(),
        "f.json.gz": gzip.compress(json.dumps(rows).encode()),
        "f.parquet": sink.getvalue().to_pybytes(),
    }
    expected = [(said(one(row)), ("/d/a.jpg",)) for row in rows]
    for name, data in files.items():
        found = read_chats(data, name, "/d")
        assert [(said(sample), sample.images) for sample in found] == expected, name


def test_rows_of_a_json_list_that_are_no_chats_keep_their_line():
    [good, bad] = read_chats(json.dumps([PLAIN, {"messages": []}], indent=0).encode(), "f.json", "")
    assert isinstance(good, Sample)
    assert bad.message.startswith("f.json line ")


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("f.jsonl.gz", b"no", "cannot be read as gzip"),
        ("f.parquet", b"no", "cannot be read as Parquet"),
    ],
)
def test_a_file_that_is_not_what_it_is_called_is_one_line(name, data, why):
    with pytest.raises(InputError, match=why):
        read_chats(data, name, "")


def test_published_captions_are_no_chats():
    assert read_chats(b"name,reason\na,b\n", "f.csv", "") is None
    assert read_chats(b'[{"name": "a", "reason": "b"}]', "f.json", "") is None


def test_merr_is_read_with_what_is_said():
    fine = {"sample_1": {"smp_reason_caption": "She smiles.", "text": "Hello.", "peak_index": 3}}
    coarse = {"sample_1": {"caption": "She smiles.", "text": "Hello."}}
    for rows in (fine, coarse):
        [caption] = read_published(json.dumps(rows).encode(), "MERR.json")
        assert (caption.video_id, caption.text, caption.subtitle) == ("sample_1", "She smiles.", "Hello.")
        assert caption.described


def test_a_folder_of_a_data_set_has_its_splits(tmp_path):
    for name in (
        "data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet",
        "data/validation-00000.parquet", "test/part.jsonl", "dataset_info.json", ".cache/train.jsonl",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert {split: len(names) for split, names in files_of(Storage(str(tmp_path))).items()} == {
        "train": 2, "validation": 1, "test": 1,
    }  # fmt: skip
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "captions.jsonl").touch()
    assert files_of(Storage(str(tmp_path / "one"))) == {"train": ["captions.jsonl"]}
    with pytest.raises(InputError, match="holds no file to train on"):
        files_of(Storage(str(tmp_path / "nothing")))


def test_the_validation_file_of_a_folder_is_held_out(tmp_path, capsys):
    line = json.dumps({"messages": [{"role": "user", "content": "What?"}, CHAT[1]], "id": 1})
    (tmp_path / "train.jsonl").write_text(f"{line}\n{line}\n")
    (tmp_path / "val.jsonl").write_text(line)
    settings = Finetune(model="m", data=str(tmp_path), device="cpu")
    listed, _ = listing.list_samples(Storage(str(tmp_path / "out")), settings)
    assert [one.entry.split for one in listed] == ["train", "train", "validation"]
    assert "these keys say nothing to emo: id (2 rows)" in capsys.readouterr().err


def test_a_hub_id_and_a_file_of_no_known_kind_are_told_clearly(tmp_path):
    (tmp_path / "rows.tsv").write_text("a\tb\n")
    for path in ("someone/some-data-set", str(tmp_path / "rows.tsv")):
        with pytest.raises(InputError, match="is not there, or of no known kind; expected a file"):
            listing.list_samples(Storage(str(tmp_path / "out")), Finetune(model="m", data=path, device="cpu"))
