import pytest
from hypothesis import given
from hypothesis import strategies as st

from emo.errors import InputError
from emo.review.figures import drawn
from emo.review.queue import MIXED, RANDOM, Candidate, is_blind, queue


def clip(number, agreement=0.5, conflict=None, labels=("happy",), recording=None):
    return Candidate(f"{recording or number}/{number:04}", agreement, conflict, tuple(labels))


def ids(asked):
    return [one.video_id for one in asked]


def test_the_uncertain_come_first_and_those_of_one_voter_never():
    clips = [clip(1, 0.9), clip(2, 0.1), clip(3, None), clip(4, 0.5)]
    assert ids(queue("uncertain", clips, 10)) == ["2/0002", "4/0004", "1/0001"]


def test_conflict_rare_and_expert_order_by_what_they_say():
    clips = [
        clip(1, conflict=0.2),
        clip(2, conflict=0.8, labels=("jealous",)),
        clip(3, labels=("happy", "glad")),
    ]
    assert ids(queue("conflict", clips, 10)) == ["2/0002", "1/0001"]
    assert ids(queue("rare", clips, 1)) == ["2/0002"]
    assert ids(queue("expert:voice", clips, 10, doubt={"3/0003": 0.1, "1/0001": 0.9})) == ["1/0001", "3/0003"]


def test_an_unknown_queue_is_refused():
    with pytest.raises(InputError, match="no queue 'best'"):
        queue("best", [clip(1)], 1)


@given(
    st.lists(st.tuples(st.integers(0, 300), st.floats(0, 1), st.floats(0, 1)), unique_by=lambda row: row[0]),
    st.integers(1, 60),
    st.integers(1, 5),
)
def test_mixed_keeps_a_fair_random_part_whatever_the_others_take(rows, size, most):
    clips = [clip(number, agreement, conflict, recording=number % 7) for number, agreement, conflict in rows]
    found = queue(MIXED, clips, size, per_recording=most)
    assert len(set(ids(found))) == len(found) <= size
    at_random = [one.video_id for one in found if one.queue == RANDOM]
    # The random part is the start of the random order, so what is uncertain has no better chance in it.
    assert at_random == sorted((one.video_id for one in clips), key=drawn)[: len(at_random)]
    assert len(at_random) >= min(len(clips), size) // 4
    others = [one.video_id.split("/")[0] for one in found if one.queue != RANDOM]
    assert all(others.count(recording) <= most for recording in others)


def test_mixed_is_half_uncertain_a_quarter_conflict_a_quarter_random():
    clips = [clip(number, number / 1000, number / 1000) for number in range(1000)]
    kinds = [one.queue for one in queue(MIXED, clips, 100)]
    assert (kinds.count("uncertain"), kinds.count("conflict"), kinds.count(RANDOM)) == (50, 25, 25)


def test_what_is_done_is_never_asked_again():
    clips = [clip(number) for number in range(10)]
    first = ids(queue(MIXED, clips, 5))
    assert not set(first) & set(ids(queue(MIXED, clips, 10, done=first)))


def test_a_share_of_the_clips_is_blind_for_everyone_alike():
    blind = [is_blind(str(number), 0.3) for number in range(2000)]
    assert 0.25 < sum(blind) / 2000 < 0.35
    assert blind == [is_blind(str(number), 0.3) for number in range(2000)]
    assert not any(is_blind(str(number), 0) for number in range(100))
