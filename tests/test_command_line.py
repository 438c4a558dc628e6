"""What every command shares: one JSON object on success and on every error, and one line for a person."""

import json

import pytest

from conftest import REPOSITORY
from emo.cli import main
from labelling import emo

OUT = REPOSITORY / "tests/fixtures/out_of_0_1_0"


def told(capsys):
    printed = capsys.readouterr()
    return json.loads(printed.out), printed.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["label"],
        ["label", "nowhere", "--out", "out"],
        ["ingest", "nowhere", "--out", "out"],
        ["plan", "nowhere", "--out", "out"],
        ["plan", "nowhere", "--out", "out", "--set", "x=1"],
        ["describe", "--out", "nowhere", "--expert", "words"],
        ["extract", "--out", "nowhere"],
        ["judge", "--out", "nowhere"],
        ["judge", "--out", "out", "--votes", "nowhere"],
        ["report", "--out", "nowhere"],
        ["status", "--out", "nowhere"],
        ["failures", "--out", "nowhere"],
        ["repair", "--out", "nowhere"],
        ["caption", "--out", "nowhere"],
        ["finetune", "--out", "out", "--name", "-"],
        ["adapters", "show", "--out", "out"],
        ["adapters", "merge", "--out", str(OUT)],
        ["nightly"],
        ["submit", "nothing"],
        ["submit", "label", "nowhere"],
        ["evaluate", "--gold", "nowhere", "--predicted", "nowhere"],
    ],
)
def test_every_command_that_is_refused_prints_one_object(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([arguments[0], "--json", *arguments[1:]]) == 2
    result, said = told(capsys)
    assert (result["outcome"], result["exit_code"]) == ("failed", 2)
    assert said.startswith(f"emo: {result['error']}")
    assert list(tmp_path.iterdir()) == []
    assert main(arguments) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "--out", OUT],
        ["failures", "--out", OUT],
        ["plan", REPOSITORY / "samples/clips", "--out", "fresh"],
        ["caption", "--out", OUT, "--plan"],
    ],
)
def test_every_command_that_is_done_prints_one_object(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*map(str, arguments), "--json"]) == 0
    result, _ = told(capsys)
    assert (result["outcome"], result["exit_code"]) == ("done", 0)


@pytest.mark.parametrize(
    ("raised", "outcome", "code"),
    [(KeyboardInterrupt(), "interrupted", 130), (ZeroDivisionError("x"), "failed", 1)],
)
def test_what_nobody_foresaw_is_an_object_too(raised, outcome, code, capsys, monkeypatch):
    def stop(config):
        raise raised

    monkeypatch.setattr("emo.cli.command.config_of", stop)
    arguments = ["plan", "x", "--out", "y", "--json"]
    if isinstance(raised, Exception):
        with pytest.raises(ZeroDivisionError):
            main(arguments)
    else:
        assert main(arguments) == code
    result, _ = told(capsys)
    assert (result["outcome"], result["exit_code"]) == (outcome, code)


def test_where_all_rows_failed_no_share_is_blamed(tmp_path, ray_cluster):
    (tmp_path / "v").mkdir()
    (tmp_path / "v/a.mp4").write_bytes(b"no video")
    only = ("--set", "experts=[{kind: words}]", "--set", "max_failed_share=1")
    done = emo("label", tmp_path / "v", "--out", tmp_path / "out", "--json", *only, env=ray_cluster)
    assert done.returncode == 3
    assert json.loads(done.stdout)["outcome"] == "too_many_failed"
    assert done.stderr.splitlines()[-1] == "emo: all rows of ingest failed"
