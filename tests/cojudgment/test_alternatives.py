"""Either/or: one vote for one of several labels, not one for each."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emo import extraction
from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.rule import TRADE_OFFS, Learned, Rule
from emo.errors import InputError
from emo.jobs.extract import ExtractWorker
from emo.store.tables import DESCRIPTIONS

WORDS = ["happy", "joyful", "excited", "sad", "tired", "angry", "furious", "anxious", "blorpish"]


def votes_of(*voters, alternatives=None):
    return pa.table(
        {
            "video_id": ["clip"] * len(voters),
            "expert": [f"expert-{number:02d}" for number in range(len(voters))],
            "sample": pa.array([0] * len(voters), pa.int32()),
            "labels": pa.array(voters, pa.list_(pa.string())),
            "alternatives": pa.array(alternatives or [None] * len(voters), pa.list_(pa.int32())),
        }
    )


def judge(*voters, alternatives=None, rule=None):
    [row] = judge_votes(votes_of(*voters, alternatives=alternatives), rule or Rule()).to_pylist()
    return row


def scores(row):
    return {entry["label"]: round(entry["score"], 4) for entry in row["evidence"]}


def test_the_alternative_that_another_voter_gives_counts():
    row = judge(["angry", "excited"], ["angry"], alternatives=[[1, 1], None])
    assert scores(row) == {"angry": 1.0}
    assert row["evidence"][0]["voters"] == ["expert-00#0", "expert-01#0"]
    assert row["agreement"] == 1.0


def test_a_related_label_tells_alternatives_apart_too():
    assert judge(["angry", "excited"], ["joyful"], alternatives=[[1, 1], None])["labels"] == [
        "excited",
        "joyful",
    ]


def test_where_nothing_else_does_the_valence_tells_them_apart():
    row = judge(["tired", "excited"], ["proud"], alternatives=[[1, 1], None])
    assert "tired" not in scores(row)


def test_where_nobody_tells_them_apart_each_has_its_part_of_the_mark():
    row = judge(["angry", "excited"], ["blorpish"], alternatives=[[1, 1], None])
    assert scores(row) == {"blorpish": 0.5, "angry": 0.25, "excited": 0.25}
    row = judge(["sad", "angry", "tired"], alternatives=[[1, 1, 1]])
    assert set(scores(row).values()) == {round(1 / 3, 4)}


def test_two_words_for_the_same_are_one_alternative():
    row = judge(["afraid", "scared", "sad"], alternatives=[[1, 1, 1]])
    assert scores(row) == {"afraid": 0.5, "scared": 0.5, "sad": 0.5}


def test_what_two_guesses_have_in_common_counts():
    row = judge(["angry", "excited"], ["excited", "surprised"], alternatives=[[1, 1], [1, 1]])
    assert row["labels"] == ["excited"]


def test_alternatives_share_one_place_in_the_list():
    row = judge(["angry", "excited", "proud"], ["excited"], alternatives=[[1, 1, 0], None])
    assert scores(row) == {"excited": 1.0, "proud": 0.25}


def test_several_groups_of_one_voter_are_decided_each_by_itself():
    row = judge(
        ["sad", "angry", "tired", "excited"], ["angry"], ["tired"], alternatives=[[1, 1, 2, 2], None, None]
    )
    assert set(scores(row)) == {"angry", "tired"}


def test_a_table_without_the_column_has_no_alternatives():
    table = votes_of(["angry", "excited"], ["happy"])
    assert judge_votes(table.drop_columns("alternatives"), Rule()).equals(judge_votes(table, Rule()))


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        (pa.array([[1]], pa.list_(pa.int32())), "more or fewer numbers than labels"),
        (pa.array([[1, -1]], pa.list_(pa.int32())), "has -1; expected a number from 0"),
        (pa.array([[1, 2**40]], pa.list_(pa.int64())), "has 1099511627776; expected a number from 0"),
        (pa.array([[1, None]], pa.list_(pa.int32())), "a list with a null"),
        (pa.array([["a", "b"]]), "expected a list of integers"),
    ],
)
def test_alternatives_that_are_none_are_refused(column, fault):
    table = votes_of(["angry", "excited"]).drop_columns("alternatives").append_column("alternatives", column)
    with pytest.raises(InputError, match=fault):
        judge_votes(table, Rule())


@st.composite
def guessing(draw):
    """A voter's labels and the numbers of their alternatives."""
    labels = draw(st.lists(st.sampled_from(WORDS), max_size=4, unique=True))
    numbers = draw(st.lists(st.sampled_from([0, 0, 1, 1, 2]), min_size=len(labels), max_size=len(labels)))
    return labels, numbers


rules = st.builds(
    Rule,
    share=st.sampled_from([*TRADE_OFFS.values(), 0.0, 1.0]),
    learned=st.sampled_from([None, Learned("given", {f"expert-{n:02d}": 0.5 + n % 3 for n in range(10)})]),
    priors=st.dictionaries(
        st.sampled_from([f"expert-{n:02d}" for n in range(8)]), st.sampled_from([0.3, 0.7, 1.5, 4.0])
    ),
)


@given(
    st.lists(guessing(), min_size=1, max_size=6),
    st.lists(st.sampled_from(WORDS), max_size=4, unique=True),
    rules,
)
def test_one_more_voter_never_removes_a_label_that_it_gives(voters, extra, rule):
    labels, numbers = ([voter[part] for voter in voters] for part in (0, 1))
    before = judge(*labels, alternatives=numbers, rule=rule)["labels"]
    after = judge(*labels, extra, alternatives=[*numbers, None], rule=rule)["labels"]
    assert set(before) & set(extra) <= set(after)


@given(st.lists(guessing(), min_size=1, max_size=6), rules, st.permutations(range(6)))
def test_neither_the_order_of_rows_nor_other_clips_matter(voters, rule, order):
    labels, numbers = ([voter[part] for voter in voters] for part in (0, 1))
    table = votes_of(*labels, alternatives=numbers)
    other = table.set_column(0, "video_id", pa.array(["other"] * table.num_rows))
    shuffled = table.take([place for place in order if place < table.num_rows])
    assert judge_votes(pa.concat_tables([other, shuffled]), rule).slice(0, 1).equals(judge_votes(table, rule))


@given(st.lists(guessing(), min_size=1, max_size=6), rules)
def test_every_voter_that_spoke_is_named_and_no_score_is_above_one(voters, rule):
    labels, numbers = ([voter[part] for voter in voters] for part in (0, 1))
    row = judge(*labels, alternatives=numbers, rule=rule)
    named = {voter for entry in row["evidence"] for voter in entry["voters"]}
    assert named == {f"expert-{number:02d}#0" for number, given in enumerate(labels) if given}
    assert np.all(np.array(row["scores"]) <= 1 + 1e-9)


def described(**texts):
    """Descriptions of one clip, one per expert, as the extract step reads them."""
    rows = [
        {"video_id": "clip", "expert": expert, "sample": 0, "text": text, "status": "ok"}
        for expert, text in texts.items()
    ]
    return pa.Table.from_pylist(rows, schema=_DESCRIBED)


_DESCRIBED = pa.schema(
    [
        DESCRIPTIONS.schema.field(name)
        for name in (*DESCRIPTIONS.key, "text", "labels", "strengths", "modalities", "degraded")
    ]
    + [DESCRIPTIONS.schema.field(name) for name in ("status", "error", "error_message")]
    + [pa.field("transcript", pa.string())]
)
VOICE = "Such a voice fits an angry or excited state, which the sound alone cannot tell apart."


def test_a_guess_is_kept_together_from_the_text_to_the_judgment():
    worker = ExtractWorker(extraction.settings_of({"kind": "rules"}), "run")
    votes = worker(described(voice=VOICE, words="The person says: “I won!” The words are joyful."))
    found = {row["expert"]: row for row in votes.to_pylist()}
    assert (found["voice"]["labels"], found["voice"]["alternatives"]) == (["angry", "excited"], [1, 1])
    assert found["words"]["alternatives"] is None
    [row] = judge_votes(votes, Rule()).to_pylist()
    assert set(row["labels"]) == {"joyful", "excited"}
    [row] = judge_votes(worker(described(voice=VOICE, words="The words are angry.")), Rule()).to_pylist()
    assert (row["labels"], row["scores"]) == (["angry"], [1.0])
