"""MME-Emotion and EmoBench-M are scored by the arithmetic of their authors."""

import numpy as np
import pytest

from emo.evaluation.generation_overlap import rouge_l
from emo.evaluation.metrics.emobench_generation import read_grades
from emo.evaluation.mme import Item, read_scores, read_steps, rec_rea_cot, recognised
from yardsticks import evaluate, judge, records, refused, rows


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
