"""Run ids sort by time, whatever the clock does; a run file tells what was asked and done."""

from datetime import UTC, datetime, timedelta

import pytest

from emo.errors import InputError
from emo.runs import Run, Step, check_settings, load_runs, new_run_id
from emo.storage import Storage

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def _save(storage, run_id, steps=(), config=None):
    Run(run_id, "label", "s", config or {}, NOON.isoformat(), steps=list(steps)).save(storage)


def test_ids_rise_even_when_the_clock_goes_back(tmp_path):
    storage = Storage(str(tmp_path))
    ids = []
    for moment in (NOON, NOON, NOON - timedelta(days=400), NOON + timedelta(hours=1)):
        ids.append(new_run_id(storage, moment))
        _save(storage, ids[-1])
    assert ids == sorted(set(ids))
    assert ids[0] == "20260501T120000Z"


def test_runs_are_read_back_oldest_first(tmp_path):
    storage = Storage(str(tmp_path))
    for run_id in ("20260501T120000Z", "20260502T120000Z", "20260503T120000Z"):
        _save(storage, run_id, [Step("ingest", rows=3, ok=2, failed=1)])
    assert [run["run_id"] for run in load_runs(storage, last=2)] == ["20260502T120000Z", "20260503T120000Z"]
    assert load_runs(storage)[0]["steps"][0]["failed"] == 1


CONFIG = {"ingest": {"frames": 8, "workers": "auto"}, "experts": [{"name": "a", "prompt": "x"}]}


def _runs(config, step):
    return [{"steps": [{"name": step, "rows": 1}], "config": config}]


def test_the_same_settings_go_on_and_so_do_those_that_change_no_result():
    check_settings([], CONFIG)
    check_settings(_runs(CONFIG, "ingest"), {**CONFIG, "ingest": {"frames": 8, "workers": 2}})


def test_other_settings_are_refused_by_name():
    changed = {**CONFIG, "ingest": {"frames": 16, "workers": "auto"}}
    with pytest.raises(InputError, match=r"ingest: .*frames was 8 and is 16.*--redo"):
        check_settings(_runs(CONFIG, "ingest"), changed)
    changed = {**CONFIG, "experts": [{"name": "a", "prompt": "y"}]}
    with pytest.raises(InputError, match=r"describe a: .*prompt was 'x' and is 'y'"):
        check_settings(_runs(CONFIG, "describe a"), changed)


def test_what_never_ran_may_change():
    changed = {"ingest": {"frames": 16}, "experts": [{"name": "b", "prompt": "y"}]}
    check_settings(_runs(CONFIG, "describe a"), changed)
