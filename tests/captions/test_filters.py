"""The filters of captions: what each leaves out, and the laws that they keep."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import REPOSITORY
from emo.captions.crowd import contradicts, polarity
from emo.captions.duplicates import near_duplicates, runs, similarity
from emo.captions.filters import Candidate, Evidence, inapplicable, judge
from emo.captions.rules import FILTERS, Rules
from emo.captions.texts import is_other_language, is_refusal, is_repetitive, mentions_person, words_of

GOOD = (
    "The woman raises her brows and smiles at the man beside her while her hands stay folded. "
    "She probably feels happy about what he tells her."
)


def caption(id_="a", text=GOOD, **fields):
    return Candidate(
        **{"id": id_, "video_id": "v", "expert": "one", "prompt": "person", "text": text, **fields}
    )


def failed(*captions, evidence=None, **bounds):
    rules = Rules(**bounds)
    verdicts = judge(captions, evidence or Evidence(), rules)
    return {id_: verdict.failed for id_, verdict in verdicts.items()}


def test_a_good_caption_passes_every_filter():
    assert failed(caption()) == {"a": ()}


@pytest.mark.parametrize(
    ("bad", "by"),
    [
        (caption(cut_off=True), "cut_off"),
        (caption(media=False), "no_media"),
        (caption(planned=False), "not_planned"),
        (caption(text="She smiles."), "too_short"),
        (caption(text=" ".join(f"she sees thing {n} and" for n in range(200))), "too_long"),
        (caption(text=GOOD + " She smiles and laughs loudly." * 20), "repetition"),
        (caption(text="I'm sorry, but I cannot say what the woman in these frames feels."), "refusal"),
        (caption(text="这位女士抬起眉毛，微笑着看着身边的男人，她可能感到很高兴。"), "language"),
        (caption(text="The sea lies calm and the ferry moves slowly past the old pier."), "no_person"),
    ],
)  # fmt: skip
def test_each_filter_finds_what_it_is_for_and_can_be_switched_off(bad, by):
    assert failed(bad) == {"a": (by,)}
    assert failed(bad, on=frozenset(FILTERS) - {by}) == {"a": ()}


def test_a_caption_is_told_of_every_filter_that_it_fails():
    assert failed(caption(text="The sea, calm.", media=False)) == {
        "a": ("no_media", "too_short", "no_person")
    }


# --- lengths


@given(st.lists(st.integers(1, 60), min_size=50, max_size=200), st.floats(0, 0.3))
@settings(max_examples=30)
def test_a_tail_holds_no_more_than_its_share(lengths, tail):
    captions = [caption(str(n), " ".join(["word"] * length)) for n, length in enumerate(lengths)]
    found = failed(*captions, on=frozenset({"too_short", "too_long"}), tail=tail, shortest=0)
    for name in ("too_short", "too_long"):
        assert sum(name in names for names in found.values()) <= tail * len(lengths)
    texts = {length for length, names in zip(lengths, found.values(), strict=True) if names}
    kept = {length for length, names in zip(lengths, found.values(), strict=True) if not names}
    # A length is in a tail or is not: what was left out is shorter or longer than all that was kept.
    assert all(length < min(kept) or length > max(kept) for length in texts)


def test_tails_are_those_of_each_prompt_and_need_enough_captions():
    def of(prompt, count, length):
        return [
            caption(f"{prompt}{n}", " ".join(["word"] * (length + n)), prompt=prompt) for n in range(count)
        ]

    short_ones, long_ones, few = of("short", 60, 10), of("long", 60, 200), of("few", 49, 1)
    found = failed(*short_ones, *long_ones, *few, on=frozenset({"too_short", "too_long"}), shortest=0)
    assert {id_ for id_, names in found.items() if names == ("too_short",)} == {"short0", "long0"}
    assert {id_ for id_, names in found.items() if names == ("too_long",)} == {"short59", "long59"}


def test_a_chinese_character_is_a_word():
    assert words_of("她微笑着 says “It's O.K.”!") == ["她", "微", "笑", "着", "says", "it's", "o", "k"]


# --- texts


@given(st.lists(st.sampled_from(["he", "she", "smiles", "at", "it", "and", "then", "laughs"]), min_size=5))
def test_what_is_said_three_times_over_is_repetitive(words):
    text = " ".join(words)
    assert is_repetitive(f"{text}. {text}. {text}.", repeated=1.0)
    assert is_repetitive(" ".join([text] * 6), repeated=0.6)


def test_prose_is_not_repetitive():
    assert not is_repetitive(GOOD, repeated=0.0)


@pytest.mark.parametrize(
    "text",
    [
        "As an AI language model I do not feel.",
        "Unfortunately I cannot view the clip. The person may be sad.",
        "I am unable to determine the emotion of the person.",
        "No video was provided, so the person cannot be described.",
        "Please provide the frames of the clip.",
        "I don’t have access to the video.",
        "抱歉，我无法查看这段视频。",
        "作为一个AI，我看不到画面。",
        "您没有提供视频。",
    ],
)
def test_a_refusal_is_known_in_both_languages(text):
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [GOOD, "She says that she cannot see him any more, and cries.", "他看起来很难过，无法继续说下去。"],
)
def test_what_the_person_cannot_do_is_no_refusal(text):
    assert not is_refusal(text)


@pytest.mark.parametrize(
    ("text", "language", "other"),
    [
        (GOOD, "en", False),
        (GOOD, "zh", True),
        ("她笑了，看起来很高兴。", "zh", False),
        ("她笑了，看起来很高兴。", "en", True),
        ("She 微笑着看着他 and then 她就离开了房间", "en", True),
        ("happy, relieved", "en", False),
        ("Die Frau lächelt und schaut zur Seite, ihre Augen sind offen und sie wirkt froh.", "en", True),
        ("La femme sourit et regarde sur le côté, et elle semble très heureuse de le voir.", "fr", False),
        (GOOD, "fr", True),
        ("...", "en", False),
    ],
)  # fmt: skip
def test_the_language_of_a_text(text, language, other):
    assert is_other_language(text, language) is other


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        (GOOD, True),
        ("The voice is low and slow.", True),
        ("A face was found in 4 frames.", True),
        ("No face was found in 4 frames. There may be none.", False),
        ("There is no person in the picture, and nobody speaks.", False),
        ("Nobody speaks at first; then a man enters.", True),
        ("一位女士微笑着。", True),
        ("画面中没有人物，只有大海。", False),
        ("It is raining on the harbour.", False),
    ],
)
def test_whether_a_person_is_mentioned(text, mentions):
    assert mentions_person(text) is mentions


def test_real_descriptions_pass_the_filters_of_texts():
    folder = Path(os.environ.get("EMO_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "ovmerd" / "reasons.parquet").exists():
        pytest.skip(f"the test data is not at {folder}")
    import pyarrow.parquet as pq

    rows = pq.read_table(folder / "ovmerd" / "reasons.parquet").to_pylist()
    for language, column in (("en", "english"), ("zh", "chinese")):
        captions = [caption(str(n), row[column], video_id=str(n)) for n, row in enumerate(rows)]
        found = failed(*captions, language=language, tail=0.0, longest=1000)
        # The two that fail do repeat themselves.
        assert sum(bool(names) for names in found.values()) <= 2
        assert {name for names in found.values() for name in names} <= {"repetition"}


# --- near-duplicates

_words = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f"]), min_size=1, max_size=12)
texts = st.lists(_words, min_size=1, max_size=12)


@given(texts, st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0]))
def test_no_two_that_stay_are_near_duplicates_and_each_that_goes_has_one_that_stays(words, threshold):
    dropped = set(near_duplicates(words, threshold))
    sets = [runs(each) for each in words]
    kept = [place for place in range(len(words)) if place not in dropped]
    for number, one in enumerate(kept):
        assert all(similarity(sets[one], sets[other]) < threshold for other in kept[number + 1 :])
    for place in dropped:
        assert any(similarity(sets[place], sets[other]) >= threshold for other in kept if other < place)


def test_near_duplicates_are_looked_for_within_a_clip_or_everywhere():
    captions = [caption("a", video_id="v"), caption("b", video_id="v"), caption("c", video_id="w")]
    assert failed(*captions) == {"a": (), "b": ("near_duplicate",), "c": ()}
    assert failed(*captions, duplicates_among="all") == {
        "a": (),
        "b": ("near_duplicate",),
        "c": ("near_duplicate",),
    }


def test_a_caption_that_fails_otherwise_takes_nobodys_place():
    assert failed(caption("a", cut_off=True), caption("b")) == {"a": ("cut_off",), "b": ()}


# --- gold and crowd


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["happy"], "positive"),
        (["sad", "angry"], "negative"),
        (["happy", "sad"], "neutral"),
        (["zorbly"], None),
        ([], None),
    ],
)
def test_the_polarity_of_a_label_set(labels, expected):
    assert polarity(labels, margin=0.2) == expected


@pytest.mark.parametrize(
    ("labels", "gold", "contradiction"),
    [
        (["happy"], "negative", True),
        (["sad"], "positive", True),
        (["happy"], "positive", False),
        (["happy"], "neutral", False),
        (["happy"], None, False),
        ([], "negative", False),
        (["zorbly"], "negative", False),
    ],
)
def test_only_the_opposite_polarity_contradicts(labels, gold, contradiction):
    assert contradicts(labels, gold, margin=0.1) is contradiction
    evidence = Evidence(gold={"v": gold} if gold else {})
    found = failed(caption(labels=tuple(labels)), evidence=evidence)
    assert found == {"a": ("contradiction",) if contradiction else ()}


def crowd(*voices):
    return Evidence(opinions={"v": {f"voter{n}": [list(labels)] for n, labels in enumerate(voices)}})


@pytest.mark.parametrize(
    ("labels", "voices", "quality"),
    [
        (["happy"], [["joyful"], ["delighted"]], 1.0),
        (["happy"], [["sad"], ["angry"]], 0.0),
        (["happy"], [["joyful"], ["angry"]], 0.5),
        (["happy"], [["joyful"], []], None),  # one voice is no crowd
        ([], [["joyful"], ["angry"]], None),
    ],
)
def test_the_crowd_is_the_other_experts_that_name_an_emotion(labels, voices, quality):
    verdict = judge([caption(labels=tuple(labels))], crowd(*voices), Rules())["a"]
    assert verdict.quality == quality
    assert verdict.failed == (("crowd",) if quality == 0.0 else ())


def test_an_expert_has_one_voice_whatever_it_wrote_and_none_on_itself():
    captions = [caption(f"two{n}", f"{GOOD} {n}", expert="two", labels=("sad",)) for n in range(5)]
    captions += [caption("three", expert="three", labels=("happy",)), caption("mine", labels=("happy",))]
    assert judge(captions, Evidence(), Rules())["mine"].quality == 0.5


def test_what_an_expert_says_once_in_many_captions_is_not_its_voice():
    said = [("angry",), ("sad",), ("sad",), ("sad",)]
    captions = [caption(f"two{n}", expert="two", labels=labels) for n, labels in enumerate(said)]
    captions += [caption("three", expert="three", labels=("angry",)), caption("mine", labels=("angry",))]
    assert judge(captions, Evidence(), Rules())["mine"].quality == 0.5


def test_of_two_near_duplicates_the_one_with_which_the_crowd_agrees_stays():
    evidence = crowd(["joyful"], ["delighted"], ["angry"])
    captions = [caption("a", labels=("angry", "happy")), caption("b", labels=("happy",))]
    assert failed(*captions, evidence=evidence) == {"a": (), "b": ("near_duplicate",)}
    captions = [caption("a", labels=("angry",)), caption("b", labels=("happy",))]
    assert failed(*captions, evidence=evidence, crowd_share=0.0) == {"a": ("near_duplicate",), "b": ()}


written = st.sampled_from(
    [GOOD, GOOD + " Then she leaves.", "He shouts at the waiter, red in the face, and feels angry now."]
)
candidates = st.lists(
    st.builds(
        Candidate,
        id=st.integers(0, 30).map(str),
        video_id=st.sampled_from(["v", "w"]),
        expert=st.sampled_from(["one", "two", "three"]),
        prompt=st.just("person"),
        text=written,
        labels=st.lists(st.sampled_from(["happy", "sad", "angry", "zorbly"]), max_size=2).map(tuple),
        media=st.booleans(),
    ),
    unique_by=lambda one: one.id,
    max_size=12,
)


@given(candidates, st.randoms(use_true_random=False), st.sampled_from(["clip", "all"]))
@settings(max_examples=60)
def test_the_order_of_the_captions_decides_nothing(captions, random, among):
    rules = Rules(duplicates_among=among)
    evidence = Evidence(gold={"v": "positive"})
    shuffled = random.sample(captions, len(captions))
    assert judge(captions, evidence, rules) == judge(shuffled, evidence, rules)


@given(candidates)
@settings(max_examples=40)
def test_with_every_filter_off_everything_passes(captions):
    verdicts = judge(captions, Evidence(gold={"v": "negative"}), Rules(on=frozenset()))
    assert verdicts.keys() == {one.id for one in captions}
    assert not any(verdict.failed for verdict in verdicts.values())


def test_filters_that_have_nothing_to_judge_by_say_so():
    assert inapplicable(Rules(), Evidence(), ["one"]) == {
        "contradiction": "no gold was given",
        "crowd": "1 experts; it takes 2 beside the caption's own",
    }
    assert inapplicable(Rules(), Evidence(gold={}), ["one", "two", "three"]) == {}
    assert inapplicable(Rules(on=frozenset()), Evidence(), []) == {}
