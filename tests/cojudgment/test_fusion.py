import random
from datetime import datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emo.cojudgment.fusion import JUDGMENT_COLUMNS, judge_votes
from emo.cojudgment.rule import TRADE_OFFS, Learned, Rule
from emo.errors import InputError
from emo.store import tables
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


def votes_of(*voters, video_id="clip", **columns):
    """A votes table of one clip; each voter is its labels."""
    n = len(voters)
    return pa.table(
        {
            "video_id": [video_id] * n,
            "expert": [f"expert-{number:02d}" for number in range(n)],
            "sample": pa.array([0] * n, pa.int32()),
            "labels": pa.array(voters, pa.list_(pa.string())),
            **columns,
        }
    )


def judge(*voters, rule=None, **columns):
    [row] = judge_votes(votes_of(*voters, **columns), rule or Rule()).to_pylist()
    return row


def test_the_columns_are_those_of_the_judgments_table():
    table = judge_votes(votes_of(["happy"]), Rule())
    assert tuple(table.schema.names) == JUDGMENT_COLUMNS
    assert table.schema == pa.schema([tables.JUDGMENTS.schema.field(name) for name in JUDGMENT_COLUMNS])
    row = table.to_pylist()[0]
    assert (row["status"], row["error"], row["error_message"]) == (tables.OK, None, None)


def test_the_word_that_most_voters_used_speaks_for_its_cluster():
    row = judge(["joyful"], ["happy"], ["happy"], ["sad"], ["sad", "angry"], rule=Rule(share=0.5))
    assert row["labels"] == ["happy"]
    assert row["scores"] == [pytest.approx(0.6)]
    evidence = {entry["label"]: entry for entry in row["evidence"]}
    assert row["evidence"][0]["label"] == "happy"
    assert evidence["happy"]["voters"] == ["expert-00#0", "expert-01#0", "expert-02#0"]
    assert evidence["joyful"]["voters"] == ["expert-00#0"]
    assert evidence["sad"]["score"] == pytest.approx(0.4)


def test_voters_that_agree_because_they_read_the_same_words_are_told():
    row = judge(["sad"], ["sad"], ["sad"], ["happy"], from_transcript=[True, True, True, False])
    assert (row["n_voters"], row["n_from_transcript"]) == (4, 3)
    row = judge(["sad"], [], ["happy"], from_transcript=[True, True, False])
    assert row["n_from_transcript"] == 1
    assert judge(["sad"], ["sad"], from_transcript=[True, None])["n_from_transcript"] is None
    assert judge(["sad"], ["sad"])["n_from_transcript"] is None


def test_forms_of_one_word_are_one_label_spelt_as_most_voters_did():
    row = judge(["happiness"], ["happy"], ["happiness"], rule=Rule(share=1))
    assert row["labels"] == ["happiness"]
    assert row["scores"] == [1.0]


def test_two_spellings_of_one_word_win_together_only_where_all_wrote_both():
    assert set(judge(["happiness", "happy"], ["happy", "happiness"])["labels"]) == {"happy", "happiness"}
    row = judge(["happiness", "happy"], ["happy"])
    assert row["labels"] == ["happy"]
    assert [entry["label"] for entry in row["evidence"]] == ["happy", "happiness"]


def test_a_second_word_of_a_cluster_wins_by_its_own_voters():
    voters = (["happy", "joyful"], ["joyful", "happy"], ["happy"])
    assert judge(*voters, rule=Rule(share=0.5))["labels"] == ["happy", "joyful"]
    assert judge(*voters, rule=Rule(share=0.6))["labels"] == ["happy"]


def test_of_near_synonyms_that_no_voter_gave_both_one_wins():
    row = judge(["afraid"], ["scared"], ["scared"])
    assert (row["labels"], row["scores"]) == (["scared"], [1.0])
    assert [entry["label"] for entry in row["evidence"]] == ["scared", "afraid"]


def test_what_a_voter_names_first_counts_more_than_what_it_names_later():
    row = judge(["sad", "angry", "worried"], ["sad"], rule=Rule(share=0))
    scores = {entry["label"]: entry["score"] for entry in row["evidence"]}
    assert scores == {"sad": 1.0, "angry": 0.25, "worried": 0.25}


def test_the_best_label_wins_where_none_reaches_the_share():
    row = judge(["happy"], ["sad"], ["angry"], ["sad"], rule=Rule(share=0.9))
    assert row["labels"] == ["sad"]
    assert row["scores"] == [0.5]


def test_unknown_words_are_labels_too():
    assert judge(["blorpish"], ["blorpish"], ["happy"], rule=Rule(share=0.5))["labels"] == ["blorpish"]


def test_what_holds_no_letter_is_no_label():
    row = judge(["[", "sad", "]"], [" ", "..."], ["Sad "])
    assert row["labels"] == ["sad"]
    assert row["n_voters"] == 2


def test_a_clip_whose_voters_are_all_silent_has_no_label_and_is_ok():
    row = judge([], [])
    assert (row["labels"], row["scores"], row["evidence"], row["status"]) == ([], [], [], tables.OK)
    assert (row["n_voters"], row["agreement"]) == (0, None)


def test_agreement_is_the_share_of_the_others_who_gave_a_label_too():
    assert judge(["happy"])["agreement"] is None
    assert judge(["happy"], [])["agreement"] is None
    assert judge(["happy"], ["joyful"])["agreement"] == 1.0
    assert judge(["happy"], ["sad"])["agreement"] == 0.0
    # happy, happy, sad: two labels that one of the two others gave, one that none did
    assert judge(["happy"], ["happy"], ["sad"])["agreement"] == pytest.approx((0.5 + 0.5 + 0) / 3)


def test_the_description_is_that_of_the_expert_closest_to_the_consensus():
    votes = votes_of(["happy", "sad", "angry"], ["happy"], ["sad"], ["happy"])
    descriptions = pa.table(
        {
            "video_id": ["clip", "clip", "clip", "other"],
            "expert": ["expert-00", "expert-02", "expert-01", "expert-03"],
            "sample": [0, 0, 0, 0],
            "text": ["all of it", "in tears", "smiles", "elsewhere"],
            "status": ["ok"] * 4,
        }
    )
    [row] = judge_votes(votes, Rule(share=0.75), descriptions).to_pylist()
    assert row["labels"] == ["happy"]
    assert row["description"] == "smiles"


def test_a_failed_or_missing_description_is_passed_over():
    votes = votes_of(["happy"], ["happy"])
    descriptions = pa.table(
        {
            "video_id": ["clip", "clip"],
            "expert": ["expert-00", "expert-01"],
            "sample": [0, 0],
            "text": [None, "smiles"],
            "status": ["failed", "ok"],
            "run_id": ["1", "1"],
        }
    )
    assert judge_votes(votes, Rule(), descriptions)["description"].to_pylist() == ["smiles"]
    assert judge_votes(votes, Rule(), descriptions.slice(0, 1))["description"].to_pylist() == [None]
    assert judge_votes(votes, Rule())["description"].to_pylist() == [None]


def test_of_two_runs_for_one_key_the_newest_counts():
    votes = pa.concat_tables(
        [
            votes_of(["sad"], run_id=["2026-02"], status=["ok"]),
            votes_of(["happy"], run_id=["2026-01"], status=["ok"]),
        ]
    )
    assert judge_votes(votes, Rule()).to_pylist()[0]["labels"] == ["sad"]


def test_an_expert_that_failed_is_not_a_voter():
    row = judge(["happy"], None, status=["ok", "failed"])
    assert (row["labels"], row["n_voters"]) == (["happy"], 1)
    assert judge_votes(votes_of(None, status=["failed"]), Rule()).num_rows == 0


def test_given_weights_decide_who_is_heard():
    voters = (["sad"], ["angry"], ["angry"])
    heavy = Learned("given", weights={"expert-00": 3.0, "expert-01": 0.5, "expert-02": 0.5})
    assert judge(*voters, rule=Rule(share=0.5))["labels"] == ["angry"]
    row = judge(*voters, rule=Rule(share=0.5, learned=heavy))
    assert row["labels"] == ["sad", "angry"]  # what most voters gave is never dropped
    assert row["scores"] == [0.75, 0.25]
    assert row["judge"].startswith("share-0.5+given-")


def test_a_bar_of_its_own_keeps_a_label_out():
    voters = (["sad"], ["sad"], ["angry"])
    strict = Learned("calibrated", bars={"anger": 3.0})
    assert set(judge(*voters)["labels"]) == {"sad", "angry"}
    assert judge(*voters, rule=Rule(learned=strict))["labels"] == ["sad"]


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


def test_a_label_that_its_voter_is_surer_of_counts_more():
    strengths = pa.array([[0.9, 0.4], [0.5]], pa.list_(pa.float64()))
    row = judge(["sad", "angry"], ["angry"], strengths=strengths, rule=Rule(share=0.1))
    scores = {entry["label"]: entry["score"] for entry in row["evidence"]}
    assert scores == {"sad": pytest.approx(0.45), "angry": pytest.approx(0.45)}


def test_a_voter_without_strengths_counts_by_place_beside_one_with():
    strengths = pa.array([None, [0.6]], pa.list_(pa.float64()))
    row = judge(["sad", "angry"], ["happy"], strengths=strengths, rule=Rule(share=0.1))
    scores = {entry["label"]: entry["score"] for entry in row["evidence"]}
    assert scores == {
        "sad": pytest.approx(0.5),
        "angry": pytest.approx(0.25),
        "happy": pytest.approx(0.3),
    }


def test_strengths_stay_with_their_labels_where_a_label_is_no_word():
    strengths = pa.array([[0.4, 0.9]], pa.list_(pa.float64()))
    [entry] = judge(["]", "happy"], strengths=strengths)["evidence"]
    assert (entry["label"], entry["score"]) == ("happy", pytest.approx(0.9))


@given(clips)
def test_a_strength_of_one_is_that_of_a_first_label(voters):
    voters = [labels[:1] for labels in voters]
    strengths = pa.array([[1.0] * len(labels) for labels in voters], pa.list_(pa.float64()))
    assert judge(*voters, strengths=strengths) == judge(*voters)


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


def test_a_lone_label_that_every_better_one_contradicts_does_not_win():
    voters = (["sad"], ["sad", "angry"], ["happy"])
    assert judge(*voters)["labels"] == ["sad"]
    assert "happy" in judge(*voters, rule=Rule.of("recall"))["labels"]
    assert "happy" in judge(*voters, ["happy"])["labels"]  # mixed feelings that two voters see


def test_a_prior_weight_counts_until_weights_are_learned():
    rule = Rule(share=0.5, priors={"expert-00": 9.0})
    assert judge(["sad"], ["happy"], ["calm"], rule=rule)["labels"] == ["sad"]
    assert judge(["sad"], ["happy"], rule=rule)["judge"].startswith("share-0.5+priors-")
    with pytest.raises(InputError, match="the weight of 'a' is 0"):
        Rule(priors={"a": 0})


def test_the_fewer_voters_speak_against_a_label_the_less_a_prior_weight_counts():
    rule = Rule(priors={"expert-00": 4.0})

    def score(*voters):
        return judge(*voters, rule=rule)["evidence"][0]["score"]

    assert score(["sad"], ["happy"]) == pytest.approx(4**0.5 / (4**0.5 + 1))
    assert score(["sad"], ["happy"], ["calm"]) == pytest.approx(4 ** (2 / 3) / (4 ** (2 / 3) + 2))


def test_of_many_labels_only_the_best_stay():
    row = judge(["sad", "angry", "worried"], rule=Rule(max_labels=2))
    assert (row["labels"], row["judge"]) == (["sad", "angry"], "balanced+at-most-2")
