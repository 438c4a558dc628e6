"""What reviews are used for: labels that count, gold, calibration, captions, finetuning."""

import json

import pytest

import emo
from emo.captions.gold import load_gold, polarity_of
from emo.captions.splits import split_of, video_of
from emo.cli import main
from emo.errors import InputError
from emo.finetuning.listing import list_samples
from emo.finetuning.settings import Finetune
from emo.jobs import judge_given
from emo.review import teaching
from emo.review.gold import gold_in
from emo.store.s3 import S3Settings
from emo.store.storage import Storage
from emo.store.tables import CAPTIONS
from review_outs import Judged, answer, make_out, write

DEFAULT = {"train": 0.9, "validation": 0.05, "test": 0.05}


def in_test_split(video_id):
    return split_of(video_of(video_id), DEFAULT) == "test"


@pytest.fixture
def reviewed(tmp_path):
    """40 clips on which the face is right and the voice is wrong; people say so."""
    happy = [
        Judged(f"r{number}/a", seen=("happy",), heard=("sad",), labels=("happy", "sad"))
        for number in range(20)
    ]
    angry = [
        Judged(f"r{number}/a", seen=("angry",), heard=("sad",), labels=("angry", "sad"))
        for number in range(20, 40)
    ]
    storage = make_out(tmp_path / "out", [*happy, *angry])
    for clip in (*happy, *angry):
        answer(storage, clip.video_id, clip.seen, shown=clip.labels, queue="random")
    return storage


def test_the_labels_of_people_come_before_those_of_the_machine(tmp_path):
    storage = make_out(tmp_path / "out", [Judged(name) for name in "abcde"])
    answer(storage, "a", ["happy", "relieved"])
    answer(storage, "b", None)
    answer(storage, "c", ["happy"])
    answer(storage, "c", ["angry"], reviewer="bob")
    answer(storage, "d", ["glad"], several_people=True)
    answer(storage, "d", ["happy", "tired"], reviewer="bob")
    rows = {row["video_id"]: row for row in emo.read(storage.url).to_pylist()}
    assert (rows["a"]["labels"], rows["a"]["scores"]) == (["happy", "relieved"], [0.5, None])
    assert (rows["a"]["labelled_by"], rows["a"]["reviewers"]) == ("people", ["ann"])
    assert "b" not in rows
    # People who do not agree leave what the machine said.
    assert (rows["c"]["labels"], rows["c"]["labelled_by"]) == (["happy", "tired"], "machine")
    assert (rows["d"]["reviewers"], rows["d"]["several_people"]) == (["ann", "bob"], True)
    assert rows["e"]["labelled_by"] == "machine"
    [unusable] = [row for row in emo.read(storage.url, failed=True).to_pylist() if row["video_id"] == "b"]
    assert (unusable["labels"], unusable["error"]) == (None, "unusable")
    # The judgments stay as they were.
    judged = emo.read(storage.url, "judgments", ["labels"]).to_pylist()
    assert all(row["labels"] == ["happy", "tired"] for row in judged)


def test_evaluate_takes_the_reviews_of_an_out_as_gold(reviewed, capsys):
    found = emo.evaluate(reviewed.url, reviewed.url, metric="emo-clusters")
    assert found.scored.result.coverage.clips == 40
    assert found.scored.result.score.r == 1
    assert found.scored.result.score.p == pytest.approx(0.5)
    only = emo.evaluate(reviewed.url, reviewed.url, metric="emo-clusters", split="test")
    ids = [video_id for video_id in gold_in(reviewed) if in_test_split(video_id)]
    assert only.scored.result.coverage.clips == len(ids) > 0
    assert (
        main(["evaluate", "--gold", reviewed.url, "--predicted", reviewed.url, "--split", "test", "--json"])
        == 0
    )
    assert "what its reviewers agree on" in capsys.readouterr().out


def test_calibrating_on_an_out_learns_from_its_reviews_but_not_from_the_test_split(reviewed, tmp_path):
    voters = judge_given.votes_from(reviewed.full("votes"), S3Settings())
    learned = teaching.learn(voters.table, reviewed.url)
    assert learned.weights["face"] > 2 * learned.weights["voice"]
    gold = {video_id: labels for video_id, labels in gold_in(reviewed).items() if not in_test_split(video_id)}
    assert learned.clips == len(gold) < 40
    # Exactly what a file with the same labels teaches.
    file = tmp_path / "gold.jsonl"
    file.write_text(
        "".join(json.dumps({"video_id": name, "labels": list(gold[name])}) + "\n" for name in gold)
    )
    direct = teaching.learn(voters.table, str(file))
    assert (direct.weights, direct.bars) == (learned.weights, learned.bars)


def test_gold_that_nobody_agrees_on_is_refused(tmp_path):
    storage = make_out(tmp_path / "out", [Judged("a")])
    answer(storage, "a", ["happy"])
    answer(storage, "a", ["angry"], reviewer="bob")
    with pytest.raises(InputError, match="of 0 clips that people agree on none is left"):
        gold_in(storage)


def test_captions_take_the_polarity_of_what_people_say(tmp_path):
    storage = make_out(tmp_path / "out", [Judged(name) for name in "abc"])
    answer(storage, "a", ["happy", "zorbed"])
    answer(storage, "b", ["furious"])
    answer(storage, "c", [])
    assert load_gold(storage.url, S3Settings()) == {"a": "positive", "b": "negative", "c": "neutral"}
    assert polarity_of(["happy", "furious", "sad"]) == "negative"


def caption(name, split="train", labels=("happy",)):
    messages = [{"role": "user", "content": "<audio>What?"}, {"role": "assistant", "content": "So."}]
    return {
        "caption_id": name,
        "video_id": name,
        "split": split,
        "messages": json.dumps(messages),
        "frames": [],
        "audio": True,
        "labels": list(labels),
        "source": {"window": "0-100"},
        "filters": [],
    }


def test_what_people_refuse_is_not_trained_on(tmp_path):
    storage = make_out(tmp_path / "out", [Judged(name) for name in "abcdef"])
    rows = [caption(name) for name in "abcd"] + [caption("e", "validation"), caption("f", labels=())]
    write(storage, CAPTIONS, rows)
    answer(storage, "a", ["glad", "tired"])
    answer(storage, "b", None)
    answer(storage, "c", ["furious"])
    answer(storage, "e", ["furious"])
    answer(storage, "f", ["furious"])
    listed, _ = list_samples(storage, Finetune(model="m", other_senses=True))
    found = {one.clip: one.entry for one in listed}
    assert {name: entry.error for name, entry in found.items()} == {
        "a": None,
        "b": "unusable",
        "c": "against_review",
        "d": None,
        "e": None,
        "f": None,
    }
    # What is held out is scored by what people say.
    assert found["e"].labels == ("furious",)


def test_compaction_keeps_the_newest_answer(tmp_path):
    from emo.review.consensus import read_reviews
    from emo.store.compaction import compact
    from emo.store.tables import REVIEWS

    storage = make_out(tmp_path / "out", [Judged("a")])
    answer(storage, "a", ["happy"])
    answer(storage, "a", ["sad"])
    answer(storage, "a", ["angry"], reviewer="bob")
    before = read_reviews(storage)
    compact(storage, "reviews", REVIEWS, "20261201T000000Z")
    assert read_reviews(Storage(storage.url)) == before
    assert [row["labels"] for row in before] == [["sad"], ["angry"]]
