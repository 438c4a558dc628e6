"""Votes of a clip are fused into one set of labels, as small cases show."""

import pyarrow as pa
import pytest

from cojudgment_votes import judge, votes_of
from emo.cojudgment.fusion import JUDGMENT_COLUMNS, judge_votes
from emo.cojudgment.rule import Learned, Rule
from emo.errors import InputError
from emo.store import tables


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
    row = judge(["sad", "angry", "worried", "bored"], ["sad"], rule=Rule(share=0))
    scores = {entry["label"]: entry["score"] for entry in row["evidence"]}
    third = pytest.approx(1 / 6)
    assert scores == {"sad": 1.0, "angry": 0.25, "worried": third, "bored": third}


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
