"""The split `test`: answered at the end by base and best, and by nothing that chooses."""

import json

import pytest

import checkpoints
import synthetic_clips
from emo.finetuning import held_out, prepared
from emo.finetuning.live import Live
from emo.finetuning.result import finish
from emo.finetuning.settings import Finetune
from emo.finetuning.task import Task
from emo.run.training import saved_so_far
from emo.run.training_answers import ask_test
from emo.store.storage import Storage
from trained_folders import checkpoint, entry


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return checkpoints.make_internvl(tmp_path_factory.mktemp("base"))


def task_of(base, tmp_path, **validation):
    shown = {"file": "data/clips-00000.parquet", "place": 0}
    entries = [
        entry("one", "She is angry."),
        entry("two", "She is sad.", "validation", **shown),
        entry("three", "She is glad.", "test", **shown),
        entry("four", "She is afraid.", "test", **shown),
        entry("five", "She is sad.", "test", error="bad_frames"),
    ]
    place = Storage(str(tmp_path / "run"))
    prepared.write_clips(place, "data/clips-00000.parquet", [synthetic_clips.clip(1, frames=2)])
    prepared.write_entries(place, [prepared.table_of(entries)])
    values = {"samples": 1, "max_new_tokens": 2, **validation}
    settings = Finetune(model=str(base), device="cpu", max_frames=2, lora={"rank": 4}, validation=values)
    return Task("split", settings, place, prepared.about(entries, "f"))


def test_base_and_best_answer_the_test_split_at_the_end_and_the_page_shows_both(base, tmp_path):
    task = task_of(base, tmp_path, test_samples=2)
    assert task.tests
    assert task.data["test"] == 2
    checkpoint(task.place, base, task.settings, 3, 1.0)
    kept = saved_so_far(task)
    result = finish(task, kept[-1], kept, lambda best: held_out.judge_test(task.place, task.settings, best))
    metrics = result["metrics"]
    assert {"test_f1", "test_base_f1", "test_parse_failures", "test_base_parse_failures"} <= metrics.keys()
    about = json.loads(task.place.read("best/emo_adapter.json"))
    assert about["metrics"] == metrics
    assert "test_f1" in task.place.read("best/README.md").decode()
    rows = [
        [row["sample"] for row in held_out.read_answers(task.place, path)["rows"]]
        for path in (held_out.TEST_BASE, held_out.TEST_BEST)
    ]
    assert rows[0] == rows[1]
    assert sorted(rows[0]) == ["four", "three"]
    page = task.place.read("index.html").decode()
    assert "test_f1" in page
    assert "test_base" not in page, "it stands in the column of the base"


def test_the_samples_of_the_checkpoints_are_never_those_of_the_test_split(base, tmp_path):
    task = task_of(base, tmp_path)
    held_out.judge_base(task.place, task.settings)
    told = held_out.read_answers(task.place, held_out.BASE_ANSWERS)
    assert [row["sample"] for row in told["rows"]] == ["two"]


def test_the_page_of_a_run_that_goes_on_from_an_adapter_names_it():
    from emo.finetuning.page import page

    settings = Finetune(model="m", adapter="adapters/faces").model_dump(mode="json")
    data = {"train": 1, "held_out": 0, "refused": {}}
    assert "adapters/faces" in page("n", settings, data, [], {"step": 1}, None, None, {})


def test_without_test_samples_nobody_is_asked(base, tmp_path):
    task = task_of(base, tmp_path, test_samples=0)
    assert not task.tests
    assert ask_test(task, "nowhere", Live("split", 1)) == {}
