"""Reading labels off what a model answers: every form of a list, and what is none."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emo.errors import RowError
from emo.extraction.parsing import parse_labels, read_list, stated


@pytest.mark.parametrize(
    ("answer", "labels"),
    [
        ("[happy, sad]", ["happy", "sad"]),
        ('["Happy", "let down"]', ["happy", "let down"]),
        ("['joy', 'self-conscious']", ["joy", "self-conscious"]),
        ('```json\n["joy", "fear"]\n```', ["joy", "fear"]),
        ('{"emotions": ["happy"]}', ["happy"]),
        ("The emotions are [happy, sad].", ["happy", "sad"]),
        ("[happy, sad] That is, [happy, sad].", ["happy", "sad"]),
        ("Output: [joy,]", ["joy"]),
        ("happy, and sad.", ["happy", "sad"]),
        ("**Answer:** happy", ["happy"]),
        ("**Emotions:** happy, **sad**", ["happy", "sad"]),
        ("The final answer is: happy", ["happy"]),
        ("The emotions are: happy, sad.", ["happy", "sad"]),
        ("happy / sad", ["happy", "sad"]),
        ("happy/sad", ["happy", "sad"]),
        ("n/a", []),
        ("(B) happy", ["happy"]),
        ("c) sad", ["sad"]),
        ("A. happy\nB. sad", []),  # options, and none was chosen
        ("- happy\n- sad", ["happy", "sad"]),
        ("1. joy\n2. fear", ["joy", "fear"]),
        ("Emotions: joy", ["joy"]),
        ("[joy, Joy, fear, joy]", ["joy", "fear"]),
        ("[悲伤、愤怒]", ["悲伤", "愤怒"]),
        ("<think>a [guess] first</think>\n[joy]", ["joy"]),
        ("a [guess] first</think>\n[joy]", ["joy"]),
        ("<context>[anger]</context><answer>[joy]</answer>", ["joy"]),
        ("[happy, (slightly) sad]", ["happy", "slightly sad"]),
        ("[]", []),
        ("[none]", []),
        ("None", []),
    ],
)
def test_a_generated_list_is_read(answer, labels):
    assert parse_labels(answer) == labels


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("I'm sorry, I can't help with that.", "refused"),
        ("As an AI, I do not judge feelings.", "refused"),
        ("抱歉，我无法回答。", "refused"),
        ("The person seems happy because of the smile.", "unparsable"),
        ("The person is happy", "unparsable"),
        ("[happy] or rather [sad]", "unparsable"),
        ("[-1]", "unparsable"),
        ("[3, 4]", "unparsable"),
        ("[happy, sa", "unparsable"),
        ("B", "unparsable"),
        ('["A", "C"]', "unparsable"),
        ("joy ✅ fear ❌", "unparsable"),
        ("", "unparsable"),
        ("<think>so long a thought", "thought_only"),
        ("a thought about [joy] </think>", "thought_only"),
        ("First line\njoy", "unparsable"),
    ],
)
def test_what_is_no_list_is_a_failed_row_and_never_a_default(answer, code):
    with pytest.raises(RowError) as caught:
        parse_labels(answer)
    assert caught.value.code == code
    assert caught.value.message


@given(st.lists(st.sampled_from(["joy", "fear", "let down", "sorrow", "愤怒"]), min_size=1, max_size=6))
def test_every_way_to_write_a_list_gives_the_same_labels(labels):
    expected = list(dict.fromkeys(labels))
    assert parse_labels(f"[{', '.join(labels)}]") == expected
    assert parse_labels(json.dumps(labels, ensure_ascii=False)) == expected
    assert parse_labels("\n".join(f"- {label}" for label in labels)) == expected
    assert parse_labels(", ".join(labels)) == expected


@pytest.mark.parametrize(
    ("answer", "alternatives"),
    [
        ("[worried, angry or excited]", (("angry", "excited"),)),
        ('["worried", "angry or excited"]', (("angry", "excited"),)),
        ("[angry, sad, or excited]", (("angry", "sad", "excited"),)),
        ("[either angry or excited, sad]", (("angry", "excited"),)),
        ("happy/sad", (("happy", "sad"),)),
        ("[悲伤, 愤怒或兴奋]", (("愤怒", "兴奋"),)),
        ("[sad, sad or sad]", ()),
        ("[angry, excited]", ()),
        ("n/a", ()),
    ],
)
def test_entries_with_an_or_between_them_are_alternatives(answer, alternatives):
    assert read_list(answer).alternatives == alternatives


@given(st.text(max_size=60))
def test_any_answer_gives_labels_or_a_failed_row(answer):
    try:
        labels, code = parse_labels(answer), None
    except RowError as error:
        labels, code = [], error.code
    assert code in (None, "unparsable", "refused", "thought_only")
    assert all(label == label.strip().lower() and label for label in labels)
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("The character's emotional state is happy, and excited.", ["happy", "excited"]),
        ("The character’s emotional state is worried, anxious and sad", ["worried", "anxious", "sad"]),
        ("The person's emotional states are joy; relief.", ["joy", "relief"]),
        ("joy, mild surprise, relief", ["joy", "mild surprise", "relief"]),
        ("Sad.", ["sad"]),
    ],
)
def test_a_text_that_is_nothing_but_its_labels_is_read_as_it_is(text, labels):
    assert stated(text).labels == labels


@pytest.mark.parametrize(
    "text",
    [
        "In the text, the emotional state is sad, and more.",
        "The person's emotional state is one of deep sadness as the subtitle said he lost.",
        "The character's emotional state is happy. But the voice says otherwise.",
        "He smiles, nods and laughs.",
        "",
    ],
)
def test_any_other_text_is_left_to_the_model(text):
    assert stated(text) is None
