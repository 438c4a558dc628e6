"""The word list and its lookups."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo import vocabulary
from emo.errors import InputError
from emo.vocabulary.forms import expand, inflect

HEADWORDS = sorted(vocabulary.words())


def test_there_are_hundreds_of_words_in_many_clusters_in_both_languages() -> None:
    chinese = [word for entry in vocabulary.words().values() for word in entry.chinese]
    assert len(HEADWORDS) >= 700
    assert len(vocabulary.clusters()) >= 40
    assert len(chinese) >= 600
    assert len(vocabulary.forms()) > len(HEADWORDS) + len(chinese) + 1000


def test_every_headword_is_in_exactly_one_cluster() -> None:
    members = [word for words in vocabulary.clusters().values() for word in words]
    assert sorted(members) == HEADWORDS


def test_all_words_of_a_cluster_share_its_family() -> None:
    for cluster, members in vocabulary.clusters().items():
        assert {vocabulary.cluster_of(word) for word in members} == {cluster}
        assert len({vocabulary.family_of(word) for word in members}) == 1


@pytest.mark.parametrize("language", ["english", "chinese"])
def test_every_form_leads_to_its_headword_and_every_headword_to_itself(language: str) -> None:
    for word in vocabulary.words().values():
        assert vocabulary.base_form(word.headword) == word.headword
        for form in word.forms if language == "english" else word.chinese:
            assert vocabulary.base_form(form) == word.headword


def test_english_forms_are_latin_and_chinese_words_are_chinese() -> None:
    for word in vocabulary.words().values():
        for form in (word.headword, *word.forms):
            assert re.fullmatch(r"[a-z]+(?:[ -][a-z]+)*", form), form
        for form in word.chinese:
            assert re.fullmatch(r"[\u4e00-\u9fff]{1,8}", form), form


def test_every_word_has_valence_and_arousal_between_minus_one_and_one() -> None:
    for word in HEADWORDS:
        for number in (vocabulary.valence(word), vocabulary.arousal(word)):
            assert number is not None
            assert -1 <= number <= 1


@pytest.mark.parametrize(
    ("form", "headword"),
    [
        ("happily", "happy"),
        ("happiness", "happy"),
        ("Happier", "happy"),
        ("anger", "angry"),
        ("angrily", "angry"),
        ("worries", "worried"),
        ("dissatisfaction", "dissatisfied"),
        ("ecstatically", "ecstatic"),
        ("panicking", "panicked"),
        ("sympathised", "sympathetic"),
        ("sympathizes", "sympathetic"),
        ("  Looking   Forward to ", "looking forward to"),
        ("“JOY!”", "joyful"),
        ("高兴", "happy"),
        ("愤怒", "angry"),
        ("无奈", "helpless"),
        ("如释重负", "relieved"),
    ],
)
def test_a_form_is_found_however_it_is_written(form: str, headword: str) -> None:
    assert vocabulary.base_form(form) == headword


@pytest.mark.parametrize(
    ("word", "opposite"),
    [
        ("fear", "fearless"),
        ("hope", "hopeless"),
        ("help", "helpless"),
        ("care", "careful"),
        ("happy", "unhappy"),
        ("satisfied", "dissatisfied"),
        ("pleased", "displeased"),
        ("confident", "unconfident"),
        ("trusting", "distrustful"),
        ("高兴", "不高兴"),
        ("满意", "不满意"),
    ],
)
def test_a_word_is_never_taken_for_one_that_means_something_else(word: str, opposite: str) -> None:
    assert vocabulary.base_form(word) != vocabulary.base_form(opposite)
    assert vocabulary.cluster_of(word) != vocabulary.cluster_of(opposite)


@pytest.mark.parametrize(
    ("pleasant", "unpleasant"), [("happy", "sad"), ("calm", "anxious"), ("love", "hate"), ("骄傲", "羞愧")]
)
def test_valence_tells_pleasant_from_unpleasant(pleasant: str, unpleasant: str) -> None:
    assert (vocabulary.valence(pleasant) or 0) > 0 > (vocabulary.valence(unpleasant) or 0)


@pytest.mark.parametrize(
    ("excited", "still"), [("furious", "annoyed"), ("ecstatic", "content"), ("恐慌", "疲惫")]
)
def test_arousal_tells_the_excited_from_the_still(excited: str, still: str) -> None:
    assert (vocabulary.arousal(excited) or 0) > (vocabulary.arousal(still) or 0)


@pytest.mark.parametrize("word", ["table", "saudade", "", "...", "桌子"])
def test_an_unknown_word_has_no_headword_cluster_family_or_numbers(word: str) -> None:
    for lookup in (
        vocabulary.entry,
        vocabulary.base_form,
        vocabulary.cluster_of,
        vocabulary.family_of,
        vocabulary.valence,
        vocabulary.arousal,
    ):
        assert lookup(word) is None


@settings(deadline=None)
@given(st.text())
def test_normalising_twice_changes_nothing_more(label: str) -> None:
    once = vocabulary.normalise(label)
    assert vocabulary.normalise(once) == once


@settings(deadline=None)
@given(st.text(alphabet=st.characters(categories=["Ll", "Lu", "Lo", "Nd"]), min_size=1))
def test_normalising_never_drops_a_label(label: str) -> None:
    assert vocabulary.normalise(label)


@settings(deadline=None)
@given(
    st.sampled_from(sorted(vocabulary.forms())),
    st.sampled_from(["", " ", "\n", "'", '"', "。", "!?", "“"]),
    st.booleans(),
)
def test_case_and_marks_around_a_word_do_not_matter(form: str, marks: str, upper: bool) -> None:
    written = marks + (form.upper() if upper else form) + marks
    assert vocabulary.base_form(written) == vocabulary.base_form(form)


def test_full_width_letters_are_the_same_letters() -> None:
    assert vocabulary.normalise("Ｈａｐｐｙ") == "happy"


@pytest.mark.parametrize(
    ("stem", "suffix", "form"),
    [
        ("happy", "ly", "happily"),
        ("shy", "ly", "shyly"),
        ("amiable", "ly", "amiably"),
        ("dull", "ly", "dully"),
        ("tragic", "ly", "tragically"),
        ("pale", "ly", "palely"),
        ("coy", "ness", "coyness"),
        ("lonely", "ness", "loneliness"),
        ("worry", "s", "worries"),
        ("enjoy", "s", "enjoys"),
        ("vex", "s", "vexes"),
        ("pity", "ed", "pitied"),
        ("annoy", "ed", "annoyed"),
        ("amuse", "ed", "amused"),
        ("amuse", "ing", "amusing"),
        ("agree", "ing", "agreeing"),
        ("die", "ing", "dying"),
        ("tease", "ingly", "teasingly"),
    ],
)
def test_suffixes_are_spelled_as_in_english(stem: str, suffix: str, form: str) -> None:
    assert inflect(stem, suffix) == form


def test_a_notation_stands_for_written_and_generated_forms() -> None:
    assert expand("happy", "+ly+ness") == ["happily", "happiness"]
    assert expand("joyful", "joy+s") == ["joy", "joys"]
    assert expand("happy", "happier") == ["happier"]


def test_an_unknown_suffix_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="less"):
        expand("fearful", "fear+less")


def test_everyday_words_are_marked_and_plain_emotion_words_are_not() -> None:
    everyday = {form for word in vocabulary.words().values() for form in word.everyday}
    assert {"content", "low", "heavy", "open"} <= everyday
    assert everyday.isdisjoint({"happy", "anger", "sadness", "contentment", "愤怒"})
    assert everyday <= set(vocabulary.forms())


def test_no_form_has_a_spelling_that_english_does_not_have() -> None:
    wrong = re.compile(
        r"[^aeiou]y(ly|ness|ed|s)$|ically?ly$|icly$|eing$|eeded$|[^aeiou]leness$|(s|x|z|ch|sh)s$"
    )
    right = {"shyly", "shyness", "slyly", "slyness", "wryly", "humbleness", "boredness", "seeing"}
    found = {form for word in vocabulary.words().values() for form in word.forms if wrong.search(form)}
    assert {form for form in found if not form.endswith("ss")} <= right
