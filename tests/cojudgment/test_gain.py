"""What a calibration is worth on clips that it was not learned on."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emo.cojudgment.gain import expected_gain
from emo.cojudgment.learning import calibrate
from emo.cojudgment.rule import Rule
from emo.errors import InputError
from emo.jobs import judge

WORDS = ["happy", "sad", "angry", "anxious", "surprised", "grateful", "bored", "proud", "lonely", "calm"]


def votes_and_gold(accuracy, clips, seed=0):
    """Experts that name the one true label first with their probability, else another word."""
    random = np.random.default_rng(seed)
    rows, gold = [], {}
    for number in range(clips):
        video_id, truth = f"clip-{number:03d}", WORDS[random.integers(len(WORDS))]
        gold[video_id] = (truth,)
        for expert, chance in accuracy.items():
            label = truth if random.random() < chance else WORDS[random.integers(len(WORDS))]
            rows.append({"video_id": video_id, "expert": expert, "sample": 0, "labels": [label]})
    return pa.Table.from_pylist(rows), gold


UNEQUAL = {"good": 0.95, "poor-a": 0.1, "poor-b": 0.1}
EQUAL = {"a": 0.6, "b": 0.6, "c": 0.6}


def test_where_experts_are_unequal_calibration_is_expected_to_gain_and_does_so_on_other_clips():
    votes, gold = votes_and_gold(UNEQUAL, 60)
    gain = expected_gain(votes, gold, Rule())
    assert gain.helps
    assert gain.difference.low <= gain.difference.value <= gain.difference.high
    assert gain.calibrated - gain.without == pytest.approx(gain.difference.value)
    others, truth = votes_and_gold(UNEQUAL, 300, seed=1)
    learned = calibrate(votes, gold)

    def right(rule):
        rows = judge.judged_rows(others, None, rule, "", "").to_pylist()
        return np.mean([set(row["labels"]) == set(truth[row["video_id"]]) for row in rows])

    assert right(Rule(learned=learned)) > right(Rule())


def test_what_is_learned_on_a_clip_is_not_measured_on_it():
    # Gold without any pattern: whatever calibration finds in it is chance and gains nothing elsewhere.
    votes, _ = votes_and_gold(EQUAL, 60)
    random = np.random.default_rng(5)
    gold = {f"clip-{number:03d}": (WORDS[random.integers(len(WORDS))],) for number in range(60)}
    gain = expected_gain(votes, gold, Rule())
    assert gain.difference.value < 0.05


def test_the_gain_does_not_depend_on_the_order_of_rows_or_on_other_clips():
    _, gold = votes_and_gold(UNEQUAL, 40)
    more, _ = votes_and_gold(UNEQUAL, 60)
    shuffled = more.take(np.random.default_rng(1).permutation(more.num_rows))
    kept = {video_id: gold[video_id] for video_id in reversed(gold)}
    assert expected_gain(shuffled, kept, Rule()) == expected_gain(
        more.filter(pa.compute.is_in(more["video_id"], value_set=pa.array(list(gold)))), gold, Rule()
    )


def test_it_tells_itself_in_points_with_its_interval():
    votes, gold = votes_and_gold(UNEQUAL, 40)
    told = str(expected_gain(votes, gold, Rule()))
    assert "expected gain +" in told
    assert "(95%: " in told
    assert "cross-validated on 40 clips" in told


def test_gold_that_cannot_be_calibrated_on_has_no_gain():
    votes, gold = votes_and_gold(UNEQUAL, 40)
    with pytest.raises(InputError, match="mine: 5 clips have gold labels and votes"):
        expected_gain(votes, dict(list(gold.items())[:5]), Rule(), "mine")
    unknown = dict.fromkeys(gold, ("blorpish",))
    with pytest.raises(InputError, match="mine: none of its labels is in the vocabulary"):
        expected_gain(votes, unknown, Rule(), "mine")


def test_a_calibration_that_gains_nothing_is_told_and_not_saved(tmp_path, capsys):
    from emo.cli.program import main

    votes, _ = votes_and_gold({"a": 0.9, "b": 0.9, "c": 0.9}, 40)
    pq.write_table(votes, tmp_path / "votes.parquet")
    random = np.random.default_rng(2)
    labels = [WORDS[random.integers(len(WORDS))] for _ in range(40)]
    gold = "".join(
        json.dumps({"video_id": f"clip-{number:03d}", "labels": [label]}) + "\n"
        for number, label in enumerate(labels)
    )
    (tmp_path / "gold.jsonl").write_text(gold)
    files = [
        f"--{name}={tmp_path / file}" for name, file in (("votes", "votes.parquet"), ("save", "learned.json"))
    ]
    code = main(
        ["judge", "--out", str(tmp_path / "out"), *files, "--calibrate", str(tmp_path / "gold.jsonl")]
    )
    told = capsys.readouterr().err
    assert code == 2, told
    assert "expected gain" in told
    assert "learned.json was not written" in " ".join(told.split())
    assert not (tmp_path / "learned.json").exists()
