"""Run ids sort by time, whatever the clock does; a run file tells what was asked and done."""

from datetime import UTC, datetime, timedelta

import pytest

from emo.config import validate
from emo.errors import InputError
from emo.jobs.label import steps
from emo.run.session import settings_of
from emo.store.runs import Run, StepRecord, check_settings, load_runs, new_run_id
from emo.store.storage import Storage

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
        _save(storage, run_id, [StepRecord("ingest", rows=3, ok=2, failed=1)])
    assert [run["run_id"] for run in load_runs(storage, last=2)] == ["20260502T120000Z", "20260503T120000Z"]
    assert load_runs(storage)[0]["steps"][0]["failed"] == 1


CONFIG = {
    "ingest": {"frames": 8, "workers": "auto"},
    "experts": [
        {"kind": "openai", "name": "a", "prompt": "x", "server": {"model": "m", "url": "http://one"}}
    ],
    "extract": {"kind": "rules"},
}


def _expert(**changes):
    return {**CONFIG, "experts": [{**CONFIG["experts"][0], **changes}]}


def _settings(tree):
    return settings_of(steps(validate(tree, "here")))


def _check(before, now, redo_since=None):
    check_settings(_settings(before), redo_since or {}, _settings(now))


def test_the_same_settings_go_on_and_so_do_those_that_change_no_result():
    check_settings({}, {}, _settings(CONFIG))
    _check(CONFIG, {**CONFIG, "ingest": {"frames": 8, "workers": 2}})
    _check(CONFIG, _expert(server={"model": "m", "url": "http://another"}))
    # A setting that is new in this version.
    before = _settings(CONFIG)
    del before["describe a"]["seed"]
    check_settings(before, {}, _settings(CONFIG))


def test_other_settings_are_refused_by_name_with_the_command_that_makes_the_rows_anew():
    with pytest.raises(InputError, match=r"ingest: .*frames was 8 and is 16.*emo ingest --redo"):
        _check(CONFIG, {**CONFIG, "ingest": {"frames": 16, "workers": "auto"}})
    with pytest.raises(InputError, match=r"describe a: .*prompt was 'x' and is 'y'.*--expert a --redo"):
        _check(CONFIG, _expert(prompt="y"))
    with pytest.raises(InputError, match=r"describe a: .*server\.model was 'm' and is 'n'"):
        _check(CONFIG, _expert(server={"model": "n", "url": "http://one"}))
    with pytest.raises(InputError, match=r"extract: .*kind was 'rules' and is 'model'"):
        _check(CONFIG, {**CONFIG, "extract": {"kind": "model", "model": "m"}})


def test_what_never_ran_may_change():
    check_settings({"describe a": _settings(CONFIG)["describe a"]}, {}, _settings(_expert(name="b")))


def test_a_redo_that_is_not_finished_must_go_on():
    with pytest.raises(InputError, match=r"describe a: a redo is not finished; it goes on with: .*--redo"):
        _check(CONFIG, CONFIG, {"describe a": "20260501T120000Z"})


def test_how_a_server_is_asked_changes_no_result_and_a_section_that_comes_does():
    server = {"model": "m", "url": "http://one"}
    before = _expert(server={**server, "max_backoff_s": 60.0, "connect_timeout_s": 10.0})
    now = _expert(server={**server, "max_backoff_s": 5.0, "connect_timeout_s": 1.0})
    _check(before, now)
    # A run file of a version that compared the waits too.
    check_settings({"describe a": {"prompt": "x", "server.max_backoff_s": 60.0}}, {}, _settings(now))
    with pytest.raises(InputError, match=r"server\.model was 'm' and is 'n'"):
        _check(before, _expert(server={**server, "model": "n"}))
    with pytest.raises(InputError, match="transcribe was None and is"):
        _check(
            {**CONFIG, "ingest": {"transcribe": None}},
            {**CONFIG, "ingest": {"transcribe": {"model": "whisper"}}},
        )
