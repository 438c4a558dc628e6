"""Which clips the votes close is a function of the votes that are due, and of nothing else."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo.cojudgment.closing import decide, open_after, undecided
from emo.cojudgment.rounds import Rounds
from emo.errors import InputError

SAMPLES = {"a": 4, "b": 1}
# a twice; then a three times; then a four times and b once.
ROUNDS = Rounds.of([{"a": 2}, {"a": 3}, {"a": 4, "b": 1}], SAMPLES, 0.4, "words")
ON_FAMILIES = replace(ROUNDS, agree_on="families")


def answers(found):
    """Descriptions and votes of {(clip, expert, sample): labels, or None for one that failed}."""
    keys = list(found)
    columns = {
        "video_id": pa.array([clip for clip, _, _ in keys], pa.string()),
        "expert": pa.array([expert for _, expert, _ in keys], pa.string()),
        "sample": pa.array([sample for _, _, sample in keys], pa.int32()),
        "status": pa.array(["failed" if found[key] is None else "ok" for key in keys], pa.string()),
    }
    labels = pa.array([found[key] for key in keys], pa.list_(pa.string()))
    return pa.table(columns), pa.table({**columns, "labels": labels})


def decided(found, clips=None, rounds=ROUNDS):
    described, votes = answers(found)
    ids = pa.array(sorted({clip for clip, _, _ in found} if clips is None else clips), pa.string())
    rows = decide(ids, described, votes, rounds).to_pylist()
    return {row["video_id"]: (row["round_agreement"], row["closed_in"]) for row in rows}


def test_a_clip_whose_first_answers_agree_is_closed_and_one_whose_do_not_goes_on():
    found = {
        ("x", "a", 0): ["happy"],
        ("x", "a", 1): ["glad"],
        ("y", "a", 0): ["sad"],
        ("y", "a", 1): ["angry"],
    }
    assert decided(found) == {"x": ([1.0], 1), "y": ([0.0], None)}
    third = {**found, ("y", "a", 2): ["sad"]}
    # One of the two others, twice; none, once.
    assert decided(third)["y"] == ([0.0, pytest.approx(1 / 3)], None)


def test_families_close_what_near_words_leave_open_and_first_labels_count_most():
    found = {("x", "a", 0): ["happy"], ("x", "a", 1): ["amused"]}
    found |= {("y", "a", 0): ["sad"], ("y", "a", 1): ["angry"]}
    assert decided(found) == {"x": ([0.0], None), "y": ([0.0], None)}
    assert decided(found, rounds=ON_FAMILIES) == {"x": ([1.0], 1), "y": ([0.0], None)}
    # Two words of a family are one; a word that has no family stands for itself.
    some = {("x", "a", 0): ["happy", "amused", "blorpish"], ("x", "a", 1): ["glad", "angry", "blorpish"]}
    # Of each voter joy counts 1 and the third word a third; the anger of one counts a half and is not shared.
    assert decided(some, rounds=ON_FAMILIES) == {"x": ([pytest.approx(16 / 19)], 1)}
    second = {("x", "a", 0): ["sad", "happy"], ("x", "a", 1): ["angry", "amused"]}
    assert decided(second, rounds=ON_FAMILIES) == {"x": ([pytest.approx(1 / 3)], None)}
    assert decided({**some, ("x", "a", 1): []}, rounds=ON_FAMILIES) == {"x": ([None], None)}


def test_the_agreement_of_a_clip_is_the_same_to_the_last_bit_beside_other_clips():
    given = (
        ["disgusted", "happy", "surprised", "zork", "bored"],
        ["sad", "disgusted", "zork", "bored", "angry"],
        ["disgusted", "zork", "bored", "afraid", "surprised"],
    )
    found = {("x", "a", number): labels for number, labels in enumerate(given)}
    all_asked = replace(ON_FAMILIES, enough=0.99)
    alone = decided(found, rounds=all_asked)["x"]
    assert len(alone[0]) == 2
    # Its words come first of their families, so the families are counted in another order.
    beside = {("y", "a", 0): ["bitter", "aghast", "amused", "annoyed", "admiring"]}
    assert decided({**found, **beside}, rounds=all_asked)["x"] == alone
    # Just enough is enough: of each voter the first label is shared, 1 of 1 and a half.
    exact = {("x", "a", 0): ["happy", "sad"], ("x", "a", 1): ["glad", "angry"]}
    assert decided(exact, rounds=replace(ON_FAMILIES, enough=2 / 3))["x"] == ([2 / 3], 1)


def test_rounds_that_agree_on_words_are_marked_as_before_there_was_a_choice():
    assert ROUNDS.sha == "9f0e4ae8"
    assert ON_FAMILIES.sha == Rounds(ROUNDS.by_then, 0.4).sha != ROUNDS.sha


def test_a_round_is_not_over_before_every_answer_that_is_due_was_read():
    assert decided({("x", "a", 0): ["happy"]}) == {"x": ([], None)}
    assert decided({}, clips=["x"]) == {"x": ([], None)}
    # Of the last round one of the two experts is missing.
    found = {("x", "a", number): [word] for number, word in enumerate(("sad", "angry", "calm", "proud"))}
    assert decided(found)["x"] == ([0.0, 0.0], None)
    assert decided({**found, ("x", "b", 0): ["sad"]})["x"][0] == [0.0, 0.0, pytest.approx(2 / 20)]


def test_answers_that_are_not_due_neither_close_a_clip_nor_open_it():
    first = {("x", "a", 0): ["sad"], ("x", "a", 1): ["angry"], ("y", "a", 0): ["sad"], ("y", "a", 1): ["sad"]}
    late = {("x", "b", 0): ["sad"], ("x", "a", 3): ["sad"], ("y", "b", 0): ["calm"], ("y", "a", 2): ["proud"]}
    assert decided({**first, **late}) == decided(first)


def test_an_answer_that_failed_is_no_voter_and_keeps_nobody_waiting():
    found = {("x", "a", 0): ["sad"], ("x", "a", 1): None}
    # One voter agrees with none: the clip goes on.
    assert decided(found)["x"] == ([None], None)
    assert decided({**found, ("x", "a", 2): ["sad"]})["x"] == ([None, 1.0], 2)


def test_an_expert_that_failed_on_a_clip_is_not_waited_for_any_more():
    failed = {("x", "a", 0): None, ("x", "a", 1): None}
    assert decided(failed)["x"] == ([None, None], None)
    assert decided({**failed, ("x", "b", 0): ["sad"]})["x"] == ([None, None, None], None)


def test_silent_answers_close_nothing():
    assert decided({("x", "a", 0): [], ("x", "a", 1): []})["x"] == ([None], None)


def test_open_and_undecided_clips():
    found = {("closed", "a", 0): ["sad"], ("closed", "a", 1): ["sad"]}
    found |= {("open", "a", 0): ["sad"], ("open", "a", 1): ["calm"], ("new", "a", 0): ["sad"]}
    described, votes = answers(found)
    table = decide(pa.array(["closed", "new", "open"]), described, votes, ROUNDS)
    assert open_after(table, 1)["video_id"].to_pylist() == ["open"]
    assert undecided(table, 1)["video_id"].to_pylist() == ["new"]
    assert undecided(table, 2)["video_id"].to_pylist() == ["new", "open"]
    assert open_after(table, 2).num_rows == 0


words = st.lists(st.sampled_from(["happy", "glad", "sad", "angry", "zork"]), max_size=3) | st.none()
voters = [*(("a", number) for number in range(4)), ("b", 0)]
votes_of_clips = st.dictionaries(
    st.tuples(st.sampled_from(["x", "y", "z"]), st.sampled_from(voters)), words, min_size=1
).map(lambda given: {(clip, *voter): labels for (clip, voter), labels in given.items()})


@settings(deadline=None, max_examples=25)
@given(votes_of_clips, st.randoms(use_true_random=False), st.sampled_from([ROUNDS, ON_FAMILIES]))
def test_the_decision_depends_neither_on_the_order_of_the_rows_nor_on_the_other_clips(found, random, rounds):
    order = list(found)
    random.shuffle(order)
    whole = decided(found, rounds=rounds)
    assert decided({key: found[key] for key in order}, rounds=rounds) == whole
    for clip in whole:
        alone = {key: labels for key, labels in found.items() if key[0] == clip}
        assert decided(alone, rounds=rounds) == {clip: whole[clip]}


@settings(deadline=None, max_examples=25)
@given(votes_of_clips, st.randoms(use_true_random=False), st.sampled_from([ROUNDS, ON_FAMILIES]))
def test_votes_that_come_one_after_the_other_never_change_what_a_round_decided(found, random, rounds):
    order = list(found)
    random.shuffle(order)
    came = order[: random.randrange(len(order))]
    before = decided({key: found[key] for key in came}, clips=["x", "y", "z"], rounds=rounds)
    now = decided(found, clips=["x", "y", "z"], rounds=rounds)
    for clip, (agreements, closed_in) in before.items():
        if closed_in is not None:
            assert now[clip] == (agreements, closed_in)
        assert now[clip][0][: len(agreements)] == agreements


@settings(deadline=None, max_examples=10)
@given(st.floats(0.01, 1.0), st.sampled_from(["words", "families"]))
def test_with_every_answer_there_a_higher_bound_asks_no_less(bound, agree_on):
    random = np.random.default_rng(0)
    found = {
        (f"clip{clip}", expert, sample): list(random.choice(["happy", "sad", "angry"], 2))
        for clip in range(20)
        for expert, sample in voters
    }
    described, votes = answers(found)
    ids = pa.array(sorted({clip for clip, _, _ in found}))
    counts = []
    for enough in (bound / 2, bound):
        rounds = Rounds.of([{"a": 2}, {"a": 3}, {"a": 4, "b": 1}], SAMPLES, enough, agree_on)
        closed_in = decide(ids, described, votes, rounds).column("closed_in").to_pylist()
        counts.append(sum(rounds.answers(number or len(rounds)) for number in closed_in))
    assert 2 * 20 <= counts[0] <= counts[1] <= 5 * 20


def test_the_numbers_of_a_round_go_on_where_the_one_before_ended():
    assert [ROUNDS.numbers("a", number) for number in (1, 2, 3)] == [range(2), range(2, 3), range(3, 4)]
    assert [list(ROUNDS.numbers("b", number)) for number in (1, 2, 3)] == [[], [], [0]]
    assert (ROUNDS.first("a"), ROUNDS.first("b")) == (1, 3)
    assert [ROUNDS.answers(number) for number in (1, 2, 3)] == [2, 3, 5]


def test_who_is_named_again_with_the_same_number_is_asked_nothing_more():
    assert Rounds.of([{"a": 2, "b": 1}, {"a": 4, "b": 1}], SAMPLES, 0.4).numbers("b", 2) == range(1, 1)


def test_who_is_named_by_no_round_answers_in_the_first():
    rounds = Rounds.of([{"a": 2}, {"a": 4}], SAMPLES, 0.4)
    assert [dict(one) for one in rounds.by_then] == [{"b": 1, "a": 2}, {"b": 1, "a": 4}]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([{"a": 2}], "at least two"),
        ([{"a": 2}, {"c": 1}], "no expert is named 'c'; the experts are a, b"),
        ([{"a": 2}, {"a": 2}], "round 2 asks for no further answer"),
        ([{"a": 3}, {"a": 2}], "round 2 has 2 answers of a, and there are 3 before it"),
        ([{"a": 2, "b": 1}, {}], "round 2 asks for no further answer"),
        ([{"a": 0}, {"a": 2}], "round 1 has 0 answers of a, and there are 0 before it"),
        ([{"a": 1}, {"a": 2, "b": 1}], "the first round has one answer"),
    ],
)
def test_rounds_that_are_none_are_refused(given, says):
    with pytest.raises(InputError, match=says):
        Rounds.of(given, SAMPLES, 0.4)
