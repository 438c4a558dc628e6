import json

import pytest

from emo.errors import InputError
from emo.evaluation.mer2024 import mer2024


def test_the_official_example_is_reproduced(ovmerd):
    example = json.loads((ovmerd / "mer2024_example.json").read_text())
    clips = example["clips"]
    result = mer2024(
        {video_id: clip["gold"] for video_id, clip in clips.items()},
        {video_id: clip["predicted"] for video_id, clip in clips.items()},
        groups={video_id: clip["grouping"] for video_id, clip in clips.items()},
    )
    official = example["official"]
    assert result.accuracy == pytest.approx(official["accuracy"], abs=1e-9)
    assert result.recall == pytest.approx(official["recall"], abs=1e-9)
    assert result.avg == pytest.approx(official["avg"], abs=1e-9)
    assert result.clips == official["clips"]
    assert result.judge == "given groups"


def test_the_model_that_groups_is_asked_per_clip_and_named():
    asked = []

    def by_first_letter(words):
        asked.append(words)
        return [
            [word for word in words if word[0] == letter] for letter in sorted({word[0] for word in words})
        ]

    gold = {"a": ["Sad", "happy"], "b": ["angry"]}
    result = mer2024(gold, {"a": ["sorry"], "b": []}, grouper=by_first_letter, judge="first letters v1")
    assert asked == [["happy", "sad", "sorry"], ["angry"]]
    assert result.judge == "first letters v1"
    assert (result.accuracy, result.recall, result.avg) == (0.5, 0.25, 0.375)


def test_words_that_no_group_has_stand_for_themselves_and_are_counted():
    result = mer2024({"a": ["sad"]}, {"a": ["sad"]}, groups={"a": [["happy"]]})
    assert (result.accuracy, result.ungrouped) == (1.0, 1)


def test_a_sampling_judge_is_averaged_over_its_runs():
    answers = iter([[["sad", "low"]], [["sad"], ["low"]]])
    result = mer2024(
        {"a": ["sad"]}, {"a": ["low"]}, grouper=lambda words: next(answers), judge="dice", runs=2
    )
    assert (result.avg, result.runs) == (0.5, 2)
    assert result.spread == pytest.approx(0.7071, abs=1e-4)


def test_clips_without_gold_are_left_out_and_counted_and_missing_ones_score_zero():
    result = mer2024({"a": [], "b": ["sad"], "c": ["sad"]}, {"b": ["sad"]}, groups={"b": [], "c": []})
    assert (result.clips, result.dropped, result.missing_predictions) == (2, 1, 1)
    assert result.accuracy == 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either groups or a model"),
        ({"grouper": lambda words: []}, "must be named"),
        ({"groups": {}}, "no groups for clip 'a'"),
        ({"groups": {"a": []}, "runs": 2}, "expected 1 with given groups"),
    ],
)
def test_bad_arguments_are_refused_with_the_reason(options, message):
    with pytest.raises(InputError, match=message):
        mer2024({"a": ["sad"]}, {"a": ["sad"]}, **options)
