import json

import pytest

from emo.errors import EmoError, InputError
from emo.evaluation.mer2024 import group_by_model, mer2024, read_groups
from emo.evaluation.metric import check_answers


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


def test_a_text_model_makes_the_groups_and_what_it_invents_is_not_taken():
    prompts = []

    def ask(asked):
        prompts.extend(asked)
        return ['Here they are: [["sad", "low", "blue"], ["happy", "sad"]]', "I would rather not."]

    gold = {"a": ["sad", "happy"], "b": ["angry"], "c": ["calm"]}
    predicted = {"a": ["Low"], "b": ["mad"], "c": ["calm"]}
    groups, unread = group_by_model(gold, predicted, ask)
    assert "Words: happy, low, sad" in prompts[0]
    assert len(prompts) == 2  # clip c has one word only
    assert groups == {"a": [["sad", "low"], ["happy"]], "b": [["angry"], ["mad"]], "c": [["calm"]]}
    assert unread == ["b"]
    result = mer2024(gold, predicted, groups=groups, judge="tiny-1")
    assert (result.judge, result.accuracy, result.ungrouped) == ("tiny-1", pytest.approx(2 / 3), 0)
    with pytest.raises(InputError, match="0 answers to 2 questions"):
        group_by_model(gold, predicted, lambda asked: [])


def test_a_file_of_groups_is_read_and_bad_ones_are_named(tmp_path):
    path = tmp_path / "groups.json"
    path.write_text('{"a": [["sad", "low"]]}')
    assert read_groups(path) == {"a": [["sad", "low"]]}
    path.write_text('{"a": ["sad"]}')
    with pytest.raises(InputError, match=r"groups\.json: a: expected a list of lists"):
        read_groups(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_groups(tmp_path / "none.json")


@pytest.mark.parametrize(("unread", "asked", "share"), [(12, 12, None), (7, 12, None), (4, 12, 0.25)])
def test_a_judge_whose_answers_cannot_be_read_gives_no_score(unread, asked, share):
    with pytest.raises(EmoError, match=f"{unread} of {asked} answers of the judge m could not be read"):
        check_answers("m", unread, asked, share)
    check_answers("m", min(unread, 3), 12, 0.25)
    check_answers("m", 0, 0, share)
    check_answers("m", asked, asked, 1.0)
