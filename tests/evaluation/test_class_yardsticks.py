"""Classes, sentiment and viewers' responses are scored as by hand and as by scikit-learn."""

import json

import numpy as np
import pytest

from emo.evaluation.closed import class_of, class_of_family
from yardsticks import evaluate, records, refused, rows

GOLD = [("a", "happy"), ("b", "happy"), ("c", "sad"), ("d", "neutral"), ("e", "angry"), ("f", "sad")]
ANSWERS = {
    "a": ["joyful", "sad"],  # happy, by its cluster; the second label does not count
    "b": ["sad"],
    "c": ["thoughtful", "sorrowful"],  # the first means no class of the set
    "d": [],  # no answer: wrong, not neutral
    "e": ["irate"],
}


@pytest.fixture
def six(tmp_path):
    gold = rows(tmp_path / "gold.csv", "name,discrete", *GOLD)
    predicted = tmp_path / "labels.jsonl"
    predicted.write_text(
        "".join(json.dumps({"video_id": name, "labels": labels}) + "\n" for name, labels in ANSWERS.items())
    )
    return gold, predicted


def test_classes_counts_by_hand(six):
    gold, predicted = six
    found = evaluate("--metric", "classes", "--gold", gold, "--predicted", predicted, "--classes", "mer")
    # Right: a, c, e. F1 by class: happy 2/3, sad 2*1/(2+2), neutral 0, angry 1; gold clips 2, 2, 1, 1.
    assert found["accuracy"] == pytest.approx(3 / 6)
    assert found["weighted_f1"] == pytest.approx((2 * 2 / 3 + 2 * 1 / 2 + 0 + 1) / 6)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 / 2 + 0 + 1) / 4)
    assert found["uar"] == pytest.approx((1 / 2 + 1 / 2 + 0 + 1) / 4)
    assert found["classes"] == ["neutral", "angry", "happy", "sad", "worried", "surprise"]
    happy = found["confusion"][2]
    assert happy == [0, 0, 1, 1, 0, 0, 0]
    assert found["confusion"][0][-1] == 1
    assert found["labels"]["happy"] == {"joyful": 1}
    assert found["unmapped"] == {"thoughtful": 1}
    assert (found["unanswered"], found["missing_predictions"], found["clips"]) == (1, 1, 6)
    assert found["intervals"]["weighted_f1"]["value"] == pytest.approx(found["weighted_f1"])


def test_classes_are_those_of_scikit_learn(tmp_path):
    metrics = pytest.importorskip("sklearn.metrics")
    names = np.array(["happy", "sad", "angry", "neutral"])
    random = np.random.default_rng(3)
    want, have = names[random.integers(0, 4, 90)], names[random.integers(0, 4, 90)]
    gold = rows(tmp_path / "g.csv", "name,label", *((f"c{n}", label) for n, label in enumerate(want)))
    predicted = rows(tmp_path / "p.csv", "name,label", *((f"c{n}", label) for n, label in enumerate(have)))
    found = evaluate("--metric", "classes", "--gold", gold, "--predicted", predicted)
    assert found["weighted_f1"] == pytest.approx(metrics.f1_score(want, have, average="weighted"))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(want, have, average="macro"))
    assert found["uar"] == pytest.approx(metrics.balanced_accuracy_score(want, have))


def test_two_classes_of_one_cluster_are_told_apart_by_the_word_alone():
    assert class_of("joyful", ("happy", "joyful")) == "joyful"
    assert class_of("happiness", ("happy", "joyful")) == "happy"
    assert class_of("cheerful", ("happy", "joyful")) is None
    assert class_of("cheerful", ("happy", "sad")) == "happy"


def test_a_label_of_the_family_counts_where_none_means_a_class_and_never_becomes_neutral(tmp_path):
    names = ("furious", "scared", "calm", "tired")
    gold = rows(
        tmp_path / "g.csv", "name,label", *zip(names, ("angry", "worried", "neutral", "happy"), strict=True)
    )
    said = [[name] for name in names[:3]] + [["tired", "joyful"]]
    predicted = records(
        tmp_path / "p.json",
        *({"video_id": name, "labels": labels} for name, labels in zip(names, said, strict=True)),
    )
    found = evaluate("--metric", "classes", "--gold", gold, "--predicted", predicted, "--classes", "mer")
    # What means a class goes first: of tired and joyful it is joyful.
    assert found["recall"] == {"angry": 1.0, "happy": 1.0, "neutral": 0.0, "worried": 1.0}
    assert found["labels"]["angry"] == {"furious": 1}
    assert set(found["unmapped"]) == {"calm", "tired"}
    assert "never neutral" in found["rule"]
    assert class_of_family("worried", ("fear", "anxiety")) is None


def test_mafw_is_read_by_its_numbers_and_ravdess_by_the_names_of_its_files(tmp_path):
    gold = rows(tmp_path / "mafw.csv", "name,label", ("00001.mp4", 9), ("00002.mp4", 11))
    predicted = rows(tmp_path / "p.csv", "video_id,labels", ("00001", "[nervous]"), ("00002", "[let down]"))
    found = evaluate("--metric", "classes", "--gold", gold, "--predicted", predicted, "--classes", "mafw")
    assert set(found["recall"]) == {"anxiety", "disappointment"}
    assert found["recall"]["anxiety"] == 1.0
    folder = tmp_path / "RAVDESS" / "Actor_12"
    folder.mkdir(parents=True)
    for name in ("01-01-06-01-02-01-12.mp4", "01-01-02-01-02-01-12.mp4", "notes.txt"):
        (folder / name).touch()
    said = (("01-01-06-01-02-01-12", "[scared]"), ("01-01-02-01-02-01-12", "[happy]"))
    predicted = rows(tmp_path / "r.csv", "video_id,labels", *said)
    given = ("--gold", folder.parent, "--predicted", predicted, "--classes", "ravdess")
    found = evaluate("--metric", "classes", *given)
    assert (found["clips"], found["recall"]) == (2, {"calm": 0.0, "fearful": 1.0})


def test_meld_dfew_emobench_and_mme_are_read_as_they_are_handed_out(tmp_path):
    meld = rows(tmp_path / "meld.csv", "Utterance,Emotion,Dialogue_ID,Utterance_ID", ("Hi!", "joy", 0, 3))
    labels = rows(tmp_path / "p.csv", "video_id,labels", ("test/dia0_utt3", "[happy]"))
    assert (
        evaluate("--metric", "classes", "--gold", meld, "--predicted", labels, "--classes", "meld")[
            "accuracy"
        ]
        == 1
    )
    dfew = rows(tmp_path / "dfew.csv", "video_name,label", ("1.mp4", 2), ("2.mp4", 6))
    labels = rows(tmp_path / "p2.csv", "video_id,labels", ("1", "[sorrow]"), ("2", "[happy]"))
    found = evaluate("--metric", "classes", "--gold", dfew, "--predicted", labels, "--classes", "dfew")
    assert (found["accuracy"], found["recall"]) == (0.5, {"disgust": 0.0, "sad": 1.0})
    turns = [{"from": "human", "value": "Which?"}, {"from": "gpt", "value": "{'emotion': 'sad'}"}]
    asked = records(tmp_path / "q.json", {"id": 1, "video": "x/1.mp4", "conversations": turns})
    labels = rows(tmp_path / "p3.csv", "video_id,labels", ("1", "[sorrow]"))
    assert evaluate("--metric", "classes", "--gold", asked, "--predicted", labels)["accuracy"] == 1
    done = records(
        tmp_path / "results.json",
        {"video": "1.mp4", "expected_value": "true", "predicted_value": "{'sarcasm': 'true'}"},
        {"video": "2.mp4", "expected_value": "false", "predicted_value": "true"},
    )
    assert evaluate("--metric", "classes", "--gold", done, "--predicted", done)["accuracy"] == 0.5
    sets = records(
        tmp_path / "mme.json", {"video_id": "a", "label": "Anger", "label_set": ["Anger", "Sadness"]}
    )
    labels = rows(tmp_path / "p4.csv", "video_id,labels", ("folder/a.mp4", "[angry]"))
    assert evaluate("--metric", "classes", "--gold", sets, "--predicted", labels)["accuracy"] == 1


def test_a_sentiment_set_is_answered_by_the_valence_of_the_labels(tmp_path):
    gold = rows(tmp_path / "g.csv", "name,label", ("a", "positive"), ("b", "negative"), ("c", "negative"))
    labels = rows(
        tmp_path / "p.csv", "name,labels", ("a", "[happy, worried]"), ("b", "[sad]"), ("c", "[qwertz]")
    )
    found = evaluate("--metric", "classes", "--gold", gold, "--predicted", labels)
    assert (found["accuracy"], found["unanswered"]) == (pytest.approx(2 / 3), 1)
    assert "valence" in found["rule"]


def test_what_classes_cannot_read_is_one_line(six, tmp_path, capsys):
    gold, predicted = six
    ask = ("--metric", "classes", "--predicted", predicted, "--gold")
    numbers = rows(tmp_path / "n.csv", "name,label", ("a", 1))
    assert "say what numbers stand for: --classes 1=happy" in refused(capsys, *ask, numbers)
    assert "'happy'; expected one of sad, angry" in refused(capsys, *ask, gold, "--classes", "sad,angry")
    twice = rows(tmp_path / "t.csv", "name,label", ("a", "sad"), ("a.mp4", "happy"))
    assert "a is there twice" in refused(capsys, *ask, twice)
    empty = rows(tmp_path / "e.csv", "name,label", ("a", ""))
    assert "a has no class" in refused(capsys, *ask, empty)
    other = rows(tmp_path / "o.csv", "name,label", ("zz", "sad"))
    assert "no video_id of the gold set is among the predicted" in refused(capsys, *ask, other)
    assert "--classes: 'happy'" in refused(capsys, *ask, gold, "--classes", "happy")
    assert "needs --gold" in refused(capsys, "--metric", "classes", "--predicted", predicted)


def test_viewers_responses_are_scored_for_each_viewer(tmp_path):
    columns = "video_id,viewer,question,response"
    gold = rows(
        tmp_path / "viewer_responses.csv",
        columns,
        ("ad1", "v1", "engagement", "high"),
        ("ad1", "v2", "engagement", "low"),
        ("ad2", "v1", "engagement", "low"),
    )
    of_clips = rows(tmp_path / "clips.csv", "video_id,label", ("ad1.mp4", "high"), ("ad2.mp4", "low"))
    found = evaluate("--metric", "classes", "--gold", gold, "--predicted", of_clips)
    assert (found["accuracy"], found["clips"]) == (pytest.approx(2 / 3), 3)
    assert any("stands for all of its viewers" in note for note in found["notes"])
    of_viewers = rows(
        tmp_path / "viewers.csv",
        columns,
        ("ad1", "v1", "engagement", "high"),
        ("ad1", "v2", "engagement", "low"),
    )
    found = evaluate("--metric", "classes", "--gold", gold, "--predicted", of_viewers)
    assert (found["accuracy"], found["missing_predictions"]) == (pytest.approx(2 / 3), 1)
