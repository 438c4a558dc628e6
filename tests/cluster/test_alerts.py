"""Alerts fire when they should, and Prometheus understands what panels ask."""

import copy
import json
import shutil
import subprocess

import pytest
import yaml

from cluster_manifests import CLUSTER, of_kind
from conftest import REPOSITORY


def rule_groups():
    ((_, rules),) = of_kind("PrometheusRule")
    return rules["spec"]["groups"]


def test_the_rules_for_those_without_the_operator_are_the_same():
    assert yaml.safe_load((CLUSTER / "alert-rules.yml").read_text()) == {"groups": rule_groups()}


@pytest.fixture
def promtool():
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not here: it comes with Debian's package prometheus (.ci/run installs it)")

    def run(*arguments, **options):
        return subprocess.run([found, *arguments], capture_output=True, text=True, **options)

    return run


def test_prometheus_takes_the_rules(promtool):
    done = promtool("check", "rules", str(CLUSTER / "alert-rules.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(rule_groups()[0]['rules'])} rules found" in done.stdout


def test_alerts_fire_when_they_should_and_at_no_other_time(promtool, tmp_path):
    shutil.copy(REPOSITORY / "tests/cluster/alert_series_test.yml", tmp_path)
    shutil.copy(CLUSTER / "alert-rules.yml", tmp_path)
    done = promtool("test", "rules", "alert_series_test.yml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


ENDS_WITH_THE_CLIPS = """
    sum by (step) (max_over_time(ray_emo_waiting[5m])) > 0
    unless sum by (step) (emo:clips:increase30m) > 0
    unless (
      sum by (step) (ray_emo_clips_total) > 0 and sum by (step) (increase(ray_emo_clips_total[75m])) == 0
    )
"""


@pytest.mark.parametrize(
    ("alert", "expression", "telling"),
    [
        (
            "EmoStandsStill",
            "sum by (step) (ray_emo_waiting) > 0 and sum by (step) (rate(ray_emo_clips_total[30m])) == 0",
            "no clip was ever finished, and there is no counter",
        ),
        (
            "EmoStandsStill",
            "sum by (step) (max_over_time(ray_emo_waiting[5m])) > 0",
            "a run whose shards take twenty minutes each stands not still",
        ),
        (
            "EmoStandsStill",
            ENDS_WITH_THE_CLIPS,
            "it worked for two hours, then its only worker froze, and is told for as long as the driver runs",
        ),
        (
            "EmoManyFailures",
            'sum by (step) (rate(ray_emo_clips_total{status="failed"}[30m])) > 0',
            "a third fails all the time, in one step only",
        ),
        (
            "EmoWorkersDie",
            "sum by (step) (increase(ray_emo_retries_total[1h])) > 100",
            "five hundred rows lost their worker at once, born with the counter or counted from zero",
        ),
    ],
)
def test_the_series_tell_a_rule_that_is_wrong(promtool, tmp_path, alert, expression, telling):
    """A test of the test: rules that once stood here, or that come to mind first, are found wanting."""
    groups = copy.deepcopy(rule_groups())
    (rule,) = [one for one in groups[0]["rules"] if one.get("alert") == alert]
    rule["expr"] = expression
    (tmp_path / "alert-rules.yml").write_text(yaml.safe_dump({"groups": groups}))
    whole = yaml.safe_load((REPOSITORY / "tests/cluster/alert_series_test.yml").read_text())
    (series,) = [one for one in whole["tests"] if one["name"] == telling]
    (tmp_path / "alert_series_test.yml").write_text(yaml.safe_dump({**whole, "tests": [series]}))
    done = promtool("test", "rules", "alert_series_test.yml", cwd=tmp_path)
    assert done.returncode != 0
    assert f"alertname: {alert}" in done.stdout + done.stderr


def test_prometheus_understands_what_the_panels_ask(promtool, tmp_path):
    dashboard = json.loads((CLUSTER / "grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = [expression.replace("$__rate_interval", "1m") for expression in asked]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(asked)]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = promtool("check", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]}
    assert len(places) == len(dashboard["panels"])
