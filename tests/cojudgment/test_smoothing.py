"""Scores that are shared along a speaker's turns: the arithmetic, the learned factor, and exact resume."""

import json

import numpy as np
import pyarrow as pa
import pytest

from emo import dialogues
from emo.cli import main
from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.rule import Rule
from emo.cojudgment.settings import Judge
from emo.config import validate
from emo.errors import InputError
from emo.evaluation.ew import own_mappings
from emo.evaluation.smoothing import learn, summary
from emo.experts import settings_of
from emo.experts.protocol import Description
from emo.jobs.describe import rows_of
from emo.jobs.extract import vote_rows
from emo.jobs.judge import JudgeStep
from emo.run.committing import commit
from emo.run.session import session
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import DESCRIPTIONS, JUDGMENTS, VOTES
from turns import commit_turns

EXPERTS = [f"e{number}" for number in range(8)]


def votes_of(given):
    """video_id -> the labels of each expert in order, "": none."""
    rows = [(clip, expert, label) for clip, labels in given.items() for expert, label in zip(EXPERTS, labels)]  # noqa: B905
    return pa.table(
        {
            "video_id": [clip for clip, _, _ in rows],
            "expert": [expert for _, expert, _ in rows],
            "sample": pa.array([0] * len(rows), pa.int32()),
            "labels": [[label] if label else [] for _, _, label in rows],
            "status": ["ok"] * len(rows),
            "run_id": ["1"] * len(rows),
        }
    )


def pairs(*both):
    return pa.table(
        {"video_id": [a for a, b in both] + [b for a, b in both],
         "neighbour": [b for a, b in both] + [a for a, b in both]}
    )  # fmt: skip


def scores(judged):
    return {
        row["video_id"]: {one["label"]: round(one["score"], 6) for one in row["evidence"]}
        for row in judged.to_pylist()
    }


GIVEN = {
    "a": ["happy"] * 4 + ["angry"] * 4,
    "b": ["angry"] * 7 + ["sad"],
    "c": ["sad"] * 6 + ["happy"] * 2,
    "mute": [""] * 8,
}


def test_each_label_takes_its_share_of_the_mean_of_the_neighbours():
    judged = judge_votes(votes_of(GIVEN), Rule(smoothing=0.25), beside=pairs(("a", "b"), ("b", "c")))
    assert scores(judged) == {
        # happy: 0.75 * 4/8 + 0.25 * 0; angry: 0.75 * 4/8 + 0.25 * 7/8
        "a": {"angry": 0.59375, "happy": 0.375},
        # The mean over two neighbours; no voter of b was happy.
        "b": {"angry": round(0.75 * 7 / 8 + 0.25 * 0.25, 6), "sad": round(0.75 / 8 + 0.25 * 0.375, 6)},
        "c": {"sad": round(0.75 * 0.75 + 0.25 / 8, 6), "happy": round(0.75 * 0.25, 6)},
        "mute": {},
    }


def test_a_neighbour_that_says_nothing_and_one_without_votes_do_not_count():
    plain = scores(judge_votes(votes_of(GIVEN), Rule()))
    near = pairs(("a", "mute"), ("b", "not there"))
    assert scores(judge_votes(votes_of(GIVEN), Rule(smoothing=0.5), beside=near)) == plain
    # Nor does a factor without neighbours, or neighbours without a factor.
    assert scores(judge_votes(votes_of(GIVEN), Rule(smoothing=0.5))) == plain
    assert scores(judge_votes(votes_of(GIVEN), Rule(), beside=pairs(("a", "b")))) == plain


def test_a_rule_that_smooths_says_so_and_refuses_nonsense():
    assert Judge(smoothing=0.3).rule().judge == "balanced+smoothed-0.3"
    assert Judge().rule().judge == "balanced"
    for wrong in (-0.1, 1.0):
        with pytest.raises(InputError, match="smoothing"):
            Rule(smoothing=wrong)


def test_neighbours_are_the_turns_of_one_speaker_next_to_each_other(tmp_path):
    storage = Storage(str(tmp_path))
    commit_turns(
        storage,
        "01",
        {
            "a1": ("d", 1, "Anna", None), "b1": ("d", 2, "Ben", None), "a2": ("d", 3, "Anna", None),
            "n1": ("d", 4, None, None), "n2": ("d", 5, None, None), "a3": ("d", 9, "Anna", None),
            "o": ("other", 4, "Anna", None),
        },
    )  # fmt: skip
    found = {tuple(row.values()) for row in dialogues.neighbours(storage).to_pylist()}
    assert found == {("a1", "a2"), ("a2", "a1"), ("a2", "a3"), ("a3", "a2")}


def commit_votes(storage, run, given):
    for place, expert in enumerate(EXPERTS):
        settings = settings_of({"kind": "words", "name": expert})
        clips = list(given)
        texts = [[Description("text")] for _ in clips]
        commit(storage, DESCRIPTIONS, run, rows_of(clips, texts, settings, None, run))
        key = pa.table(
            {
                "video_id": clips,
                "expert": [expert] * len(clips),
                "sample": pa.array([0] * len(clips), pa.int32()),
            }
        )
        labels = [[one[place]] if one[place] else [] for one in given.values()]
        commit(storage, VOTES, run, vote_rows(key, labels, "rules", run))


def take(storage, run, shard=100, smoothing=0.25):
    """Judge what is left in this process; which clips those were."""
    step = JudgeStep(Judge(smoothing=smoothing), EXPERTS)
    left = step.left(storage, step.given(storage))
    worker = step.work(storage, run, left).worker()
    for part in committed.batched(left, shard):
        commit(storage, JUDGMENTS, run, worker(part))
    return sorted(left.column("video_id").to_pylist())


def of_out(storage):
    return scores(committed.read_newest(storage, committed.folder(JUDGMENTS), JUDGMENTS, ["evidence"]))


TURNS = {name: ("d", place, "Anna", None) for place, name in enumerate(GIVEN)}


@pytest.mark.parametrize("shard", [1, 2, 100])
def test_the_same_tables_give_the_same_judgments_however_they_are_cut(tmp_path, shard):
    storage = Storage(str(tmp_path))
    commit_turns(storage, "01", TURNS)
    commit_votes(storage, "02", GIVEN)
    assert take(storage, "03", shard) == sorted(GIVEN)
    near = pairs(("a", "b"), ("b", "c"), ("c", "mute"))
    assert of_out(storage) == scores(judge_votes(votes_of(GIVEN), Rule(smoothing=0.25), beside=near))


def test_a_clip_is_judged_again_where_a_neighbour_changed_and_no_other_is(tmp_path):
    storage = Storage(str(tmp_path))
    commit_turns(storage, "01", TURNS)
    commit_votes(storage, "02", GIVEN)
    take(storage, "03")
    assert take(storage, "04") == []
    commit_votes(storage, "05", {"a": ["sad"] * 8})
    assert take(storage, "06") == ["a", "b"]
    assert take(storage, "07") == []
    # A turn comes between a and b: its neighbours are other ones now.
    commit_turns(storage, "08", {"b": ("d", 5, "Anna", None)})
    assert take(storage, "09") == ["a", "b", "c", "mute"]
    assert take(storage, "10") == []
    # Another factor is another rule.
    assert take(storage, "11", smoothing=0.5) == sorted(GIVEN)
    assert take(storage, "12", smoothing=0.0) == sorted(GIVEN)


def dialogues_of(random, steady, count=30):
    """Dialogues of eight turns in which one voter of eight sees the mood; steady: whether it lasts."""
    given, gold, dialogue_of, near = {}, {}, {}, []
    for number in range(count):
        before, mood = None, random.choice(["happy", "angry"])
        for turn in range(8):
            mood = mood if steady else random.choice(["happy", "angry"])
            clip = f"d{number}-{turn}"
            hits = random.random(8) < 0.55
            other = "angry" if mood == "happy" else "happy"
            given[clip] = [mood if hit else other for hit in hits]
            gold[clip], dialogue_of[clip] = (str(mood),), f"d{number}"
            near += [(before, clip)] if before else []
            before = clip
    return votes_of(given), pairs(*near), dialogue_of, gold


def test_a_factor_is_learned_where_moods_last_and_none_where_they_do_not():
    mappings = {"clusters": own_mappings()["clusters"]}
    # One label only, so that what is ranked first counts.
    rule = Rule(0.5, max_labels=1)
    lasting = learn(*dialogues_of(np.random.default_rng(1), True, 80), rule, mappings, draws=200)
    assert lasting.recommended >= 0.3
    assert lasting.held_out.low > 0
    assert lasting.points[0].factor == 0
    assert f"recommended: judge.smoothing: {lasting.recommended:g}" in summary(lasting)
    fleeting = learn(*dialogues_of(np.random.default_rng(2), False, 80), rule, mappings, draws=200)
    assert fleeting.held_out.value <= 0
    assert fleeting.recommended == 0
    assert "leave judge.smoothing at 0" in summary(fleeting)


def test_too_few_clips_or_dialogues_teach_nothing():
    votes, near, dialogue_of, gold = dialogues_of(np.random.default_rng(1), True)
    mappings = {"clusters": own_mappings()["clusters"]}
    with pytest.raises(InputError, match="0 clips have gold labels"):
        learn(votes, near, dialogue_of, {}, Rule(), mappings)
    with pytest.raises(InputError, match="too few dialogues"):
        learn(votes, near, dict.fromkeys(dialogue_of, "d"), gold, Rule(), mappings)


def test_the_command_prints_the_curve_and_recommends(tmp_path, capsys):
    votes, _, dialogue_of, gold = dialogues_of(np.random.default_rng(1), True)
    out = str(tmp_path / "out")
    storage = Storage(out)
    turns = {clip: (name, int(clip[-1]), "Anna", None) for clip, name in dialogue_of.items()}
    commit_turns(storage, "01", turns)
    given = {}
    for row in votes.to_pylist():
        given.setdefault(row["video_id"], []).append(row["labels"][0])
    commit_votes(storage, "02", given)
    lines = ["video_id,labels", *(f"{clip},{labels[0]}" for clip, labels in gold.items())]
    (tmp_path / "gold.csv").write_text("\n".join(lines))
    experts = [{"kind": "words", "name": name} for name in EXPERTS]
    with session(validate({"experts": experts}, "a test"), out, "label", None):
        pass
    asked = ["judge", "--out", out, "--calibrate", str(tmp_path / "gold.csv"), "--smoothing"]
    rule = ["--set", "judge.trade_off=0.5", "--set", "judge.max_labels=1"]
    assert main([*asked, *rule]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0].startswith("smoothing")
    assert "recommended: judge.smoothing: 0." in printed.err
    assert not committed.files(storage, "judgments")
    assert main([*asked, *rule, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["smoothing"]["clips"] == len(gold)
    assert main([*asked, "--rounds"]) == 2
    assert "exclude each other" in capsys.readouterr().err
