"""What `emo evaluate` cannot read or do is refused in one line that says what and where."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emo.cli import main
from evaluate_command import jsonl, refused


def test_bad_files_are_refused_in_one_line_that_says_what_and_where(files, tmp_path, capsys):
    gold, predicted, _ = files

    def against(content, name="bad.jsonl"):
        path = tmp_path / name
        path.write_text(content)
        return path

    def line(side, path):
        given = {"--gold": gold, "--predicted": predicted, side: path}
        return refused(capsys, *(part for pair in given.items() for part in pair))

    assert line("--gold", against("")).endswith("bad.jsonl: has no labels")
    strangers = jsonl(tmp_path / "strangers.jsonl", {"x": ["sad"], "y": ["sad"]})
    assert "no video_id of the gold set is among the predicted ones: gold has 'x' and 'y'" in line(
        "--gold", strangers
    )
    assert "no clip has a gold label in the vocabulary" in line(
        "--gold", jsonl(tmp_path / "unknown.jsonl", {"a": ["blorpish"], "b": []})
    )
    assert "line 1: no column labels or openset; it has video_id, words" in line(
        "--predicted", jsonl(tmp_path / "wrong.jsonl", {"a": ["sad"]}, "words")
    )
    votes = tmp_path / "votes.parquet"
    pq.write_table(pa.table({"video_id": ["a"], "expert": ["x"], "sample": [0], "labels": [[1]]}), votes)
    assert "column 'labels' is list<" in line("--predicted", votes)
    assert "nowhere.csv: is not there" in line("--predicted", tmp_path / "nowhere.csv")
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(b"PAR1")
    assert "cut.parquet: cannot be read as Parquet" in line("--predicted", cut)
    assert "has nothing of expert 'nobody'" in refused(
        capsys, "--gold", gold, "--predicted", predicted, "--expert", "nobody"
    )


def test_wheels_with_a_missing_sheet_or_file_are_refused_by_its_name(files, wheels_folder, tmp_path, capsys):
    gold, predicted, _ = files
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for path in wheels_folder.iterdir():
        if path.name != "wheel3.xlsx":
            (wheels / path.name).write_bytes(path.read_bytes())
    given = ["--gold", gold, "--predicted", predicted, "--wheels", wheels]
    assert "wheel3.xlsx" in refused(capsys, *given)
    (wheels / "wheel3.xlsx").write_text("not a workbook")
    assert "wheel3.xlsx cannot be read as an Excel workbook" in refused(capsys, *given)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            ["--metric", "accuracy"],
            "'accuracy'; expected one of: classes, descriptions, emo-clusters, emobench-generation",
        ),
        (["--groups", "x.json"], "--groups is not used by --metric ew"),
        (["--metric", "emo-clusters", "--wheels", "x"], "--wheels is not used by --metric emo-clusters"),
        (["--unknown", "wrong"], "--unknown is an option of EW, which needs --wheels"),
        (["--metric", "mer2024"], "needs --groups or --judge"),
        (["--metric", "unibench"], "needs --wheels"),
        (["--metric", "descriptions"], "needs --judge"),
        (["--compare-sample", "1"], "say what --compare means; it is not given"),
        (["--metric", "mer2024", "--judge", "model"], "'model' is not KEY=VALUE"),
        (["--metric", "mer2024", "--judge", "kind=gpt"], "kind is 'gpt'; expected model or openai"),
        (["--metric", "mer2024", "--judge", "kind=openai,model=x"], "--judge: url: is missing"),
        (
            ["--metric", "mer2024", "--judge", "kind=openai,model=x,url=http://h/v1,top=1"],
            "--judge: top: unknown key",
        ),
        (["--metric", "mer2024", "--judge", "kind=model,model=/nowhere,device=cpu"], "/nowhere"),
        (["--wheels", "/nowhere"], "wheels: /nowhere is not a folder"),
        (["--gold", "second.csv"], "--gold is given twice"),
        (["--plots", "/dev/null/x"], "--plots /dev/null/x: cannot be made"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_the_reason(files, capsys, arguments, reason):
    gold, predicted, _ = files
    assert reason in refused(capsys, "--predicted", predicted, "--gold", gold, *arguments)


def test_a_server_that_is_not_there_is_one_line_too(files, capsys):
    gold, predicted, _ = files
    judge = "kind=openai,url=http://127.0.0.1:9/v1,model=x,attempts=1"
    arguments = ["--metric", "mer2024", "--predicted", predicted, "--gold", gold, "--judge", judge]
    assert main(["evaluate", *map(str, arguments)]) != 0
    assert "127.0.0.1:9" in capsys.readouterr().err
