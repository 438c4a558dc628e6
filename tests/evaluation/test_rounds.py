"""The curve of F against answers per clip: what it costs is counted, what it keeps is measured on gold."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emo.cojudgment.rule import Rule
from emo.errors import InputError
from emo.evaluation.ew import own_mappings
from emo.evaluation.rounds import curve, lines, outcomes, shapes
from labelling import emo

CLUSTERS = {"clusters": own_mappings()["clusters"]}
SAMPLES = {"a": 7, "b": 1}


def votes_and_gold(clips):
    """Every third clip is hard: there an answer is right only half of the time."""
    random = np.random.default_rng(3)
    wrong = ["sad", "angry", "afraid", "bored", "proud"]
    keys, labels = [], []
    for number in range(clips):
        hard = number % 3 == 0
        for expert, count in SAMPLES.items():
            for sample in range(count):
                right = random.random() < (0.5 if hard else 0.97)
                keys.append((f"clip{number:03d}", expert, sample))
                labels.append(["happy"] if right else [str(random.choice(wrong))])
    clip, expert, sample = map(list, zip(*keys, strict=True))
    table = pa.table(
        {"video_id": clip, "expert": expert, "sample": pa.array(sample, pa.int32()), "labels": labels}
    )
    return table, {f"clip{number:03d}": ("happy",) for number in range(clips)}


def test_the_knee_asks_for_far_less_and_loses_nothing_that_can_be_told_from_chance():
    votes, gold = votes_and_gold(120)
    full, found = outcomes(votes, gold, shapes(SAMPLES), SAMPLES, Rule(), CLUSTERS)
    assert set(full.answers) == {8}
    result = curve(full, found, draws=200)
    assert (result.clips, result.in_full) == (120, 8)
    answers = [point.answers for point in result.points]
    assert answers == sorted(answers)
    assert 3 <= answers[0] < answers[-1] <= 8
    knee = result.knee
    assert knee is not None
    assert knee.share < 0.75
    assert knee.loss.value <= knee.loss.standard_error
    assert all(
        point.loss.value > point.loss.standard_error
        for point in result.points
        if point.answers < knee.answers
    )
    told = lines(result, "emo's clusters")
    assert told[0].startswith("rounds (answers by then)")
    assert "{b: 1, a: 2} {b: 1, a: 7}" in told[-2] or "{b: 1, a: 3} {b: 1, a: 7}" in told[-2]


def test_what_is_tried_asks_two_or_three_times_first_and_after_five_answers_looks_again():
    assert shapes({"a": 7, "b": 1}) == [
        ({"a": 2}, {"a": 7}),
        ({"a": 3}, {"a": 7}),
        ({"a": 3}, {"a": 5}, {"a": 7}),
    ]
    # An expert of four answers has given all of them after the second round; five are needed for a third.
    assert shapes({"a": 7, "b": 4})[-1] == ({"a": 3, "b": 3}, {"a": 5, "b": 4}, {"a": 7, "b": 4})
    assert shapes({"a": 5}) == [({"a": 2}, {"a": 5}), ({"a": 3}, {"a": 5})]
    assert shapes({"a": 3}) == [({"a": 2}, {"a": 3})]


def test_the_command_prints_the_curve_and_what_it_recommends_and_judges_nothing(tmp_path):
    votes, gold = votes_and_gold(60)
    pq.write_table(votes, tmp_path / "votes.parquet")
    (tmp_path / "gold.csv").write_text("video_id,labels\n" + "".join(f"{clip},happy\n" for clip in gold))
    experts = [{"kind": "internvl", "name": "a", "model": "m", "samples": 7}, {"kind": "words", "name": "b"}]
    (tmp_path / "emo.yaml").write_text(json.dumps({"experts": experts}))
    command = ["judge", "--votes", tmp_path / "votes.parquet", "--out", tmp_path / "out", "--rounds"]
    command += ["--config", tmp_path / "emo.yaml", "--calibrate", tmp_path / "gold.csv"]
    done = emo(*command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split("  ")[0] == "rounds (answers by then)"
    assert done.stdout.splitlines()[-1].startswith("every answer")
    assert "recommended: enough: " in done.stderr
    told = json.loads(emo(*command, "--json").stdout)["curve"]
    assert (told["clips"], told["in_full"]) == (60, 8)
    assert told["knee"] in told["points"]
    assert not (tmp_path / "out").exists()


def test_a_clip_that_lacks_an_answer_is_left_out_and_too_few_are_refused():
    votes, gold = votes_and_gold(21)
    lacking = votes.filter(pa.array([number != 4 for number in range(votes.num_rows)]))
    full, _ = outcomes(lacking, gold, shapes(SAMPLES), SAMPLES, Rule(), CLUSTERS, [0.5])
    assert len(full.answers) == 20
    with pytest.raises(InputError, match="19 clips have gold labels and all 8 answers of a, b"):
        outcomes(lacking, {**gold, "clip007": ()}, shapes(SAMPLES), SAMPLES, Rule(), CLUSTERS)


def test_without_an_expert_that_answers_often_the_rounds_must_be_given():
    with pytest.raises(InputError, match="no expert gives more than 2 answers"):
        shapes({"a": 2, "b": 1})
