"""The numbers that the fusion works on, against the same counted one by one."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from emo.arrays import distinct, starts_of
from emo.cojudgment.ballot import read_ballot
from emo.cojudgment.weighing import _leads_or_stands_beside, best_of_group

numbers = st.lists(st.integers(0, 5), max_size=40)
WORDS = ("happy", "joyful", "glad", "very happy", "sad", "sorrowful", "angry", "wistful")
votes = st.lists(
    st.tuples(st.sampled_from("xyz"), st.sampled_from("ab"), st.lists(st.sampled_from(WORDS), max_size=5)),
    max_size=12,
)


def table_of(rows):
    """Each row with a sample number of its own."""
    return pa.table(
        {
            "video_id": pa.array([clip for clip, _, _ in rows], pa.string()),
            "expert": pa.array([expert for _, expert, _ in rows], pa.string()),
            "sample": pa.array(range(len(rows)), pa.int32()),
            "labels": pa.array([labels for _, _, labels in rows], pa.list_(pa.string())),
        }
    )


@given(numbers)
def test_distinct_numbers_are_sorted_and_start_a_run_each(values):
    assert distinct(np.array(values, np.int64)).tolist() == sorted(set(values))
    assert starts_of(np.array(sorted(values), np.int64)).sum() == len(set(values))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-(2**62), 2**62)), max_size=40))
def test_the_best_of_a_group_is_the_first_of_those_with_the_highest_value(entries):
    group, value = (np.array([entry[at] for entry in entries], np.int64) for at in (0, 1))
    first = {}
    for place, (of, much) in enumerate(entries):
        if of not in first or much > entries[first[of]][1]:
            first[of] = place
    assert np.flatnonzero(best_of_group(group, value)).tolist() == sorted(first.values())


@given(votes)
def test_a_mark_is_a_voter_and_what_it_gave_once_with_its_strongest_strength(rows):
    ballot = read_ballot(table_of(rows), worth=lambda place: 1.0 / (1 + place))
    words = ballot.words.to_pylist()
    strongest = {}
    for row, given_labels in enumerate(ballot.table["labels"].to_pylist()):
        for place, label in enumerate(given_labels):
            meaning = int(ballot.cluster_of[words.index(label)])
            strongest.setdefault((row, meaning), 1.0 / (1 + place))
    marks = ballot.meant
    what = marks.group_what[marks.group].tolist()
    assert (
        dict(zip(zip(marks.row.tolist(), what, strict=True), marks.strength.tolist(), strict=True))
        == strongest
    )
    assert len(marks.row) == len(strongest)
    # The look-up of forms beside others relies on it.
    assert sorted(zip(marks.row.tolist(), marks.group.tolist(), strict=True)) == list(
        zip(marks.row.tolist(), marks.group.tolist(), strict=True)
    )
    assert marks.group_clip[marks.group].tolist() == ballot.clip[marks.row].tolist()


@given(votes)
def test_a_form_stands_beside_the_one_that_leads_where_a_voter_gave_both(rows):
    ballot = read_ballot(table_of(rows))
    said, meant, words = ballot.said, ballot.meant, ballot.written
    form = said.find(words.group_clip, ballot.form_of[words.group_what])
    cluster = meant.find(words.group_clip, ballot.cluster_of[words.group_what])
    leads = best_of_group(cluster, np.zeros(len(cluster), np.int64))
    found = _leads_or_stands_beside(SimpleNamespace(said=said, meant=meant), form, cluster, leads)
    leader = dict(zip(cluster[leads].tolist(), form[leads].tolist(), strict=True))
    gave = {}
    for row, group in zip(said.row.tolist(), said.group.tolist(), strict=True):
        gave.setdefault(group, set()).add(row)
    for one, of in zip(form.tolist(), cluster.tolist(), strict=True):
        assert found[one] == bool(gave[one] & gave[leader[of]])
