"""The yardsticks of the field on cases worked out by hand, each through `emo evaluate --json`."""

import csv
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from emo.cli import main
from emo.evaluation.closed import class_of, class_of_family
from emo.evaluation.generation_overlap import rouge_l
from emo.evaluation.metrics.emobench_generation import read_grades
from emo.evaluation.metrics.prefer import read_preference
from emo.evaluation.mme import Item, read_scores, read_steps, rec_rea_cot, recognised
from emo.evaluation.pairwise import bradley_terry, verdict


def evaluate(*arguments):
    with redirect_stdout(io.StringIO()) as printed:
        assert main(["evaluate", *map(str, arguments), "--json"]) == 0
    return json.loads(printed.getvalue())


def refused(capsys, *arguments):
    assert main(["evaluate", *map(str, arguments)]) == 2
    return capsys.readouterr().err


def rows(path, columns, *values):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns.split(","))
        writer.writerows(values)
    return path


def records(path, *values):
    path.write_text(json.dumps(list(values)))
    return path


@contextmanager
def judge(answer) -> Iterator[str]:
    """A server that answers each question by `answer(question)`; gives what --judge takes."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_args):
            pass

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = answer(asked["messages"][-1]["content"])
            choice = {"index": 0, "message": {"content": text}, "finish_reason": "stop"}
            body = json.dumps({"choices": [choice]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"kind=openai,url=http://127.0.0.1:{server.server_port}/v1,model=by-hand"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# classes

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


# mer-fg


def test_mer_fg_names_both_tracks_of_the_wheel_score(wheels_folder, tmp_path):
    gold = rows(tmp_path / "g.csv", "name,openset", ("a", "['happy', 'excited']"), ("b", "['sad']"))
    predicted = rows(tmp_path / "p.csv", "name,openset", ("a", "['happy']"), ("b", "['sad', 'angry']"))
    sides = ("--gold", gold, "--predicted", predicted, "--wheels", wheels_folder)
    found, ew = evaluate("--metric", "mer-fg", *sides), evaluate("--metric", "ew", *sides)
    assert found["metric"] == "mer-fg"
    assert found["score"] == found["scores"]["mer2026-track2"] == ew["scores"]["level1"]
    both = (ew["scores"]["level1"]["f"] + ew["scores"]["level2"]["f"]) / 2
    assert found["scores"]["mer2025-track2"]["f"] == pytest.approx(both)


# prefer

PAIRS = [("a", "a1"), ("b", "a2"), ("c", "same"), ("d", "a2"), ("e", "a1")]
SAID = [("a", "A1."), ("b", "same"), ("c", "both are the same"), ("d", "I prefer a2"), ("e", "no idea")]


def test_prefer_counts_by_hand_in_both_arithmetics(tmp_path):
    gold = rows(tmp_path / "g.csv", "name,a1,a2,preference", *((n, "x", "y", label) for n, label in PAIRS))
    predicted = rows(tmp_path / "p.csv", "name,preference", *SAID)
    found = evaluate("--metric", "prefer", "--gold", gold, "--predicted", predicted)
    # Two classes: gold a1 a2 a2 a1, said a1 a1 a2 a1: F1 of a1 4/5, of a2 2/3.
    assert found["two"] == {"weighted_f1": pytest.approx((4 / 5 + 2 / 3) / 2), "accuracy": 0.75}
    # Three: said a1 same same a2 same: F1 of a1 2/3, of a2 2/3, of same 2/4.
    three = (2 * 2 / 3 + 2 * 2 / 3 + 1 / 2) / 5
    assert found["three"] == {"weighted_f1": pytest.approx(three), "accuracy": pytest.approx(3 / 5)}
    assert (found["pairs"], found["decided_pairs"], found["unread"]) == (5, 4, 1)


@pytest.mark.parametrize(
    ("text", "preference"),
    [(" A2 is", "a2"), ("same", "same"), ("not a2 but a1", "a1"), ("the same as a2", "a2"), ("none", None)],
)
def test_a_preference_is_read_as_the_challenge_reads_it(text, preference):
    assert read_preference(text) == preference


def test_pairs_of_one_clip_are_told_apart_by_their_texts(tmp_path, capsys):
    columns = "name,a1,a2,preference"
    gold = rows(tmp_path / "g.csv", columns, ("a", "x", "y", "a1"), ("a", "x", "z", "a2"))
    short = rows(tmp_path / "p.csv", "name,preference", ("a", "a1"))
    assert "needs the columns a1 and a2" in refused(
        capsys, "--metric", "prefer", "--gold", gold, "--predicted", short
    )
    assert evaluate("--metric", "prefer", "--gold", gold, "--predicted", gold)["two"]["accuracy"] == 1


# ranking


def test_bradley_terry_of_two_is_the_share_of_wins_and_of_three_has_known_odds():
    assert bradley_terry(np.array([[0.0, 3.0], [1.0, 0.0]])) == pytest.approx([0.75, 0.25])
    # Strengths 4 : 2 : 1 expect these wins in 30, 30 and 30 games, and are what comes out of them.
    expected = np.array([[0, 20, 24], [10, 0, 20], [6, 10, 0]], dtype=float)
    assert bradley_terry(expected) == pytest.approx(np.array([4, 2, 1]) / 7, abs=1e-6)
    assert bradley_terry(np.array([[0.0, 2.0], [0.0, 0.0]])) == pytest.approx([1, 0])


def test_two_answers_that_follow_the_order_are_a_tie():
    assert verdict("first", "second") == 1
    assert verdict("second", "first") == 0
    assert verdict("first", "first") == verdict("same", "same") == verdict("same", "first") == 0.5
    assert verdict(None, "first") is None


def test_experts_are_ranked_by_a_judge_in_both_orders(tmp_path):
    texts = {"plain": "grade 1", "good": "grade 3", "fair": "grade 2"}
    sides = []
    for name, text in texts.items():
        path = rows(tmp_path / f"{name}.csv", "name,reason", *((f"c{n}", text) for n in range(4)))
        sides += ["--predicted", f"{name}={path}"]

    def better(question):
        first, second = (int(part[0]) for part in question.split("grade ")[1:3])
        return "first" if first > second else "second"

    with judge(better) as model:
        found = evaluate("--metric", "ranking", *sides, "--judge", model)
    assert list(found["strengths"]) == ["good", "fair", "plain"]
    assert found["wins"]["good"] == {"plain": 1, "good": None, "fair": 1}
    assert (found["pairs"], found["clips"], found["swayed"], found["judge"]) == (12, 4, 0, "by-hand")
    with judge(lambda question: "first") as model:
        found = evaluate("--metric", "ranking", *sides, "--judge", model)
    assert [*found["strengths"].values()] == pytest.approx([1 / 3] * 3)
    assert found["swayed"] == 12


# valence


def test_valence_of_descriptions_by_hand(tmp_path):
    gold = rows(tmp_path / "g.csv", "name,valence", ("a", 1), ("b", -0.5), ("c", 0), ("d", 0.5))
    texts = [("a", "v 0.5"), ("b", "v -1"), ("c", "v 0"), ("d", "v unknown")]
    predicted = rows(tmp_path / "p.csv", "name,reason", *texts)
    with judge(lambda question: question.split("v ")[1].split()[0]) as model:
        found = evaluate("--metric", "valence", "--gold", gold, "--predicted", predicted, "--judge", model)
    # Signs: a right, b right, d unknown. Values of a, b, c: gold 1, -.5, 0; said .5, -1, 0.
    assert (found["accuracy"], found["unknown"]) == (pytest.approx(2 / 3), 1)
    assert found["weighted_f1"] == pytest.approx((2 * 2 / 3 + 1) / 3)
    want, have = np.array([1, -0.5, 0]), np.array([0.5, -1, 0])
    assert found["correlation"] == pytest.approx(np.corrcoef(want, have)[0, 1])
    covariance = ((want - want.mean()) * (have - have.mean())).mean()
    lin = 2 * covariance / (want.var() + have.var() + (want.mean() - have.mean()) ** 2)
    assert found["concordance"] == pytest.approx(lin)
    assert found["metric"] == "valence[judge=by-hand]"


def test_valence_needs_no_judge_and_says_so(tmp_path):
    gold = rows(tmp_path / "g.csv", "name,sentiment", ("a", "positive"), ("b", "negative"))
    texts = [("a", "She is happy and proud."), ("b", "He is sad.")]
    predicted = rows(tmp_path / "p.csv", "name,reason", *texts)
    found = evaluate("--metric", "valence", "--gold", gold, "--predicted", predicted)
    assert (found["metric"], found["weighted_f1"], found["unknown"]) == ("valence[rules]", 1, 0)


# EmoBench-M


def joint_rows(tmp_path):
    values = [
        ("1.mp4", "Happy", "happy", "asking", "asking"),
        ("2.mp4", "sad", "sad", "asking", "agreeing"),
        ("3.mp4", "sad", "happy", "agreeing", "agreeing"),
        ("4.mp4", "sad", "", "agreeing", "agreeing"),
    ]
    columns = "modal_path,expected_emotion,predicted_emotion,expected_intent,predicted_intent"
    return rows(tmp_path / "joint.csv", columns, *values)


def test_the_joint_set_counts_each_side_and_the_pair(tmp_path):
    path = joint_rows(tmp_path)
    found = evaluate("--metric", "emobench-joint", "--gold", path, "--predicted", path)
    emotion, intent, pair = (found["scores"][name] for name in ("emotion", "intent", "joint"))
    # Emotion, 3 clips: happy 1 of 2 named, sad 1 of 1: precision (1/2 + 2 * 1) / 3.
    assert emotion["accuracy"] == emotion["recall"] == pytest.approx(2 / 3)
    assert emotion["precision"] == pytest.approx((1 / 2 + 2) / 3)
    assert emotion["f1"] == pytest.approx((2 / 3 + 2 * 2 / 3) / 3)
    assert intent["accuracy"] == 0.75
    assert pair["accuracy"] == pytest.approx(1 / 3)
    assert found["dropped"] == {"emotion": 1, "intent": 0, "joint": 1}
    assert found["accuracy_of_all"] == {"emotion": 0.5, "intent": 0.75, "joint": 0.25}


def test_generated_texts_overlap_with_references_by_hand(tmp_path):
    path = records(
        tmp_path / "smile.json",
        {"prediction": "the cat sat on the mat", "reference": "the cat sat on the mat"},
        {"prediction": "dogs bark", "reference": "the dogs bark loudly"},
    )
    found = evaluate("--metric", "emobench-generation", "--gold", path, "--predicted", path)
    # All 8, 6, 4 and 3 n-grams are hits; 8 words against 10.
    assert found["bleu"] == pytest.approx(np.exp(1 - 10 / 8))
    assert found["rouge_l"] == pytest.approx((1 + 2 * 2 / 6) / 2)
    assert found["grades"] is None
    with judge(lambda question: "logic: 4\ncontent: 2" if "dogs" in question else "well") as model:
        found = evaluate(
            *("--metric", "emobench-generation", "--gold", path, "--predicted", path, "--judge", model),
            *("--max-failed-share", 0.5),
        )
    assert (found["grades"], found["unread"]) == ({"logic": 2, "content": 1}, 1)
    assert read_grades("logic: 4\nlogic: 5\ncontent: 2") is None
    assert rouge_l("他很高兴", "他高兴") == pytest.approx(2 * 3 / 7)


# MME-Emotion


def test_the_arithmetic_of_mme_emotion():
    assert rec_rea_cot((1.0, 0.0, 1.0)) == (1.0, 0.5, 0.75)
    assert rec_rea_cot((1.0,)) == (1.0, 0.0, 0.5)
    assert read_scores("<score>Step 1: 1/1, Step 2: 0/1</score>", 1) == (1.0, 0.0)
    assert read_scores("<score>Step 1: 1/1, Step 2: 1/2</score>", 2) == (1.0, 0.5)
    over_two_lines = "<score>Step 1: 1/1,\nStep 2: 1/1</score>"
    assert read_scores(over_two_lines, 1) == (1.0, 1.0)
    assert read_scores(over_two_lines, 1, as_published=True) is None
    for unread in ("<score></score>", "Step 1: 1/1", "<score>Step 1: 2/1</score>", "<score>a: 1/3</score>"):
        assert read_scores(unread, 1) is None
    assert read_steps("so: <step>Step 1: a smile\nStep 2: happy</step>") == "Step 1: a smile\nStep 2: happy"
    assert read_steps("a smile") is None


def test_recognition_without_a_judge_is_by_rules():
    one = Item("ER-Lab", ("Anger",), ("Anger", "Sadness", "Neutral"))
    assert recognised(one, "Anger") == 1
    assert recognised(one, "He is outraged.") == 1
    assert recognised(one, "Sadness") == 0
    assert recognised(one, "Anger, or Sadness") == 0
    several = Item("ML-ER", ("happy", "surprise"), ("happy", "surprise", "sad"))
    assert recognised(several, "happy and sad") == 0.5


@pytest.fixture
def mme(tmp_path):
    folder = tmp_path / "ER_Lab" / "question"
    folder.mkdir(parents=True)
    choices = ["Anger", "Sadness"]
    gold = records(
        folder / "q.json",
        *({"video_id": f"c{n}.mp4", "label": "Anger", "label_set": choices} for n in range(4)),
    )
    answers = ["furrowed brow, so Anger", "Sadness", "gibberish", "Anger"]
    said = [{"video_id": f"c{n}", "model_response": text} for n, text in enumerate(answers)]
    return gold, records(tmp_path / "answers.json", *said)


def test_mme_emotion_in_three_stages(mme):
    gold, predicted = mme

    def answer(question):
        if "Break the answer" in question:
            if "brow" in question:
                return "<step>Step 1: furrowed brow\nStep 2: Anger</step>"
            return (
                "no"
                if "gibberish" in question
                else f"<step>Step 1: {'Sadness' if 'Sadness' in question else 'Anger'}</step>"
            )
        if "brow" in question:
            return "<score>Step 1: 1/1, Step 2: 1/1</score>"
        return f"<score>Step 1: {0 if 'Sadness' in question else 1}/1</score>"

    ask = ("--metric", "mme-emotion", "--gold", gold, "--predicted", predicted)
    with judge(answer) as model:
        zero = evaluate(*ask, "--judge", model)
        skip = evaluate(*ask, "--judge", model, "--unparsable", "skip")
    assert (zero["recognition"], zero["reasoning"], zero["cot"]) == (0.5, 0.25, 0.375)
    assert (zero["dropped"], zero["clips"]) == (1, 4)
    assert skip["recognition"] == pytest.approx(2 / 3)
    assert (skip["dropped"], skip["clips"]) == (1, 3)
    assert zero["metric"] == "mme-emotion[frames=none,clues=none,unparsable=zero]"
    assert zero["tasks"]["ER-Lab"][3] == zero["categories"]["Anger"][3] == 4
    assert any("emo's own" in note for note in zero["notes"])
    free = evaluate(*ask)
    assert (free["metric"], free["recognition"], free["reasoning"]) == ("mme-emotion-recognition", 0.5, None)


def test_mme_emotion_asks_for_the_task(mme, tmp_path, capsys):
    gold, predicted = mme
    bare = tmp_path / "q.json"
    bare.write_text(gold.read_text())
    assert "say the task, TASK=PATH" in refused(
        capsys, "--metric", "mme-emotion", "--gold", bare, "--predicted", predicted
    )
    assert (
        evaluate("--metric", "mme-emotion", "--gold", f"er-lab={bare}", "--predicted", predicted)["clips"]
        == 4
    )
