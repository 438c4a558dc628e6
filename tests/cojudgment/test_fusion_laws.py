"""What holds of the fusion for any votes and any rule."""

import random

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from cojudgment_votes import judge, votes_of
from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.rule import TRADE_OFFS, Learned, Rule
from emo.vocabulary import normalise

WORDS = [
    "happy",
    "happiness",
    "joyful",
    "afraid",
    "scared",
    "sad",
    "angry",
    "furious",
    "anxious",
    "worried",
    "blorpish",
    "焦虑",
]
label_sets = st.lists(st.sampled_from(WORDS), max_size=4, unique=True)
speaking = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4, unique=True)
clips = st.lists(label_sets, min_size=1, max_size=8)
LEARNED = Learned(
    "calibrated",
    weights={f"expert-{number:02d}": 1.0 + number % 3 for number in range(10)},
    bars={"happiness": 0.4, "sadness": 3.0, "blorpish": 5.0, "anxiety": 1.5},
)
rules = st.builds(
    Rule,
    share=st.sampled_from([*TRADE_OFFS.values(), 0.0, 1.0]),
    learned=st.sampled_from([None, LEARNED]),
    priors=st.dictionaries(
        st.sampled_from([f"expert-{number:02d}" for number in range(9)]),
        st.sampled_from([0.2, 0.6, 2.0, 5.0]),
    ),
)


@given(st.lists(clips, min_size=1, max_size=4), st.randoms(use_true_random=False), rules)
def test_the_order_of_rows_and_of_clips_does_not_matter(data, shuffle: random.Random, rule):
    table = pa.concat_tables([votes_of(*voters, video_id=f"clip-{n}") for n, voters in enumerate(data)])
    rows = list(range(table.num_rows))
    shuffle.shuffle(rows)
    assert judge_votes(table.take(rows), rule).equals(judge_votes(table, rule))


@given(st.lists(clips, min_size=2, max_size=4), rules)
def test_clips_judged_together_are_judged_as_one_by_one(data, rule):
    each = [votes_of(*voters, video_id=f"clip-{n}") for n, voters in enumerate(data)]
    together = judge_votes(pa.concat_tables(each), rule)
    assert together.equals(pa.concat_tables([judge_votes(table, rule) for table in each]))


@given(clips, label_sets, rules)
def test_adding_a_voter_who_agrees_never_removes_a_label(voters, extra, rule):
    before, after = judge(*voters, rule=rule)["labels"], judge(*voters, extra, rule=rule)["labels"]
    assert set(before) & set(extra) <= set(after)


@given(clips, rules)
def test_adding_a_voter_who_says_the_consensus_keeps_the_consensus(voters, rule):
    before = judge(*voters, rule=rule)["labels"]
    assert set(before) <= set(judge(*voters, before, rule=rule)["labels"])


@given(speaking, rules)
def test_one_voter_keeps_its_labels(labels, rule):
    row = judge(labels, rule=rule)
    assert set(row["labels"]) == {normalise(label) for label in labels}
    assert row["scores"] == sorted(row["scores"], reverse=True)
    assert row["scores"][0] == 1.0


@given(clips, rules)
def test_a_silent_voter_changes_nothing(voters, rule):
    assert judge(*voters, rule=rule) == judge(*voters, [], rule=rule)


@given(clips, rules)
def test_a_failed_expert_changes_nothing(voters, rule):
    status = ["ok"] * len(voters)
    more = judge(*voters, ["sad", "angry"], rule=rule, status=[*status, "failed"])
    assert judge(*voters, rule=rule) == more


@given(clips)
def test_the_evidence_names_every_voter_and_starts_with_the_labels(voters):
    row = judge(*voters)
    assert [entry["label"] for entry in row["evidence"]][: len(row["labels"])] == row["labels"]
    assert [entry["score"] for entry in row["evidence"]][: len(row["labels"])] == row["scores"]
    named = {voter for entry in row["evidence"] for voter in entry["voters"]}
    assert named == {f"expert-{number:02d}#0" for number, labels in enumerate(voters) if labels}


@given(clips)
def test_a_strength_of_one_is_that_of_a_first_label(voters):
    voters = [labels[:1] for labels in voters]
    strengths = pa.array([[1.0] * len(labels) for labels in voters], pa.list_(pa.float64()))
    assert judge(*voters, strengths=strengths) == judge(*voters)
