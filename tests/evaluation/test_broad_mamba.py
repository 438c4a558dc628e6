"""The reconstruction of Broad Mamba: what its sheet asks of it, and what it gains over plain smoothing."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from emo.cli import main
from emo.cojudgment.rule import Rule
from emo.config import validate
from emo.errors import InputError
from emo.evaluation import dialogue_labels
from emo.evaluation.broad_mamba import BroadMamba, Scan
from emo.evaluation.dialogue_labels import dialogues_of, trained_labels
from emo.evaluation.ew import own_mappings
from emo.evaluation.smoothing import learn, summary
from emo.jobs.extract import vote_rows
from emo.run.committing import commit
from emo.run.session import session
from emo.store.storage import Storage
from emo.store.tables import VOTES
from turns import commit_turns

M, G, T, F, K = 3, 2, 6, 5, 4


@pytest.fixture
def model():
    torch.manual_seed(0)
    return BroadMamba(M, F, K).eval()


def given(turns=T):
    numbers = torch.Generator().manual_seed(1)
    return (
        torch.randn(M, G, turns, F, generator=numbers),
        torch.ones(G, turns, dtype=torch.bool),
        torch.ones(M, G, turns, dtype=torch.bool),
    )


def test_the_scan_is_its_formula_turn_by_turn():
    torch.manual_seed(0)
    scan, turns = Scan(1), torch.randn(1, 1, 5, 16)
    made = scan(turns, torch.ones(1, 5, dtype=torch.bool))[0, 0]
    memory = torch.zeros(16, 4)
    for place, x in enumerate(turns[0, 0]):
        step = torch.nn.functional.softplus(x @ scan.step[0] + scan.step_bias[0])
        into, out = x @ scan.into[0], x @ scan.out[0]
        for d in range(16):
            for n in range(4):
                kept = torch.exp(-step[d] * scan.decay[0, d, n].exp())
                memory[d, n] = kept * memory[d, n] + step[d] * into[n] * x[d]
        assert torch.allclose(made[place], memory @ out + scan.skip[0] * x, atol=1e-5)


def test_every_turn_hears_those_before_and_after_it_and_no_other_dialogue(model):
    turns, there, spoke = given()
    plain = model(turns, there, spoke)[0]
    for changed in range(T):
        other = turns.clone()
        other[:, 0, changed] += 1
        moved = (model(other, there, spoke)[0] - plain).abs().amax(-1)
        assert (moved[0] > 1e-6).all()
        assert (moved[1] == 0).all()


def test_what_fills_up_a_shorter_dialogue_changes_nothing(model):
    turns, there, spoke = given()
    there[:, 4:], spoke[:, :, 4:] = False, False
    long = model(turns, there, spoke)[0][:, :4]
    short = model(turns[:, :, :4], there[:, :4], spoke[:, :, :4])[0]
    assert torch.allclose(long, short, atol=1e-6)


def test_weights_add_up_to_one_and_an_expert_that_said_nothing_has_none(model):
    turns, there, spoke = given()
    spoke[0, :, 1], spoke[:, 1, 2] = False, False
    scores, _, weights = model(turns, there, spoke)
    total = weights.sum(0)
    assert (weights[0, :, 1] == 0).all()
    assert torch.allclose(total[1, 2], torch.tensor(0.0))
    total[1, 2] = 1
    assert torch.allclose(total, torch.ones(G, T))
    assert scores.isfinite().all()


class Counted(TorchDispatchMode):
    """Counts the numbers that all operations make."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, (tuple, list)) else [made]:
            self.numbers += one.numel() if isinstance(one, torch.Tensor) else 0
        return made


def test_work_grows_with_the_turns_and_no_faster(model):
    def work(turns):
        with torch.no_grad(), Counted() as counted:
            model(*given(turns))
        return counted.numbers

    ten, twenty, forty = work(10), work(20), work(40)
    assert forty - twenty == 2 * (twenty - ten)


def moods(random, count):
    """Dialogues whose mood follows that of the turn before in a way of its own: happy, angry, sad, happy ...

    Three voters see a turn's own mood half the time: what came before and comes after tells it. Plain
    smoothing, which takes neighbours to be alike, is of no use here.
    """
    wheel = ["happy", "angry", "sad"]
    rows, turns, gold, near = [], [], {}, []
    for number in range(count):
        mood = int(random.integers(3))
        for turn in range(8):
            clip = f"d{number}-{turn}"
            for expert in ("a", "b", "c"):
                seen = mood if random.random() < 0.5 else int(random.integers(3))
                rows.append((clip, expert, [wheel[seen]]))
            turns.append((f"d{number}", turn, "Anna", clip))
            gold[clip] = (wheel[mood],)
            near += [(clip, f"d{number}-{turn - 1}"), (f"d{number}-{turn - 1}", clip)] if turn else []
            mood = (mood + 1) % 3
    clips, experts, labels = map(list, zip(*rows, strict=True))
    votes = pa.table(
        {
            "video_id": clips,
            "expert": experts,
            "sample": pa.array([0] * len(clips), pa.int32()),
            "labels": labels,
        }
    )
    names = ("dialogue_id", "turn", "speaker", "video_id")
    placed = pa.table(dict(zip(names, map(list, zip(*turns, strict=True)), strict=True)))
    beside = pa.table({"video_id": [a for a, _ in near], "neighbour": [b for _, b in near]})
    return votes, placed, beside, gold


@pytest.fixture(scope="module")
def drawn():
    return moods(np.random.default_rng(0), 40)


def test_in_dialogues_it_never_saw_it_beats_chance_and_smoothing_where_moods_follow_each_other(drawn):
    votes, turns, beside, gold = drawn
    dialogue_of = dict(zip(turns["video_id"].to_pylist(), turns["dialogue_id"].to_pylist(), strict=True))
    told = dialogues_of(votes, turns)
    seen = []

    def rival(parts):
        seen.extend(trained_labels(told, gold, parts))
        return seen

    found = learn(
        votes, beside, dialogue_of, gold, Rule(0.5, max_labels=1), {"clusters": own_mappings()["clusters"]},
        draws=200, rival=rival,
    )  # fmt: skip
    first = {clip: labels[0] for part in seen for clip, labels in part.items()}
    assert first.keys() == gold.keys()
    right = np.mean([first[clip] == gold[clip][0] for clip in gold])
    given_by = votes.to_pylist()
    plurality = np.mean([row["labels"][0] == gold[row["video_id"]][0] for row in given_by])
    assert right > plurality > 1 / 3
    assert found.beyond.low > 0
    assert "the reconstruction of Broad Mamba gains" in summary(found)
    # No clip has a label that none of its own voters gave.
    own = {(row["video_id"], row["labels"][0]) for row in given_by}
    assert {(clip, label) for part in seen for clip, labels in part.items() for label in labels} <= own


def test_a_turn_without_votes_keeps_its_place_and_gets_no_label(drawn):
    votes, turns, _, gold = drawn
    silent = votes.filter(pa.compute.not_equal(votes["video_id"], "d0-3"))
    told = dialogues_of(silent, turns)
    assert [turn.video_id for turn in told["d0"]][3] == "d0-3"
    assert told["d0"][3].given == {}
    [labels] = trained_labels({name: told[name] for name in ("d0", "d1")}, gold, [set()])
    assert labels["d0-3"] == []
    assert all(labels[f"d1-{turn}"] for turn in range(8))
    assert [turn.again for turn in told["d0"]] == [False] + [True] * 7


def test_one_class_teaches_nothing(drawn):
    votes, turns, _, gold = drawn
    with pytest.raises(InputError, match="has 1 classes"):
        trained_labels(dialogues_of(votes, turns), dict.fromkeys(gold, ("happy",)), [set()])


def test_the_command_compares_both_and_writes_labels(drawn, tmp_path, capsys, monkeypatch):
    votes, turns, _, gold = drawn
    out = str(tmp_path / "out")
    storage = Storage(out)
    commit_turns(
        storage,
        "01",
        {
            row["video_id"]: (row["dialogue_id"], row["turn"], row["speaker"], None)
            for row in turns.to_pylist()
        },
    )
    key = votes.select(["video_id", "expert", "sample"])
    commit(storage, VOTES, "02", vote_rows(key, votes["labels"].to_pylist(), "rules", "02"))
    (tmp_path / "gold.csv").write_text(
        "\n".join(["video_id,labels", *(f"{clip},{labels[0]}" for clip, labels in gold.items())])
    )
    experts = [{"kind": "words", "name": name} for name in "abc"]
    with session(validate({"experts": experts}, "a test"), out, "label", None):
        pass
    written = tmp_path / "labels.parquet"
    asked = ["judge", "--out", out, "--calibrate", str(tmp_path / "gold.csv"), "--broad-mamba", str(written)]
    assert main(asked) == 2
    assert "goes with --calibrate GOLD and --smoothing" in capsys.readouterr().err
    # Where nothing can be written that is told first, and nothing is trained.
    with monkeypatch.context() as untrained:
        untrained.setattr(dialogue_labels, "trained_labels", pytest.fail)
        for place, why in ((tmp_path, "this is a folder"), (tmp_path / "gold.csv" / "x", "gold.csv")):
            assert main([*asked[:-1], str(place), "--smoothing"]) != 0
            assert why in capsys.readouterr().err
    assert main([*asked, "--smoothing", "--json", "--set", "judge.max_labels=1"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["smoothing"]["beyond"]["low"] > 0
    assert "the reconstruction of Broad Mamba gains" in printed.err
    assert pq.read_table(written).num_rows == len(gold)
    # Its file is one that `emo evaluate` scores.
    scored = ["evaluate", "--metric", "ew", "--predicted", str(written), "--gold", str(tmp_path / "gold.csv")]
    assert main([*scored, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
