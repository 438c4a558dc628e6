import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.learning import MIN_CLIPS, calibrate, estimate
from emo.cojudgment.rule import TRADE_OFFS, Learned, Rule
from emo.errors import InputError
from emo.store.tables import VOTES

TRUTHS = [
    ["happy"],
    ["sad"],
    ["angry"],
    ["anxious"],
    ["surprised", "happy"],
    ["grateful"],
    ["bored"],
    ["proud"],
]
NOISE = ["happy", "sad", "angry", "anxious", "surprised", "grateful", "bored", "proud", "lonely", "calm"]


def simulate(accuracy: dict[str, float], clips: int, seed: int = 0):
    """Experts that name a true label with the given probability and a random one otherwise."""
    random = np.random.default_rng(seed)
    rows, gold = [], {}
    for number in range(clips):
        video_id = f"clip-{number:04d}"
        gold[video_id] = TRUTHS[random.integers(len(TRUTHS))]
        for expert, chance in accuracy.items():
            labels = []
            for _ in range(2):
                source = gold[video_id] if random.random() < chance else NOISE
                labels.append(source[random.integers(len(source))])
            rows.append(
                {"video_id": video_id, "expert": expert, "sample": 0, "labels": list(dict.fromkeys(labels))}
            )
    return pa.Table.from_pylist(rows), gold


ACCURACY = {"good": 0.9, "fair-a": 0.6, "fair-b": 0.6, "fair-c": 0.6, "poor-a": 0.2, "poor-b": 0.2}


def test_agreement_alone_ranks_the_experts():
    votes, _ = simulate(ACCURACY, 200)
    weights = estimate(votes).weights
    assert weights["good"] > max(weights["fair-a"], weights["fair-b"])
    assert min(weights["fair-a"], weights["fair-b"]) > max(weights["poor-a"], weights["poor-b"])


def test_an_expert_does_not_gain_weight_by_agreeing_with_itself():
    votes, _ = simulate(ACCURACY, 200)
    poor = votes.filter(pc.equal(votes["expert"], "poor-a"))
    copies = [
        poor.set_column(2, "sample", pa.array([sample] * poor.num_rows, pa.int64())) for sample in range(1, 7)
    ]
    weights = estimate(pa.concat_tables([votes, *copies])).weights
    assert weights["poor-a"] < min(weights["fair-a"], weights["fair-b"])


def test_estimation_does_not_depend_on_the_order_of_rows():
    votes, _ = simulate(ACCURACY, 60)
    shuffled = votes.take(np.random.default_rng(1).permutation(votes.num_rows))
    assert estimate(shuffled) == estimate(votes)


def test_calibration_ranks_the_experts_and_beats_no_calibration_on_other_clips():
    votes, gold = simulate(ACCURACY, 300)
    seen = {video_id: labels for video_id, labels in gold.items() if video_id < "clip-0100"}
    learned = calibrate(votes, seen)
    assert learned.clips == 100
    assert learned.weights["good"] > learned.weights["fair-a"] > learned.weights["poor-a"]
    unseen = votes.filter(pc.greater_equal(votes["video_id"], "clip-0100"))

    def right(rule):
        rows = judge_votes(unseen, rule).to_pylist()
        return np.mean([set(row["labels"]) == set(gold[row["video_id"]]) for row in rows])

    assert right(Rule(learned=learned)) > right(Rule())


def test_a_label_that_is_seldom_right_gets_a_higher_bar():
    votes, gold = simulate(ACCURACY, 200)
    people_disagree = {
        video_id: ["bored" if label == "proud" else label for label in labels]
        for video_id, labels in gold.items()
    }
    assert calibrate(votes, people_disagree).bars["pride"] > 1.5 * calibrate(votes, gold).bars["pride"]


def test_a_calibration_is_a_file_that_a_later_run_names(tmp_path):
    votes, gold = simulate(ACCURACY, 100)
    learned = calibrate(votes, gold)
    learned.save(tmp_path / "calibration.json")
    read = Learned.load(tmp_path / "calibration.json")
    assert read == learned
    assert Rule(learned=read).judge == Rule(learned=learned).judge == f"balanced+calibrated-{learned.sha}"
    assert judge_votes(votes, Rule(learned=read)).equals(judge_votes(votes, Rule(learned=learned)))


def test_an_expert_that_the_calibration_does_not_know_is_named():
    votes, gold = simulate(ACCURACY, 100)
    learned = calibrate(votes, gold)
    more, _ = simulate({**ACCURACY, "newcomer": 0.5}, 5)
    with pytest.raises(InputError, match="no weight for expert newcomer"):
        judge_votes(more, Rule(learned=learned))


@pytest.mark.parametrize(
    ("given", "gold", "message"),
    [
        ([], ["happy"], "mine: no expert gave a label on any of its 40 clips"),
        (["happy"], ["zzz"], r"not one label .* \(of clip-00 gold has zzz, the votes have happy\)"),
        (
            ["happy", "sad"],
            ["happy", "sad", "calm"],
            "mine: every label of the votes is right on its 40 clips",
        ),
    ],
)
@pytest.mark.filterwarnings("error")
def test_gold_that_no_label_stands_out_in_teaches_nothing_and_is_refused(given, gold, message):
    ids = [f"clip-{number:02d}" for number in range(40)]
    rows = [
        {"video_id": video_id, "expert": expert, "sample": 0, "labels": given}
        for video_id in ids
        for expert in "abcde"
    ]
    schema = pa.schema([VOTES.schema.field(name) for name in (*VOTES.key, "labels")])
    votes = pa.Table.from_pylist(rows, schema=schema)
    with pytest.raises(InputError, match=message):
        calibrate(votes, dict.fromkeys(ids, gold), "mine")


def test_an_empty_gold_set_is_refused():
    votes, _ = simulate(ACCURACY, 30)
    with pytest.raises(InputError, match="gold: is empty"):
        calibrate(votes, {})


def test_gold_ids_that_match_no_vote_are_refused_with_an_example():
    votes, _ = simulate(ACCURACY, 30)
    with pytest.raises(InputError, match=r"none of its 1 ids .*'elsewhere'.*'clip-0000'"):
        calibrate(votes, {"elsewhere": ["sad"]})


def test_too_few_gold_clips_are_refused_with_both_numbers():
    votes, gold = simulate(ACCURACY, 30)
    few = dict(list(gold.items())[:5]) | {"clip-0010": []}
    with pytest.raises(InputError, match=f"5 clips have gold labels and votes; .* at least {MIN_CLIPS}"):
        calibrate(votes, few)


def test_gold_of_other_clips_under_these_ids_is_refused():
    votes, gold = simulate({"a": 0.9, "b": 0.9, "c": 0.9}, 60)
    opposite = {video_id: [word for word in NOISE if word not in labels] for video_id, labels in gold.items()}
    with pytest.raises(InputError, match="do not seem to belong"):
        calibrate(votes, opposite)


@pytest.mark.parametrize(
    ("experts", "clips", "message"),
    [
        (3, 50, "from 3 expert.*use --calibrate with 40 clips"),
        (5, 50, "from 5 expert"),
        (6, 10, "from 10 clips"),
    ],
)
def test_too_little_to_estimate_from_is_refused(experts, clips, message):
    votes, _ = simulate({f"expert-{number}": 0.5 for number in range(experts)}, clips)
    with pytest.raises(InputError, match=message):
        estimate(votes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "is not JSON"),
        ("[]", "is not a file of"),
        (json.dumps({"format": "emo-judge-1"}), "is damaged"),
        (
            json.dumps(
                {"format": "emo-judge-1", "source": "given", "weights": {"a": -1}, "bars": {}, "clips": 0}
            ),
            "weight of 'a' is -1.0; expected a number above 0",
        ),
    ],
)
def test_a_file_that_is_no_calibration_is_refused(tmp_path, content, message):
    path = tmp_path / "calibration.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        Learned.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.json: cannot be read"):
        Learned.load(tmp_path / "nowhere.json")


def test_the_knob_is_named_and_goes_from_recall_to_precision():
    assert list(TRADE_OFFS.values()) == sorted(TRADE_OFFS.values())
    assert Rule.of("precision").judge == "precision"
    assert Rule.of(0.25).judge == "share-0.25"
    assert Rule() == Rule.of("balanced")
    with pytest.raises(InputError, match=r"no setting 'more'; expected recall, .* precision"):
        Rule.of("more")
