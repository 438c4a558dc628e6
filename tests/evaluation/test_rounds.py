"""The curve of F against answers per clip: what it costs is counted, what it keeps is measured on gold."""

import numpy as np
import pyarrow as pa
import pytest

from emo.cojudgment.rule import Rule
from emo.errors import InputError
from emo.evaluation.ew import own_mappings
from emo.evaluation.rounds import curve, lines, outcomes, shapes

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
