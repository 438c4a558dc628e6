import pyarrow as pa
import pytest

from emo.cojudgment.adjudication import adjudicate
from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.rule import Rule
from emo.errors import InputError

VOTES = pa.table(
    {
        "video_id": ["agreed", "agreed", "doubtful", "doubtful", "single"],
        "expert": ["a", "b", "a", "b", "a"],
        "sample": [0] * 5,
        "labels": [["happy"], ["joyful"], ["sad", "angry"], ["calm"], ["bored"]],
    }
)
TEXTS = pa.table(
    {
        "video_id": ["doubtful", "doubtful", "agreed", "single"],
        "expert": ["a", "b", "a", "a"],
        "sample": [0] * 4,
        "text": ["she weeps\nand shouts", None, "he laughs", "yawns"],
        "status": ["ok", "failed", "ok", "ok"],
    }
)


def judged():
    return judge_votes(VOTES, Rule())


def test_only_clips_of_low_agreement_are_asked_about_with_their_texts_and_labels():
    prompts = []

    def ask(asked):
        prompts.extend(asked)
        return ["Angry"]

    result = adjudicate(judged(), TEXTS, ask, "tiny-1", below=0.3)
    assert (result.asked, result.decided) == (1, 1)
    [prompt] = prompts
    assert "- she weeps and shouts" in prompt
    assert "Emotions they named: calm, sad, angry" in prompt
    rows = {row["video_id"]: row for row in result.judgments.to_pylist()}
    assert rows["doubtful"]["labels"] == ["angry"]
    assert [entry["label"] for entry in rows["doubtful"]["evidence"]] == ["angry", "calm", "sad"]
    assert rows["doubtful"]["judge"] == "balanced+tiny-1"
    assert rows["agreed"]["judge"] == rows["single"]["judge"] == "balanced"
    assert result.judgments.schema == judged().schema
    assert result.judgments["video_id"].to_pylist() == judged()["video_id"].to_pylist()


@pytest.mark.parametrize("answer", ["", "I cannot tell.", "terrified", "1"])
def test_an_answer_that_chooses_none_of_the_labels_changes_nothing(answer):
    result = adjudicate(judged(), TEXTS, lambda prompts: [answer] * len(prompts), "tiny-1", below=0.3)
    assert (result.asked, result.decided) == (1, 0)
    assert result.judgments.equals(judged())


def test_what_is_not_among_the_labels_is_not_taken():
    result = adjudicate(judged(), TEXTS, lambda prompts: ["sad, heartbroken; calm"], "tiny-1", below=0.3)
    rows = {row["video_id"]: row for row in result.judgments.to_pylist()}
    assert rows["doubtful"]["labels"] == ["calm", "sad"]


def test_bad_arguments_are_refused():
    with pytest.raises(InputError, match="a share from 0 to 1"):
        adjudicate(judged(), TEXTS, list, "tiny-1", below=30)
    with pytest.raises(InputError, match="must be named"):
        adjudicate(judged(), TEXTS, list, "", below=0.3)
    with pytest.raises(InputError, match="0 answers to 1 questions"):
        adjudicate(judged(), TEXTS, lambda prompts: [], "tiny-1", below=0.3)
