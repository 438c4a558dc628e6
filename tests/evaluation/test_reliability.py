"""Agreement against how often labels are right."""

import json

import numpy as np
import pytest

import emo
from emo.cli import main
from emo.errors import InputError
from emo.evaluation.reliability import reliability

WORDS = ["happy", "sad", "angry", "bored"]


def clips(chance, count=600, seed=0):
    """gold, predicted and agreement of clips whose one label is right with the chance of their agreement."""
    random = np.random.default_rng(seed)
    gold, predicted, agreement = {}, {}, {}
    for number in range(count):
        name, sure = f"clip-{number:04d}", float(random.random())
        right = random.random() < chance(sure)
        gold[name], predicted[name] = ["joyful" if right else "sad"], ["joyful"]
        agreement[name] = sure
    return gold, predicted, agreement


def test_agreement_that_is_the_chance_to_be_right_has_hardly_any_error():
    result, _ = reliability(*clips(lambda sure: sure))
    assert result.error < 0.05
    assert [one.right for one in result.bins] == sorted(one.right for one in result.bins)
    assert all(one.low <= one.right <= one.high for one in result.bins)
    assert sum(one.clips for one in result.bins) == result.clips == result.labels == 600


def test_agreement_that_promises_too_much_has_that_much_error():
    result, _ = reliability(*clips(lambda sure: 0.5 * sure))
    assert result.error == pytest.approx(0.25, abs=0.05)


def test_the_agreement_to_trust_is_where_labels_are_surely_better_than_the_average():
    result, _ = reliability(*clips(lambda sure: 0.9 if sure > 0.6 else 0.2))
    assert 0.5 < result.trusted < 0.65
    same, _ = reliability(*clips(lambda sure: 0.5))
    assert same.trusted is None or same.trusted > 0.5


def test_a_label_of_the_same_meaning_is_right_and_a_clip_without_agreement_is_left_out():
    gold = {f"clip-{number}": ["Afraid"] for number in range(12)}
    predicted = {name: ["scared", "sad"] for name in gold}
    result, _ = reliability(gold, predicted, {**dict.fromkeys(gold, 0.5), "clip-0": None})
    assert (result.right, result.clips, result.labels) == (0.5, 11, 22)
    with pytest.raises(InputError, match="0 clips of gold have a label and several voters"):
        reliability(gold, predicted, {})


@pytest.fixture
def voted(tmp_path):
    """Votes of three experts and gold, of clips that are easy or a matter of luck."""
    random = np.random.default_rng(3)
    votes, gold = [], []
    for number in range(80):
        name, truth, hard = f"clip-{number:03d}", WORDS[number % 4], random.random() < 0.5
        gold.append({"video_id": name, "labels": [truth]})
        for expert in "abc":
            label = WORDS[random.integers(4)] if hard else truth
            votes.append({"video_id": name, "expert": expert, "sample": 0, "labels": [label]})
    for file, rows in (("votes", votes), ("gold", gold)):
        (tmp_path / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(tmp_path / "votes.jsonl"), str(tmp_path / "gold.jsonl")


def test_evaluate_tells_it_of_votes(voted, tmp_path):
    asked = {"metric": "reliability", "plots": str(tmp_path / "plots")}
    found = emo.evaluate(*voted, **asked)
    bins = found.scored.result.bins
    assert bins[-1].right == 1.0 > bins[0].right
    assert set(found.intervals) == {"labels that are right", "calibration error"}
    assert "surely more often right" in found.as_text()
    assert json.loads(json.dumps(found.as_json(), allow_nan=False))["trusted"] == found.scored.result.trusted
    assert (tmp_path / "plots" / "reliability.svg").read_text().startswith("<svg")
    with pytest.raises(InputError, match="has no votes beside it"):
        emo.evaluate(voted[1], voted[1], metric="reliability")


def test_the_command_prints_the_same_curve_as_json(voted, capsys):
    votes, gold = voted
    asked = ["evaluate", "--metric", "reliability", "--predicted", votes, "--gold", gold]
    assert main([*asked, "--json"]) == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    found = emo.evaluate(votes, gold, metric="reliability")
    assert (told.pop("outcome"), told.pop("exit_code")) == ("done", 0)
    assert told == json.loads(json.dumps(found.as_json(), allow_nan=False))
    result = found.scored.result
    assert (told["metric"], told["clips"], told["labels"]) == ("reliability", result.clips, result.labels)
    assert (told["error"], told["trusted"]) == (result.error, result.trusted)
    shares = [(one["agreement"], one["right"], one["clips"]) for one in told["bins"]]
    assert shares == [(one.agreement, one.right, one.clips) for one in result.bins]
    assert 0 <= told["error"] <= 1
    assert printed.err.startswith("emo evaluate: ")
    # Without votes beside it there is no agreement, and one line says so.
    assert main([*asked[:3], "--predicted", gold, "--gold", gold, "--json"]) == 2
    failed = json.loads(capsys.readouterr().out)
    assert (failed["outcome"], failed["exit_code"]) == ("failed", 2)
    assert "has no votes beside it" in failed["error"]
