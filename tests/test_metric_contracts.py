"""What every metric keeps, whatever it is; a new one is tested by being registered."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from conftest import REPOSITORY
from emo.errors import InputError
from emo.evaluation import metrics, scoring
from emo.evaluation.metric import ALL_TAKE, Request

METRICS = sorted(metrics.REGISTRY.own)
GOLD = {"a": ["happy"], "b": ["sad", "lonely"], "c": ["angry"], "d": ["afraid"]}
WORSE = {"a": ["angry"], "b": ["happy"], "c": ["angry"], "d": ["bored"]}


def jsonl(path: Path, values: dict[str, Any], column: str = "labels") -> str:
    lines = (json.dumps({"video_id": name, column: value}) + "\n" for name, value in values.items())
    path.write_text("".join(lines))
    return str(path)


def of_labels(folder: Path) -> dict[str, Any]:
    return {
        "gold": (jsonl(folder / "gold.jsonl", GOLD),),
        "predicted": (jsonl(folder / "gold2.jsonl", GOLD),),
        "compare": (jsonl(folder / "worse.jsonl", WORSE),),
    }


def of_groups(folder: Path) -> dict[str, Any]:
    groups = {name: [[word] for word in {*words, *WORSE[name]}] for name, words in GOLD.items()}
    (folder / "groups.json").write_text(json.dumps(groups))
    return {**of_labels(folder), "options": {"groups": str(folder / "groups.json")}}


def of_classes(folder: Path) -> dict[str, Any]:
    one = {name: words[:1] for name, words in GOLD.items()}
    return {**of_labels(folder), "gold": (jsonl(folder / "one.jsonl", one, "label"),)}


def of_preferences(folder: Path) -> dict[str, Any]:
    gold, worse = dict.fromkeys(GOLD, "a1"), dict.fromkeys(GOLD, "a2")
    return {
        "gold": (jsonl(folder / "gold.jsonl", {**gold, "a": "a2"}, "preference"),),
        "predicted": (jsonl(folder / "gold2.jsonl", {**gold, "a": "a2"}, "preference"),),
        "compare": (jsonl(folder / "worse.jsonl", {**worse, "a": "a1"}, "preference"),),
    }


# Metric -> what it is asked, where label sets in files are not all that it needs. Those that are missing need
# the benchmark's own tables or a judge: they are scored in tests/evaluation.
ASKED = {"mer2024": of_groups, "classes": of_classes, "prefer": of_preferences}
ELSEWHERE = (
    *("unibench", "descriptions", "mer-fg", "ranking", "valence", "reliability"),
    *("emobench-joint", "emobench-generation", "mme-emotion"),
)
NEEDS = {
    "mer2024": "--groups or --judge",
    "unibench": "--wheels",
    "descriptions": "--judge",
    "mer-fg": "--wheels",
    "ranking": "--judge",
}


@pytest.mark.parametrize("kind", METRICS)
def test_a_metric_says_what_it_takes_and_refuses_the_rest_before_it_reads_anything(kind):
    metric = metrics.REGISTRY.named(kind)()
    general = {field.name for field in fields(Request)}
    own = {option.name for option in metric.options}
    assert metric.takes <= general - ALL_TAKE
    assert metric.summary
    gold = ("nowhere",) if metric.needs_gold else ()
    request = Request(predicted=("nowhere",), gold=gold, metric=kind)
    with pytest.raises(InputError, match="needs --gold" if metric.needs_gold else "uses no --gold"):
        scoring.run(replace(request, gold=() if metric.needs_gold else ("nowhere",)))
    for option in general - ALL_TAKE - metric.takes:
        value = 1 if option in ("sample", "compare_sample") else "x"
        with pytest.raises(InputError, match=f"--{option.replace('_', '-')} is not used by --metric {kind}"):
            scoring.run(replace(request, **{option: value}))
    for option in {option.name for option in metrics.options()} - own:
        with pytest.raises(InputError, match=f"--{option.replace('_', '-')} is not used by --metric {kind}"):
            scoring.run(replace(request, options={option: "x"}))
    for option in metric.options:
        if option.choices:
            with pytest.raises(InputError, match=f"--{option.name} is 'x'; expected {option.choices[0]} or"):
                scoring.run(replace(request, options={option.name: "x"}))
    if kind in NEEDS:
        with pytest.raises(InputError, match=f"needs {NEEDS[kind]}"):
            scoring.run(request)


def check_metric(request: Request, tmp_path: Path) -> None:
    """Perfect predictions score best, and the result is JSON, text, a line and well-formed plots."""
    found = scoring.run(replace(request, plots=str(tmp_path / "plots")))
    assert is_dataclass(found.scored.result)
    assert found.intervals
    assert found.comparisons.keys() == found.intervals.keys()
    for name, value in found.intervals.items():
        assert value.low <= value.value <= value.high
        assert value.value == 1.0
        assert found.comparisons[name].difference.value > 0
    content = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert content["metric"] == found.scored.result.metric
    assert content["predicted"] == request.predicted[0]
    assert content["compared"]["predicted"] == request.compare[0]
    assert f"predicted: {request.predicted[0]}" in found.as_text()
    assert found.headline().startswith(f"{content['metric']} ")
    assert f"{len(GOLD)} clips" in found.headline()
    assert "\n" not in found.headline()
    for path in (tmp_path / "plots").glob("*.svg"):
        assert ElementTree.fromstring(path.read_text()).tag.endswith("svg")


@pytest.mark.parametrize("kind", [kind for kind in METRICS if kind not in ELSEWHERE])
def test_a_metric_ranks_a_perfect_system_above_a_worse_one_and_tells_it_in_every_form(kind, tmp_path):
    request = Request(metric=kind, **ASKED.get(kind, of_labels)(tmp_path))
    check_metric(request, tmp_path)


OUTSIDE = '''
from dataclasses import dataclass
import numpy as np
from emo.evaluation.bootstrap import per_clip_mean
from emo.evaluation.metric import Evaluation, Metric, Option, Request, Scored, finish, gold_labels, systems
from emo.evaluation.systems import read_system

LEAST = Option("least", "how many labels a clip of gold needs", "N", int)

@dataclass(frozen=True)
class Share:
    metric: str
    share: float
    clips: int

class ExactMetric(Metric[Share]):
    """The share of clips whose label set is exactly that of gold."""
    summary = "exact matches"
    options = (LEAST,)
    def score(self, request):
        gold, notes = gold_labels(request)
        gold = {name: labels for name, labels in gold.items() if len(labels) >= (request.given(LEAST) or 0)}
        def one(system):
            right = [set(gold[name]) == set(system.values.get(name, ())) for name in gold]
            share = Share("exact", float(np.mean(right)), len(right))
            made_of = per_clip_mean(list(gold), np.array([right], dtype=float))
            return Scored(system.name, share, {"share": [made_of]}, notes)
        predicted, other = systems(request, read_system)
        return finish(self, request, one(predicted), other and one(other))
    def lines(self, result):
        return [f"exact: {100 * result.share:.2f}"]
    def headline(self, result):
        return f"{100 * result.share:.2f}", result.clips
'''


def test_a_metric_from_outside_is_scored_by_its_place(tmp_path, monkeypatch):
    (tmp_path / "exact_outside.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    check_metric(Request(metric="exact_outside:ExactMetric", **of_labels(tmp_path)), tmp_path)


def emo(*arguments: str, source: Path) -> subprocess.CompletedProcess[str]:
    """The command line of the copy of the package that lies in `source`."""
    command = [sys.executable, "-m", "emo", *arguments]
    return subprocess.run(
        command, cwd=source, env={**os.environ, "PYTHONPATH": str(source)}, capture_output=True, text=True
    )


def test_one_file_is_all_that_a_new_metric_takes(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(
        REPOSITORY / "emo", source / "emo", symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(REPOSITORY / "jobs", source / "jobs", ignore=shutil.ignore_patterns("__pycache__"))
    (source / "emo/evaluation/metrics/new_one.py").write_text(OUTSIDE)
    asked = of_labels(tmp_path)
    sides = [f"--{side}={asked[side][0]}" for side in ("predicted", "gold", "compare")]

    told = emo("evaluate", "--help", source=source)
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert any(line.split() == ["new-one", "exact", "matches"] for line in lines)
    assert any(line.split()[:2] == ["--least", "N"] and "new-one: how many labels" in line for line in lines)

    done = emo("evaluate", "--metric", "new-one", *sides, "--json", source=source)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["metric"], found["share"], found["clips"]) == ("exact", 1.0, len(GOLD))
    assert found["compared"]["share"] == 0.25
    assert found["intervals"].keys() == found["comparisons"].keys() == {"share"}

    done = emo("evaluate", "--metric", "new-one", *sides, "--least", "2", "--json", source=source)
    found = json.loads(done.stdout)
    assert (found["clips"], found["options"]["least"]) == (1, 2)
    refused = emo("evaluate", *sides, "--least", "2", source=source)
    assert (refused.returncode, "--least is not used by --metric ew" in refused.stderr) == (2, True)

    program = "from emo.metrics_page import page; print(page())"
    page = subprocess.run(
        [sys.executable, "-c", program],
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "| `new-one` | exact matches | `--least` |" in page
    assert "| `--least N` | `new-one` | how many labels a clip of gold needs |" in page
