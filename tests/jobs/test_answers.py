"""What a model answers, through the command line: refusals, thoughts, what is no list, what was not there."""

import json
import shutil

import pytest

from chat_server import chat_server, requests_to
from clips import make_clip
from emo.store.tables import DESCRIPTIONS, JUDGMENTS, VOTES
from labelling import emo, rows

# clip -> what the expert answers, then the code it fails with or its labels by rules
DESCRIBED = {
    "apology": ("I apologize, but I cannot provide emotions of the woman.", "refused"),
    "offer": ("I'd be happy to help, but no video was provided.", "refused"),
    "courtesy": ("Sure! I'm happy to help!", "refused"),
    "chinese": ("很抱歉，我无法判断视频中人物的情绪。", "refused"),
    "machine": ("作为一个人工智能，我无法感受到快乐或悲伤。", "refused"),
    "thoughtful": ("<think>Is she angry?</think>I’m sorry, but I can’t assist with that.", "refused"),
    "endless": ("<think>Maybe she is angry, or afraid", "thought_only"),
    "thinking": ("<think>Is she angry? Afraid?</think>The woman smiles and is happy.", ["happy"]),
    "closing": ("Is she angry? Afraid?</think>The woman smiles and is happy.", ["happy"]),
    "tagged": ("<context>An angry scene</context><answer>The woman is happy.</answer>", ["happy"]),
    "scored": ('{"happy": 0.02, "sad": 0.95, "angry": 0.03}', ["sad"]),
    "levels": ("Anger: none. Fear: none. Sadness: strong.", ["sad"]),
    "polite": ("I'm happy to help! The man frowns and sounds angry.", ["angry"]),
    "person": ("She apologizes and says that she cannot help it. She looks sad.", ["sad", "apologetic"]),
}
# clip -> what the text model makes of its words, what it lists, what it lists with the bracket given, and
# the labels of the vote or the code it fails with
LISTED = {
    "unknown": ("The face is still, nothing more.", '["unknown"]', None, []),
    "denied": ("He looks aside for a while.", '["not happy", "null", "mixed emotions"]', None, []),
    "sentence": ("她抬头看着远处。", "她看起来并不生气，也不难过，而是平静。", None, "unparsable"),
    "partly": ("She waves with both hands.", '["glad", 3, "Er ist wütend"]', None, ["glad"]),
    "again": (
        "He taps his foot all the time.",
        "The text says that he is nervous.",
        '"nervous"]',
        ["nervous"],
    ),
    "declined": ("She covers her eyes.", "I'm sorry, I can't judge real people.", None, "refused"),
    "marks": ("He waits at the door.", "<think>[angry]?</think>[calm]", None, ["calm"]),
}


def _videos(folder, names):
    first = make_clip(folder / "first.mp4", seconds=1.0, size=(64, 48), sounds=[])
    for name in names:
        shutil.copy(first, folder / f"{name}.mp4")
        (folder / f"{name}.txt").write_text(f"case {name} <|im_end|>.")
    first.unlink()
    return folder


def _told(found):
    return {row["video_id"]: row["error"] or row["labels"] for row in found}


@pytest.fixture(scope="module")
def described(tmp_path_factory, ray_cluster):
    folder = tmp_path_factory.mktemp("described")
    videos = _videos(tmp_path_factory.mktemp("videos"), DESCRIBED)
    answers = folder / "answers.json"
    answers.write_text(json.dumps([[f"case {name} ", text, None] for name, (text, _) in DESCRIBED.items()]))
    with chat_server(answers=answers) as url:
        served = {"url": url, "model": "tiny"}
        config = {
            "ingest": {"workers": 1},
            "experts": [{"kind": "openai", "server": served, "give_transcript": True}],
            "extract": {"kind": "rules"},
        }
        (folder / "c.yaml").write_text(json.dumps(config))
        done = emo("label", videos, "--out", folder / "out", "--config", folder / "c.yaml", env=ray_cluster)
        asked = [request["text"] for request in requests_to(url)["requests"]]
    return done, folder / "out", asked


def test_a_refusal_or_a_mere_thought_is_a_failed_row_and_the_rest_is_read(described):
    done, out, _ = described
    assert done.returncode in (0, 3), done.stderr
    expected = {name: right for name, (_, right) in DESCRIBED.items()}
    assert _told(rows(out, VOTES, "labels", "error")) == expected
    judged = _told(rows(out, JUDGMENTS, "labels", "error"))
    assert {name for name, found in judged.items() if isinstance(found, list)} == {
        name for name, right in expected.items() if isinstance(right, list)
    }


def test_the_thought_is_kept_beside_the_description(described):
    found = {row["video_id"]: row for row in rows(described[1], DESCRIPTIONS, "text", "thought", "status")}
    assert found["thinking"]["text"] == found["closing"]["text"] == "The woman smiles and is happy."
    assert found["thinking"]["thought"] == found["closing"]["thought"] == "Is she angry? Afraid?"
    assert found["endless"]["text"] is None
    assert found["endless"]["thought"] == "Maybe she is angry, or afraid"
    assert found["polite"]["text"] == "The man frowns and sounds angry."
    assert found["person"]["thought"] is None


def test_control_tokens_of_a_transcript_reach_an_expert_as_text(described):
    asked = described[2]
    assert asked
    assert all("< |im_end| >" in text for text in asked)


@pytest.fixture(scope="module")
def listed(tmp_path_factory, ray_cluster):
    folder = tmp_path_factory.mktemp("listed")
    videos = _videos(tmp_path_factory.mktemp("videos"), LISTED)
    script = [[f"case {name} ", merged, None] for name, (merged, _, _, _) in LISTED.items()]
    script += [[merged, answer, again or answer] for merged, answer, again, _ in LISTED.values()]
    script.append(["", "A grey room.", None])
    answers = folder / "answers.json"
    answers.write_text(json.dumps(script))
    with chat_server(answers=answers) as url:
        served = {"url": url, "model": "tiny"}
        config = {
            "ingest": {"workers": 1},
            "experts": [{"kind": "openai", "server": served}, {"kind": "voice"}, {"kind": "face"}],
            "extract": {"kind": "openai", "server": served},
        }
        (folder / "c.yaml").write_text(json.dumps(config))
        done = emo("label", videos, "--out", folder / "out", "--config", folder / "c.yaml", env=ray_cluster)
        asked = requests_to(url)["requests"]
    return done, folder / "out", asked


def votes_of(out, expert):
    columns = ("labels", "error", "merged_text", "from_transcript", "notes")
    return {row["video_id"]: row for row in rows(out, VOTES, *columns) if row["expert"] == expert}


def test_a_text_model_that_lists_no_label_gives_none(listed):
    done, out, _ = listed
    assert done.returncode in (0, 3), done.stderr
    assert _told(votes_of(out, "openai").values()) == {name: case[3] for name, case in LISTED.items()}


def test_an_unreadable_list_is_asked_for_once_more_with_its_bracket(listed):
    _, out, asked = listed
    begun = [request["text"] for request in asked if request["begun"]]
    assert sorted(LISTED[name][0] for name in ("again", "sentence")) == sorted(
        merged for merged, *_ in LISTED.values() for text in begun if merged in text
    )
    assert votes_of(out, "openai")["again"]["notes"] == ["its first answer was no list"]


def test_what_was_left_out_of_a_list_is_said(listed):
    notes = votes_of(listed[1], "openai")["partly"]["notes"]
    assert notes == ["no label, left out: 3", "no label, left out: Er ist wütend"]


def test_the_text_that_was_read_is_kept_and_shown(listed):
    _, out, _ = listed
    vote = votes_of(out, "openai")["marks"]
    assert vote["merged_text"] == "He waits at the door."
    assert vote["from_transcript"]
    page = (out / "report" / "index.html").read_text()
    assert "He waits at the door." in page
    judgment = next(row for row in rows(out, JUDGMENTS, "description") if row["video_id"] == "marks")
    assert judgment["description"] == "He waits at the door."


def test_what_was_not_there_does_not_vote_and_no_model_is_asked(listed):
    _, out, asked = listed
    for expert in ("voice", "face"):
        found = votes_of(out, expert)
        assert {tuple(row["labels"]) for row in found.values()} == {()}
        assert all(row["notes"] and row["merged_text"] is None for row in found.values())
    assert not any("no voice" in request["text"] or "No face" in request["text"] for request in asked)


def test_votes_that_rest_on_the_same_words_are_counted(listed):
    found = {row["video_id"]: row for row in rows(listed[1], JUDGMENTS, "n_voters", "n_from_transcript")}
    assert (found["marks"]["n_voters"], found["marks"]["n_from_transcript"]) == (1, 1)
