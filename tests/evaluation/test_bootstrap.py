import dataclasses

import numpy as np
import pytest

from emo.errors import InputError
from emo.evaluation import bootstrap
from emo.evaluation.bootstrap import compare, f_interval
from emo.evaluation.ew import ew, ew_overlaps
from emo.evaluation.overlap import overlaps
from emo.evaluation.wheels import load_wheels


def by_itself(word):
    return word


def test_the_interval_holds_the_score_and_narrows_with_more_clips():
    gold = {str(number): ["a", "b"] for number in range(400)}
    predicted = {str(number): ["a"] if number % 3 else ["b", "c"] for number in range(400)}
    large = f_interval(overlaps(gold, predicted, {"words": by_itself}))
    few = dict(list(gold.items())[:40])
    small = f_interval(overlaps(few, predicted, {"words": by_itself}))
    assert large.low < large.value < large.high
    assert large.standard_error < 0.5 * small.standard_error


def test_the_same_seed_gives_the_same_interval():
    scored = overlaps({"a": ["x"], "b": ["y"]}, {"a": ["x"], "b": ["x"]}, {"words": by_itself})
    assert f_interval(scored) == f_interval(scored)
    assert f_interval(scored, seed=1).low == f_interval(scored).low == 0.0


def test_the_standard_error_on_166_clips_is_about_two_points(wheels_folder, gold, voters):
    interval = f_interval(ew_overlaps(gold, voters["chat-univi#0"], load_wheels(wheels_folder)))
    assert 0.015 < interval.standard_error < 0.03


def test_a_system_that_is_clearly_better_is_told_apart_and_itself_is_not(wheels_folder, gold, voters):
    tables = load_wheels(wheels_folder)
    weak, strong = (ew_overlaps(gold, voters[name], tables) for name in ("videochat#0", "affectgpt#0"))
    result = compare(weak, strong)
    difference = (
        ew(gold, voters["affectgpt#0"], tables).score.f - ew(gold, voters["videochat#0"], tables).score.f
    )
    assert result.difference.value == pytest.approx(difference)
    assert result.p_value < 0.01
    assert result.difference.low > 0
    assert compare(strong, strong).p_value == 1.0


def test_systems_scored_on_different_clips_are_not_compared():
    one = overlaps({"a": ["x"]}, {"a": ["x"]}, {"words": by_itself})
    other = overlaps({"b": ["x"]}, {"b": ["x"]}, {"words": by_itself})
    with pytest.raises(InputError, match="the same clips"):
        compare(one, other)
    assert dataclasses.replace(one, video_ids=("b",)).video_ids == other.video_ids


def test_drawing_in_batches_gives_the_same_interval_and_the_same_test(monkeypatch):
    random = np.random.default_rng(5)
    first, second = (
        bootstrap.per_clip_mean([str(n) for n in range(40)], random.random((2, 40))) for _ in range(2)
    )

    def numbers():
        interval = bootstrap.interval([first], draws=200)
        found = bootstrap.paired([first], [second], draws=200)
        return interval.low, interval.high, found.difference.low, found.difference.high, found.p_value

    whole = numbers()
    monkeypatch.setattr(bootstrap, "_NUMBERS_AT_ONCE", 300)
    assert numbers() == pytest.approx(whole)


def test_the_mean_over_data_sets_counts_each_of_them_the_same():
    small = bootstrap.per_clip_mean(["a", "b"], np.array([[1.0, 1.0]]))
    large = bootstrap.per_clip_mean([str(n) for n in range(400)], np.zeros((1, 400)))
    found = bootstrap.interval([small, large])
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)
    other = bootstrap.per_clip_mean(["a", "b"], np.array([[0.0, 0.0]]))
    assert bootstrap.paired([other, large], [small, large]).difference.value == 0.5
    with pytest.raises(InputError, match="same clips"):
        bootstrap.paired([large], [small])
