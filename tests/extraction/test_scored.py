"""Answers that judge emotions one by one, and descriptions of what was not there."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emo.extraction.absence import tells_nothing
from emo.extraction.parsing import parse_labels
from emo.extraction.rules import extract

AFFIRMS_SADNESS = [
    '{"happy": 0.02, "sad": 0.95, "angry": 0.03}',
    '{"angry": false, "sad": true}',
    '{"emotions": {"happy": 0.1, "sad": 0.7}}',
    '[{"emotion": "happy", "score": 0.1}, {"emotion": "sad", "score": 0.8}]',
    "{'happy': 0.1, 'sad': 0.9}",
    "Anger: none. Fear: none. Sadness: strong.",
    "Happiness: 0% / Sadness: 90%",
    "Happy 5 %, sad 90 %",
    "Happiness: 1/5, Sadness: 4/5",
    "Happy: no\nSad: yes\nAngry: no",
    "| Emotion | Present |\n|---|---|\n| happy | no |\n| sad | yes |",
    "- [ ] happy\n- [x] sad",
    "A. happy B. sad C. angry Answer: B",
    "A) happy\nB) sad\nThe answer is (B).",
    "happy: ❌, sad: ✅",
    "高兴：没有。悲伤：强烈。",
]


@pytest.mark.parametrize("text", AFFIRMS_SADNESS)
def test_of_emotions_that_are_judged_one_by_one_the_affirmed_ones_count(text):
    assert extract(text) == ["sad"]
    assert parse_labels(text)[0] in ("sad", "sadness", "悲伤")
    assert len(parse_labels(text)) == 1


WORDS = ["happy", "sad", "angry", "afraid", "calm", "proud"]


@given(st.dictionaries(st.sampled_from(WORDS), st.booleans(), min_size=1))
def test_what_is_denied_is_never_a_label(judged):
    affirmed = {word for word, is_so in judged.items() if is_so}
    assert set(parse_labels(json.dumps(judged))) == affirmed


@given(st.dictionaries(st.sampled_from(WORDS), st.integers(0, 100), min_size=2))
def test_the_highest_score_comes_first_and_low_ones_are_no_labels(scores):
    labels = parse_labels("\n".join(f"{word}: {score}%" for word, score in scores.items()))
    best = max(scores.values())
    assert all(scores[word] >= max(10, best / 2) for word in labels)
    assert [scores[word] for word in labels] == sorted((scores[word] for word in labels), reverse=True)
    assert bool(labels) == (best >= 10)


@pytest.mark.parametrize("text", ["The woman is happy. She smiles.", "Mood: positive. Expression: a smile."])
def test_running_text_is_not_judged_one_by_one(text):
    with pytest.raises(Exception, match="no l"):
        parse_labels(text)


@pytest.mark.parametrize(
    "text",
    [
        "There is no transcript, so nothing is known of what is said.",
        "No face was found in 8 frames.",
        "The sound track is silent: there was no voice to hear.",
        "The clip has no sound track, so there was no voice to hear.",
        "The transcript has 8 words in English. The words alone show no clear emotion.",
        "没有检测到人脸。",
        "没有字幕。",
    ],
)
def test_a_description_of_what_was_not_there_tells_nothing(text):
    assert tells_nothing(text)
    assert extract(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "No face is visible, but her voice trembles with fear.",
        "She shows no clear emotion at first, then bursts into angry shouting.",
        "There is no audio. The woman smiles happily.",
        "She is sad. No other emotion is visible.",
        "The man looks calm.",
    ],
)
def test_a_description_of_what_was_there_tells_something(text):
    assert not tells_nothing(text)
