"""`emo evaluate` warns where an expert was trained on what it is scored on."""

import io
import json
from contextlib import redirect_stdout

import pyarrow as pa
import pytest

from emo.cli import main
from emo.evaluation.data_sets import data_sets, shared, written_in
from emo.experts import settings_of
from emo.experts.protocol import FRAMES, Card, Description
from emo.experts.trained_on import trained_on
from emo.jobs.describe import rows_of
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import DESCRIPTIONS, VOTES

RUN = "20260101T000000Z-test"
CLIPS = ("a", "b")


def out_of(folder, **experts):
    """An OUT in which each expert says happy; experts: name -> place of its weights, what the user adds."""
    storage = Storage(str(folder))
    for name, (model, *known) in experts.items():
        settings = settings_of({"name": name, "kind": "words", "trained_on": known})
        card = Card(name, (FRAMES,), model, trained_on=trained_on(model))
        rows = rows_of(list(CLIPS), [[Description("happy")] for _ in CLIPS], settings, card, RUN)
        committed.commit(storage, committed.folder(DESCRIPTIONS, name), DESCRIPTIONS, f"{RUN}-0", rows)
        columns = {
            "video_id": list(CLIPS),
            "expert": [name] * len(CLIPS),
            "sample": pa.array([0] * len(CLIPS), pa.int32()),
            "labels": [["happy"]] * len(CLIPS),
            "extractor": ["given"] * len(CLIPS),
        }
        votes = VOTES.rows(
            {n: columns.get(n, [None] * len(CLIPS)) for n in VOTES.schema.names}, RUN, [None] * len(CLIPS)
        )
        committed.commit(storage, committed.folder(VOTES, name), VOTES, f"{RUN}-0", votes)
    return folder


def gold_in(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("name,label\na,happy\nb,sad\n")
    return path


def warned(*arguments):
    with redirect_stdout(io.StringIO()) as printed:
        assert main(["evaluate", "--metric", "classes", *map(str, arguments), "--json"]) == 0
    return json.loads(printed.getvalue())["warnings"]


def test_an_expert_that_is_scored_on_its_own_training_data_is_told_of(tmp_path, capsys):
    out = out_of(tmp_path / "out", omni=("StarJiaxing/R1-Omni-0.5B",), plain=("Qwen/Qwen2.5-VL-7B-Instruct",))
    gold = gold_in(tmp_path / "gold.csv")
    of_votes = ("--predicted", out / "votes", "--gold", gold)
    (line,) = warned(*of_votes, "--classes", "dfew")
    assert line.startswith("omni was trained on DFEW and is scored on DFEW;")
    assert "emo evaluate: warning: omni was trained on DFEW" in capsys.readouterr().err
    assert warned(*of_votes, "--data-set", "meld") == []
    assert warned(*of_votes, "--data-set", "dfew", "--expert", "plain") == []
    assert main(["evaluate", "--metric", "classes", *map(str, of_votes), "--data-set", "dfew"]) == 0
    assert "\nwarning: omni was trained on DFEW" in capsys.readouterr().out


def test_a_data_set_that_holds_clips_of_the_other_counts_too(tmp_path):
    gpt = "models/mercaptionplus_outputhybird_face/checkpoint_000035.pth"
    out = out_of(tmp_path / "out", gpt=(gpt,), omni=("r1-omni",), llama=("x", "MMEVerse"))
    gold = gold_in(tmp_path / "MER2024" / "gold.csv")
    (line,) = warned("--predicted", out / "votes", "--gold", gold)
    assert line.startswith(
        "gpt was trained on MER-Caption+ and is scored on MER2024 (both hold clips of MER2024)"
    )
    lines = warned("--predicted", out / "votes", "--gold", gold, "--data-set", "MME-Emotion")
    assert [one.split(" was ")[0] for one in lines] == ["gpt", "llama", "omni", "omni"]
    assert "both hold clips of BOLD, CAER, CH-SIMS-v2, CMU-MOSEI" in lines[1]


def test_what_gold_is_of_is_asked_for_where_nothing_says_it(tmp_path):
    out = out_of(tmp_path / "out", omni=("r1-omni",))
    (line,) = warned("--predicted", out / "votes", "--gold", gold_in(tmp_path / "gold.csv"))
    assert "it is not known what gold is of; say it with --data-set" in line
    nothing = out_of(tmp_path / "other", plain=("Qwen/Qwen2.5-VL-7B-Instruct",))
    assert warned("--predicted", nothing / "votes", "--gold", tmp_path / "gold.csv") == []


def test_an_unknown_data_set_is_refused_with_those_that_are_known(tmp_path, capsys):
    gold = gold_in(tmp_path / "gold.csv")
    given = ["--gold", str(gold), "--predicted", str(gold), "--data-set", "DFWE"]
    assert main(["evaluate", "--metric", "classes", *given]) == 2
    assert "emo knows no 'DFWE'; expected one of MER2023" in capsys.readouterr().err


def test_what_both_hold_is_the_largest_that_is_known():
    assert shared("MER-Caption+", "MER2025") == ("MER-Caption+",)
    assert shared("DFEW", "MAFW") == ()
    assert shared("some/own-set", "Own-Set") == ()
    assert shared("someone/DFEW", "DFEW") == ("DFEW",)
    known = data_sets()
    assert {part for one in known.values() for part in one.parts} <= known.keys()


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/data/mer2023-dataset-process/label-6way.npz", ("MER2023",)),
        ("gold/ch_sims_v2.csv", ("CH-SIMS-v2",)),
        ("s3://bucket/SIMS/label.npz", ("CH-SIMS",)),
        ("mer-caption+.csv", ("MER-Caption+",)),
        ("summer2023/assimsilate.csv", ()),
    ],
)
def test_a_data_set_is_found_in_a_path_as_a_word_of_its_own(path, found):
    assert written_in(path) == found


def test_a_checkpoint_is_known_by_its_own_name_and_its_folders():
    assert trained_on("PhilipC/HumanOmniV2") == ("IntentTrain",)
    assert trained_on("/r1-omni/tests/models/Qwen2.5-VL") == ()
    assert trained_on("any", card={"datasets": "DFEW"}) == ("DFEW",)
