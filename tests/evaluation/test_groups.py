"""Each number by group of clips: the right clips, the gap and its chance, and who is not shown."""

import json

import pytest

import emo
from emo.cli import main
from emo.errors import InputError
from emo.evaluation.groups import by_group, read_groups
from review_outs import Judged, answer, make_out


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def files(tmp_path):
    """100 clips: all right of 40 women, half of 40 men, 20 of others."""
    gold = [{"video_id": f"{n:03}", "labels": ["happy"]} for n in range(100)]
    said = ["happy" if n < 40 or n % 2 else "sad" for n in range(100)]
    predicted = [{"video_id": f"{n:03}", "labels": [label]} for n, label in enumerate(said)]
    group = ["woman"] * 40 + ["man"] * 40 + ["other"] * 18 + [None] * 2
    groups = [{"video_id": f"{n:03}", "group": one, "age": n % 2} for n, one in enumerate(group)]
    names = (("gold", gold), ("predicted", predicted), ("groups", groups))
    return {name: write(tmp_path / f"{name}.jsonl", rows) for name, rows in names}


def test_a_group_scores_what_its_clips_alone_score(files, tmp_path):
    found = emo.evaluate(files["predicted"], files["gold"], metric="emo-clusters", by=str(files["groups"]))
    assert found.groups.clips == {"man": 40, "woman": 40}
    assert (found.groups.hidden, found.groups.hidden_clips, found.groups.without) == (1, 18, 2)
    ids = [f"{n:03}" for n in range(40, 80)]
    rows = {row["video_id"]: row for row in map(json.loads, files["gold"].read_text().splitlines())}
    men = write(tmp_path / "men.jsonl", [rows[one] for one in ids])
    alone = emo.evaluate(files["predicted"], men, metric="emo-clusters")
    assert found.groups.scores["F"]["man"] == alone.intervals["F"]
    assert found.groups.scores["F"]["woman"].value == 1
    gap = found.groups.gaps["F"]
    assert (gap.best, gap.worst, gap.value) == ("woman", "man", pytest.approx(0.5))
    assert gap.p_value < 0.01


def test_a_gap_that_chance_makes_is_told_as_such(files):
    found = emo.evaluate(files["gold"], files["gold"], metric="emo-clusters", by=f"{files['groups']}:group")
    assert found.groups.gaps["F"].value == 0
    assert found.groups.gaps["F"].p_value == 1


def test_metrics_with_several_numbers_give_each_of_them(files, tmp_path):
    by = f"{files['groups']}:age"
    gold = write(tmp_path / "one.jsonl", [{"video_id": f"{n:03}", "label": "happy"} for n in range(100)])
    found = emo.evaluate(files["predicted"], gold, metric="classes", classes="happy,sad", by=by)
    assert set(found.groups.scores) == {"accuracy", "weighted_f1", "macro_f1", "uar"}
    assert found.groups.scores["accuracy"]["1"].value == 1
    assert found.groups.scores["accuracy"]["0"].value == pytest.approx(0.4)


def test_the_command_prints_groups_and_gives_them_as_json(files, capsys):
    command = ["evaluate", "--metric", "emo-clusters", "--by", str(files["groups"])]
    command += ["--gold", str(files["gold"]), "--predicted", str(files["predicted"])]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "largest gap: 50.00, woman over man, p = 0.001" in told
    assert "1 groups with fewer than 30 clips each are not shown (18 clips)" in told
    assert "other" not in told
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["groups"]["gaps"]["F"]["best"] == "woman"


def test_reviews_of_an_out_are_gold_by_group_too(tmp_path):
    clips = [Judged(f"{number:02}", labels=("happy",)) for number in range(60)]
    out = make_out(tmp_path / "out", clips)
    for number, clip in enumerate(clips):
        answer(out, clip.video_id, ["happy" if number % 2 else "sad"], queue="random")
    (tmp_path / "by.csv").write_text("name,group\n" + "".join(f"{n:02},{'ab'[n % 2]}\n" for n in range(60)))
    found = emo.evaluate(out.url, out.url, metric="emo-clusters", by=str(tmp_path / "by.csv"))
    assert {name: one.value for name, one in found.groups.scores["F"].items()} == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("video_id,age\na,1\n", "needs video_id .or name. and group; it has video_id, age"),
        ("video_id,group\na,x\na,y\n", "row 3: .a. has another group than in an earlier row"),
        ("video_id,group\na,\n", "names no clip with a group"),
    ],
)
def test_a_table_that_gives_no_groups_is_refused(tmp_path, text, reason):
    (tmp_path / "by.csv").write_text(text)
    with pytest.raises(InputError, match=reason):
        read_groups(str(tmp_path / "by.csv"))
    for place in ("nowhere.csv", "by.txt:age"):
        with pytest.raises(InputError, match="--by"):
            read_groups(str(tmp_path / place))


def test_groups_of_other_clips_or_too_small_ones_are_refused(files):
    found = emo.evaluate(files["predicted"], files["gold"], metric="emo-clusters")
    parts = found.scored.per_clip
    with pytest.raises(InputError, match="none of its 1 clips is among the 100"):
        by_group(parts, {"x": "a"})
    with pytest.raises(InputError, match="no group has 30 scored clips; the largest has 2"):
        by_group(parts, {"000": "a", "001": "a"})
