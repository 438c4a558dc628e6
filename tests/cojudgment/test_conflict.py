"""How far what is seen, heard and said are apart."""

import pyarrow as pa
import pytest

from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.rule import Rule

SIGHT, SOUND, WORDS, BOTH = ["frames"], ["audio"], ["transcript"], ["frames", "audio"]


def conflict(*voters, words_read=None, alternatives=None):
    """voters: (labels, modalities) or (labels, modalities, degraded)."""
    key = {
        "video_id": ["clip"] * len(voters),
        "expert": [f"expert-{number}" for number in range(len(voters))],
        "sample": pa.array([0] * len(voters), pa.int32()),
    }
    lists = pa.list_(pa.string())
    votes = pa.table(
        {
            **key,
            "labels": pa.array([voter[0] for voter in voters], lists),
            "from_transcript": pa.array(words_read or [None] * len(voters), pa.bool_()),
            "alternatives": pa.array(alternatives or [None] * len(voters), pa.list_(pa.int32())),
        }
    )
    descriptions = pa.table(
        {
            **key,
            "text": ["text"] * len(voters),
            "modalities": pa.array([voter[1] for voter in voters], lists),
            "degraded": pa.array([voter[2] if len(voter) > 2 else [] for voter in voters], lists),
            "status": ["ok"] * len(voters),
        }
    )
    [row] = judge_votes(votes, Rule(), descriptions).to_pylist()
    return row["conflict"]


@pytest.mark.parametrize(
    ("said", "apart"),
    [("happy", 0.0), ("excited", 0.25), ("sad", 1.0), ("surprised", 0.5), ("blorpish", 0.5)],
)
def test_the_farther_the_words_are_from_the_face_the_larger_it_is(said, apart):
    assert conflict((["happy"], SIGHT), ([said], WORDS)) == pytest.approx(apart)


def test_of_three_senses_the_two_that_are_farthest_apart_count():
    assert conflict((["happy"], SIGHT), (["happy"], SOUND), (["angry"], WORDS)) == 1.0


def test_an_expert_of_several_senses_takes_no_side():
    assert conflict((["happy"], SIGHT), (["sad"], BOTH)) is None
    assert conflict((["happy"], SIGHT), (["sad"], BOTH, ["frames"])) == 1.0  # there were no frames for it


def test_a_text_that_the_words_were_merged_into_takes_no_side():
    assert conflict((["happy"], SIGHT), (["sad"], WORDS), words_read=[True, True]) is None


def test_one_sense_alone_or_a_silent_one_has_no_conflict_that_is_known():
    assert conflict((["happy"], SIGHT), (["sad"], SIGHT)) is None
    assert conflict((["happy"], SIGHT), ([], WORDS)) is None


def test_a_guess_that_the_words_decide_is_no_conflict():
    assert conflict((["angry", "excited"], SOUND), (["happy"], WORDS), alternatives=[[1, 1], None]) == 0.25


def test_it_is_a_flag_and_changes_no_label():
    votes = pa.table(
        {"video_id": ["c", "c"], "expert": ["a", "b"], "sample": [0, 0], "labels": [["happy"], ["sad"]]}
    )
    [row] = judge_votes(votes, Rule()).to_pylist()
    assert (set(row["labels"]), row["conflict"]) == ({"happy", "sad"}, None)
