"""Refusals, courtesies and thoughts are told from descriptions, in English and Chinese.

`refusals.txt` and `descriptions.txt` hold one answer a line, written for these tests.
"""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import REPOSITORY
from emo.answers import declines, read_answer
from emo.answers.thinking import parted

DATA = Path(os.environ.get("EMO_TEST_DATA", REPOSITORY / "../shared/data"))
REFUSALS, DESCRIPTIONS = (
    Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    for name in ("refusals.txt", "descriptions.txt")
)
# What families of models put around a thought.
THOUGHTS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<context>", "</context>"),
    ("<|think|>", "<|/think|>"),
    ("[thinking]", "[/thinking]"),
    ("<思考>", "</思考>"),
    ("◁think▷", "◁/think▷"),
    ("[THINK]", "[/THINK]"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
]


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_or_a_mere_courtesy_is_no_description(text):
    answer = read_answer(text)
    assert answer.text is None
    assert answer.error.code == "refused"


@pytest.mark.parametrize("text", REFUSALS[:40])
@pytest.mark.parametrize("dress", ["**{}**", "> {}", "“{}”", "\n\n{}\n", "<think>She is sad.</think>{}"])
def test_a_refusal_is_one_in_any_dress(text, dress):
    assert read_answer(dress.format(text)).error.code == "refused"


@pytest.mark.parametrize("text", DESCRIPTIONS)
def test_what_describes_somebody_is_no_refusal(text):
    assert read_answer(text).error is None


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Sure! Here is a description: the woman smiles.", "the woman smiles."),
        ("I'm happy to help! The man frowns.", "The man frowns."),
        ("She looks sad. Let me know if you need anything else!", "She looks sad."),
        ("I'm sorry, I can't see who it is, but the man cries.", "the man cries."),
        ("好的，以下是描述：她微笑着。", "她微笑着。"),
        ("The woman smiles.", "The woman smiles."),
    ],
)
def test_a_description_loses_the_courtesy_around_it(text, left):
    assert read_answer(text).text == left


def test_a_description_beside_a_refusal_is_nothing_to_be_trained_on():
    text = "I cannot hear the sound, but the woman looks sad."
    assert read_answer(text).text
    assert declines(text)


def test_no_real_description_is_a_refusal():
    path = DATA / "ovmerd" / "reasons.parquet"
    if not path.exists():
        pytest.skip(f"the licensed test data is not here: {path} (set EMO_TEST_DATA)")
    for row in pq.read_table(path).to_pylist():
        for language in ("english", "chinese"):
            assert read_answer(row[language]).text == row[language]


WORDS = st.text(st.characters(categories=["Ll", "Lu", "Nd"]), min_size=1, max_size=12)


@given(st.sampled_from(THOUGHTS), WORDS, WORDS)
def test_a_thought_is_parted_from_what_is_said(marks, thought, said):
    opens, closes = marks
    found = parted(f"{opens}{thought}{closes} {said}")
    assert (found.thought, found.said, found.ended) == (thought, said, True)


@given(st.sampled_from([marks for marks in THOUGHTS if "channel" not in marks[0]]), WORDS, WORDS)
def test_a_closing_mark_alone_ends_a_thought_that_the_template_began(marks, thought, said):
    found = parted(f"{thought}{marks[1]}{said}")
    assert (found.thought, found.said) == (thought, said)


@given(st.sampled_from(THOUGHTS), WORDS)
def test_a_thought_that_does_not_end_is_thought_only(marks, thought):
    answer = read_answer(f"{marks[0]}{thought}")
    assert answer.text is None
    assert answer.thought == thought
    assert answer.error.code == "thought_only"


@given(st.sampled_from(["answer", "final_answer", "response", "output"]), WORDS, WORDS, WORDS)
def test_where_an_answer_is_marked_it_alone_is_said(tag, before, said, after):
    found = parted(f"{before} <{tag}>{said}</{tag}> {after}")
    assert found.said == said
    assert before in found.thought


@pytest.mark.parametrize(
    "text",
    [
        "**Thought:** He may be angry.\n**Answer:** He is calm.",
        "### Reasoning\nHe may be angry.\n\n### Final answer\nHe is calm.",
        "Analysis: he may be angry\nAnswer: He is calm.",
        "思考：他可能生气。\n回答：He is calm.",
    ],
)
def test_a_thought_under_a_heading_is_parted_from_the_answer_under_the_next(text):
    found = read_answer(text)
    assert found.text == "He is calm."
    assert found.thought


def test_an_analysis_without_an_answer_is_what_is_said():
    assert read_answer("Analysis: she frowns.\nShe is sad.").text == "Analysis: she frowns.\nShe is sad."


def test_an_empty_mark_of_an_answer_is_an_empty_answer():
    assert read_answer("<answer></answer>").error.code == "empty_answer"


@given(st.text(max_size=80))
def test_any_answer_is_a_text_or_has_an_error(text):
    answer = read_answer(text)
    assert (answer.text is None) == (answer.error is not None)
    if answer.error is not None:
        assert answer.error.code in ("refused", "thought_only", "empty_answer")


def test_an_empty_answer_is_none():
    assert read_answer(" \n").error.code == "empty_answer"
