"""What is no label, and which labels are one label in other words."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emo import vocabulary
from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.rule import Rule
from emo.vocabulary import Entry


@pytest.mark.parametrize(
    "text",
    [
        "unknown",
        "No clear emotion",
        "not happy",
        "mixed emotions",
        "Not applicable",
        "No emotion detected",
        "null",
        "None",
        "n/a",
        "emotion",
        "Cannot determine",
        "Insufficient information",
        "无法判断",
        "没有",
        "无明显情绪",
        "情绪不明",
        "不生气",
        "neither happy nor sad",
        "lack of emotion",
        "without joy",
        "unclear emotion",
        "-",
    ],
)
def test_what_says_that_there_is_no_emotion_is_no_label(text):
    assert vocabulary.entry_of_list(text) is Entry.NOTHING


@pytest.mark.parametrize(
    "text",
    [
        "Er ist wütend",
        "il est triste",
        "está enojado",
        "она очень злая",
        "この人は怒っています",
        "그는 화가 났다",
        "她看起来并不生气",
        "也不难过",
        "而是平静",
        "根据描述",
        "这个人感到非常高兴",
        "the woman is happy",
        "-1",
        "0.5",
    ],
)
def test_a_sentence_or_a_number_is_no_label(text):
    assert vocabulary.entry_of_list(text) is Entry.NO_LABEL


@pytest.mark.parametrize(
    "text",
    [
        "happy",
        "unhappy",
        "wütend",
        "tristesse",
        "злость",
        "怒り",
        "슬픔",
        "百感交集",
        "不甘心",
        "不开心",
        "无奈",
        "let down",
        "schadenfreude",
        "lack of confidence",
        "not in a good mood",
        "deep sadness",
        "sense of loss",
        "uncertain",
        "a bit nervous",
        "feeling low",
        "non-committal",
    ],
)
def test_an_emotion_in_any_language_is_a_label(text):
    assert vocabulary.entry_of_list(text) is Entry.LABEL


DEGREES = ["", "a bit ", "slightly ", "very ", "somewhat ", "a little ", "kind of ", "extremely "]
WORDS = st.sampled_from(sorted(word for word in vocabulary.words() if " " not in word))


@given(WORDS, st.sampled_from(DEGREES))
def test_a_word_is_itself_in_any_degree(word, degree):
    assert vocabulary.base_form(degree + word) == word


@given(st.sampled_from(sorted(form for form in vocabulary.forms() if "-" in form)))
def test_a_word_is_itself_with_any_hyphens(form):
    base = vocabulary.base_form(form)
    assert vocabulary.base_form(form.replace("-", " ")) == base
    assert vocabulary.base_form(form.replace("-", "")) == base


def test_other_words_of_the_same_letters_stay_others():
    assert vocabulary.base_form("at ease") is not None
    assert vocabulary.base_form("a tease") is None


def _judged(*votes):
    table = pa.table(
        {
            "video_id": ["v"] * len(votes),
            "expert": [f"e{number}" for number in range(len(votes))],
            "sample": pa.array([0] * len(votes), pa.int32()),
            "labels": [list(vote) for vote in votes],
        }
    )
    return judge_votes(table, Rule()).to_pylist()[0]


@pytest.mark.parametrize(
    "forms",
    [
        ("a bit nervous", "nervous", "slightly nervous"),
        ("self-conscious", "self conscious", "selfconscious"),
        ("somewhat world-weary", "world weary", "worldweary"),
    ],
)
def test_fusion_counts_the_forms_of_a_word_as_one_and_keeps_each_as_said(forms):
    row = _judged(*([form] for form in forms))
    assert row["agreement"] == 1.0
    assert len(row["labels"]) == 1
    assert row["scores"] == [1.0]
    assert {entry["label"] for entry in row["evidence"]} == set(forms)


def test_unknown_is_nobodys_vote():
    row = _judged(["unknown"], ["unknown"], ["no clear emotion", "happy"])
    assert (row["labels"], row["n_voters"]) == (["happy"], 1)
    silent = _judged(["unknown"], ["没有"])
    assert (silent["labels"], silent["n_voters"]) == ([], 0)
