"""The yardsticks of the field on cases worked out by hand, each through `emo evaluate --json`."""

import numpy as np
import pytest

from emo.evaluation.metrics.prefer import read_preference
from emo.evaluation.pairwise import bradley_terry, verdict
from yardsticks import evaluate, judge, refused, rows


def test_mer_fg_names_both_tracks_of_the_wheel_score(wheels_folder, tmp_path):
    gold = rows(tmp_path / "g.csv", "name,openset", ("a", "['happy', 'excited']"), ("b", "['sad']"))
    predicted = rows(tmp_path / "p.csv", "name,openset", ("a", "['happy']"), ("b", "['sad', 'angry']"))
    sides = ("--gold", gold, "--predicted", predicted, "--wheels", wheels_folder)
    found, ew = evaluate("--metric", "mer-fg", *sides), evaluate("--metric", "ew", *sides)
    assert found["metric"] == "mer-fg"
    assert found["score"] == found["scores"]["mer2026-track2"] == ew["scores"]["level1"]
    both = (ew["scores"]["level1"]["f"] + ew["scores"]["level2"]["f"]) / 2
    assert found["scores"]["mer2025-track2"]["f"] == pytest.approx(both)


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
