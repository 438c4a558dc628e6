"""A benchmark says which of its ratios became worse than those that were last committed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "figures", raising=False)
    import figures

    return figures


def test_only_ratios_that_are_worse_by_more_than_a_tenth_are_told(figures) -> None:
    before = {"h264": {"emo_to_decord": 0.6, "emo_ms": 100.0}, "daft": {"to_emo": 1.5}, "name": "x"}
    said = figures.slower(
        before,
        {"h264": {"emo_to_decord": 0.7, "emo_ms": 900.0}, "daft": {"to_emo": 1.2}, "name": "y"},
        lower=("emo_to_",),
        higher=("to_emo",),
    )
    assert said == [
        "h264.emo_to_decord: 0.7, and 0.6 when it was last committed",
        "daft.to_emo: 1.2, and 1.5 when it was last committed",
    ]
    near = {"h264": {"emo_to_decord": 0.65}, "daft": {"to_emo": 1.4}, "new": {"emo_to_decord": 9.0}}
    assert figures.slower(before, near, lower=("emo_to_",), higher=("to_emo",)) == []


def test_what_is_compared_with_is_what_was_committed(
    figures, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["other.py"])
    path = tmp_path / "decode.json"
    figures.compare(path, {"ratio": 5.0}, lower=("ratio",))
    figures.compare(None, {"ratio": 5.0}, lower=("ratio",))
    path.write_text(json.dumps({"figures": {"ratio": 1.0}}))
    figures.compare(path, {"ratio": 5.0}, lower=("ratio",))
    assert capsys.readouterr().err == ""
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "figures"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    path.write_text(json.dumps({"figures": {"ratio": 5.0}}))
    figures.compare(path, {"ratio": 5.0}, lower=("ratio",))
    assert capsys.readouterr().err == "ratio: 5, and 1 when it was last committed\n"
    # Figures of the same name that go elsewhere, and those of a script that are written nowhere.
    figures.compare(tmp_path.parent / "decode.json", {"ratio": 4.0}, lower=("ratio",))
    monkeypatch.setattr(sys, "argv", ["benchmarks/decode.py"])
    figures.compare(None, {"ratio": 3.0}, lower=("ratio",))
    told = "ratio: 4, and 1 when it was last committed\nratio: 3, and 1 when it was last committed\n"
    assert capsys.readouterr().err == told


# What they measure is how good something is, or seconds alone.
WITHOUT_RATIOS = {"duplex", "extraction", "judge_quality", "light", "rounds", "words"}


def test_every_benchmark_that_keeps_ratios_compares_them() -> None:
    keep = [script for script in BENCHMARKS.glob("*.py") if "add_json_option(parser)" in script.read_text()]
    silent = {script.stem for script in keep if "\n    compare(" not in script.read_text()}
    assert len(keep) > len(WITHOUT_RATIOS)
    assert silent == WITHOUT_RATIOS
