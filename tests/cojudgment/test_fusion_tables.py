"""Which tables of votes are taken and which are refused."""

from datetime import datetime

import pyarrow as pa
import pytest

from cojudgment_votes import judge, votes_of
from emo.cojudgment.fusion import JUDGMENT_COLUMNS, judge_votes
from emo.cojudgment.rule import Rule
from emo.errors import InputError


def test_every_arrow_type_of_strings_and_lists_gives_the_same_judgments():
    votes = pa.concat_tables([votes_of(["sad", "happy"], ["happy"], video_id=f"clip-{n}") for n in range(3)])
    expected = judge_votes(votes, Rule())
    large = votes.cast(
        pa.schema(
            [
                ("video_id", pa.large_string()),
                ("expert", pa.large_string()),
                ("sample", pa.int64()),
                ("labels", pa.large_list(pa.large_string())),
            ]
        )
    )
    coded = votes.set_column(1, "expert", votes["expert"].dictionary_encode())
    assert judge_votes(large, Rule()).equals(expected)
    assert judge_votes(coded, Rule()).equals(expected)


def test_no_votes_give_no_judgments():
    table = judge_votes(votes_of(["happy"]).slice(0, 0), Rule())
    assert table.num_rows == 0
    assert table.schema.names == list(JUDGMENT_COLUMNS)


ROW = {"video_id": ["a"], "expert": ["e"], "sample": [0], "labels": [["happy"]]}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"video_id": ["a"], "sample": [0], "labels": [["x"]]}, "no column 'expert'"),
        (
            {"video_id": ["a"], "expert": ["e"], "sample": [0], "labels": ["x"]},
            "'labels' is string; expected a list",
        ),
        ({"video_id": ["a"], "expert": ["e"], "sample": ["0"], "labels": [["x"]]}, "'sample' is string"),
        ({"video_id": [None], "expert": ["e"], "sample": [0], "labels": [["x"]]}, "'video_id' is null"),
        (
            {"video_id": ["a"], "expert": ["e"], "sample": [0], "labels": [[1]]},
            "list<.*int64>; expected a list of",
        ),
        (ROW | {"run_id": [1]}, "votes: column 'run_id' is int64; expected a string"),
        (ROW | {"run_id": [datetime(2026, 1, 1)]}, r"'run_id' is timestamp\[us\]; expected a string"),
        (ROW | {"status": [True]}, "'status' is bool; expected a string"),
        (ROW | {"status": [0]}, "'status' is int64; expected a string"),
        (ROW | {"status": ["OK"]}, "'status' has 'OK'; expected 'ok' or 'failed'"),
        (ROW | {"status": pa.array([None], pa.string())}, r"'status' has 1 null\(s\)"),
        (ROW | {"sample": [2**31]}, "'sample' has 2147483648; expected a number from 0 to 2147483647"),
        (ROW | {"sample": pa.array([2**63], pa.uint64())}, "'sample' has 9223372036854775808; expected"),
        (ROW | {"sample": [-1]}, "'sample' has -1; expected a number from 0"),
    ],
)
def test_a_table_that_is_no_votes_table_is_refused_with_the_reason(columns, message):
    with pytest.raises(InputError, match=message):
        judge_votes(pa.table(columns), Rule())


def test_null_labels_of_a_row_that_did_not_fail_are_refused():
    with pytest.raises(InputError, match=r"clip, expert expert-01, sample 0 has null labels"):
        judge(["happy"], None, status=["ok", "ok"])


def test_a_share_outside_0_to_1_is_refused():
    with pytest.raises(InputError, match="expected a number from 0 to 1"):
        Rule(share=20)


@pytest.mark.parametrize(
    ("strengths", "fault"),
    [
        ([[0.5, 0.5]], "more or fewer numbers than labels"),
        ([[1.5]], "no number above 0 and at most 1"),
        ([[0.0]], "no number above 0 and at most 1"),
        ([[None]], "no number above 0 and at most 1"),
        ([[float("nan")]], "no number above 0 and at most 1"),
    ],
)
def test_strengths_that_are_none_are_refused(strengths, fault):
    with pytest.raises(InputError, match=fault):
        judge(["happy"], strengths=pa.array(strengths, pa.list_(pa.float64())))


def test_strengths_of_another_type_are_refused():
    with pytest.raises(InputError, match=r"column 'strengths' is list<.*string>; expected a list of numbers"):
        judge(["happy"], strengths=pa.array([["much"]]))
