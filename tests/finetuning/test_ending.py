"""How a run begins and ends: what is checked before the first step, and what is left when it stops."""

import json

import pytest

import checkpoints
import synthetic_clips
from emo.config import load_config
from emo.errors import EmoError, InputError, PlaceError, StorageError, TooManyFailedError
from emo.finetuning import adapter, held_out, prepared, record
from emo.finetuning.live import Live
from emo.finetuning.result import NOT_ANSWERED
from emo.finetuning.settings import Finetune, Gate, differences
from emo.finetuning.task import Task
from emo.jobs import finetune
from emo.run import training_worker
from emo.store.runs import training_place
from emo.store.storage import Storage
from trained_folders import checkpoint, entry


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return checkpoints.make_internvl(tmp_path_factory.mktemp("base"))


def run_of(folder, entries):
    place = Storage(str(folder / "run"))
    prepared.write_clips(place, "data/clips-00000.parquet", [synthetic_clips.clip(1, frames=2)])
    prepared.write_entries(place, [prepared.table_of(entries)])
    return place


def test_held_out_answers_without_any_label_are_told_before_the_first_step(tmp_path):
    nothing = entry("one", "A person sits at a table.", "validation")
    settings = Finetune(model="m", device="cpu")
    with pytest.raises(InputError, match=r"finetune\.validation.samples=0"):
        held_out.check(run_of(tmp_path / "none", [nothing]), settings)
    said = entry("two", "She is angry.", "validation")
    held_out.check(run_of(tmp_path / "said", [nothing, said]), settings)
    given = entry("two", "A person sits.", "validation", labels=("sad",))
    held_out.check(run_of(tmp_path / "given", [nothing, given]), settings)


def test_what_is_measured_may_change_between_two_parts_of_a_run():
    before = Finetune(model="a").model_dump(mode="json")
    now = Finetune(model="a", validation={"samples": 0, "gpus": 0.5}).model_dump(mode="json")
    assert differences(before, now) == []


def test_answers_hold_a_gpu_where_the_training_is_on_one():
    assert Finetune(device="cuda").answer_gpus == 1
    assert Finetune(device="cpu").answer_gpus == 0
    assert Finetune(device="cuda", validation={"gpus": 0.5}).answer_gpus == 0.5


def test_the_base_is_asked_again_where_other_answers_are_wanted(base, tmp_path):
    entries = [entry("one", "She is angry.", "validation", file="data/clips-00000.parquet", place=0)]
    place = run_of(tmp_path, entries)
    values = {"model": str(base), "device": "cpu", "max_frames": 2}
    settings = Finetune(**values, validation={"samples": 1, "max_new_tokens": 2})
    assert held_out.base_answers(place, settings) is None
    held_out.judge_base(place, settings)
    assert held_out.base_answers(place, settings)["rows"][0]["reference"] == "She is angry."
    longer = Finetune(**values, validation={"samples": 1, "max_new_tokens": 3})
    assert held_out.base_answers(place, longer) is None


@pytest.mark.parametrize(
    ("refused", "of", "share", "stops"),
    [(28, 30, 0.5, True), (15, 30, 0.5, False), (16, 30, 0.5, True), (1, 30, 0.0, True), (0, 30, 0.0, False)],
)
def test_a_run_with_too_many_refused_samples_ends_before_training(refused, of, share, stops):
    bad = [entry(f"bad-{n}", "No.", error="bad_frames") for n in range(refused)]
    left_out = [entry(f"other-{n}", "No.", error="other_sense") for n in range(100)]
    entries = [*bad, *left_out, *(entry(f"good-{n}", "Yes.") for n in range(of - refused))]
    if stops:
        with pytest.raises(TooManyFailedError, match=f"{refused} of {of} samples") as caught:
            prepared.check_refused(entries, share)
        assert caught.value.exit_code == 3
    else:
        prepared.check_refused(entries, share)


def test_a_run_that_trained_nothing_may_be_asked_for_otherwise_and_one_that_did_may_not(tmp_path):
    place = run_of(tmp_path, [entry("one", "Yes.")])
    begun = record.begin(place, Finetune(model="m", seed=1), "data-1", "base")
    record.note_first_step(place, begun)
    record.note(place, begun, "failed")
    with pytest.raises(InputError, match=r"seed was 1 and is 2.*the data are others"):
        record.begin(place, Finetune(model="m", seed=2), "data-2", "base")
    record.note(place, begun, record.REFUSED)
    again = record.begin(place, Finetune(model="m", seed=2), "data-2", "base")
    assert again["outcome"] == "running"
    assert json.loads(place.read(record.RUN))["settings"]["seed"] == 2
    assert not place.names("data"), "the samples of other data are prepared anew"


@pytest.mark.parametrize("ended", ["killed", "failed"])
def test_a_run_without_a_step_leaves_its_name_to_the_next_and_what_it_prepared_to_the_same(ended, tmp_path):
    first = Finetune(model="m", seed=1)
    begun = record.begin(Storage(str(tmp_path / "run")), first, "data-1", "base")
    place = run_of(tmp_path, [entry("one", "Yes.")])
    place.write("answers/base.json", b"{}")
    if ended == "failed":
        record.note(place, begun, "failed", error="the node went away")
    assert record.begin(place, first, "data-1", "base")["data"] == "data-1"
    assert place.has(prepared.SAMPLES), "the same run does not prepare its samples again"
    other = record.begin(place, Finetune(model="n", seed=2), "data-2", "base-2")
    assert (other["data"], other["outcome"], other["trained"]) == ("data-2", "running", False)
    assert "error" not in other
    assert place.names() == [record.RUN], "nor are samples, or answers of a base, those of another run"


@pytest.mark.parametrize("steps", [0, 1])
def test_a_training_that_breaks_off_holds_its_name_from_its_first_step_on(steps, tmp_path, monkeypatch):
    path = tmp_path / "train.jsonl"
    chat = [{"role": "user", "content": "What is felt?"}, {"role": "assistant", "content": "Calm."}]
    path.write_text(json.dumps({"messages": chat}))
    out = Storage(str(tmp_path / "out"))

    def prepare(run, *rest):
        prepared.write_entries(run, [prepared.table_of([entry("one", "Yes.")])])
        return prepared.read_outlines(run)

    def train(task, live, go_on):
        for step in range(1, steps + 1):
            live.add({"step": step, "loss": 1.0, "rate": 0.1, "tokens_per_s": 1, "memory_gib": 1})
        raise EmoError("the node went away")

    for name, does in (("prepare", prepare), ("train", train), ("check_resources", lambda settings: None)):
        monkeypatch.setattr(finetune, name, does)
    monkeypatch.setattr(finetune.nodes, "alive", list)

    def run(seed):
        settings = Finetune(model="m", device="cpu", data=str(path), seed=seed, validation={"samples": 0})
        config = load_config().model_copy(update={"finetune": settings})
        finetune._run(config, out.url, "faces", "base", 0.0, None)

    with pytest.raises(EmoError, match="the node went away"):
        run(1)
    with pytest.raises(EmoError, match="other settings or data: .*seed" if steps else "the node went away"):
        run(2)
    said = json.loads(training_place(out, "faces").read(record.RUN))
    assert (said["settings"]["seed"], said["trained"], said["outcome"]) == (2 - steps, steps == 1, "failed")


def test_a_run_of_an_earlier_version_keeps_its_name_for_it_does_not_say_whether_it_trained(tmp_path):
    place = Storage(str(tmp_path))
    begun = record.begin(place, Finetune(model="m", seed=1), "data-1", "base")
    del begun["trained"]
    record.note(place, begun, "running")
    with pytest.raises(InputError, match="seed was 1 and is 2"):
        record.begin(place, Finetune(model="m", seed=2), "data-1", "base")


def test_a_busy_storage_is_tried_again_and_a_full_or_refused_one_is_not():
    assert training_worker._hopeless(StorageError("s3://b: S3 answered SlowDown")) is None
    assert training_worker._hopeless(PlaceError("s3://b: the bucket does not exist")) is not None
    assert training_worker._hopeless(InputError("no")) == "no"


def test_a_training_that_stopped_leaves_the_best_and_the_last_of_its_checkpoints(base, tmp_path, capsys):
    entries = [entry("one", "She is angry."), entry("two", "She is sad.", "validation")]
    place = run_of(tmp_path, entries)
    settings = Finetune(model=str(base), device="cpu", lora={"rank": 4}, validation={"samples": 0})
    for step, loss, whole in ((3, 1.0, True), (6, 2.0, True), (9, 0.5, False)):
        checkpoint(place, base, settings, step, loss, whole)
    task = Task("stopped", settings, place, prepared.about(entries, "f"))
    finetune._keep_what_is_there(task, Live("stopped", 9))
    kept = {where: json.loads(place.read(f"{where}/emo_adapter.json")) for where in ("best", "last")}
    assert {where: about["step"] for where, about in kept.items()} == {"best": 3, "last": 6}
    assert place.has("best/adapter_model.safetensors")
    assert "<polyline" in place.read("index.html").decode()
    assert "best and last so far" in capsys.readouterr().err


def test_an_adapter_whose_answers_failed_is_not_promoted_and_says_why():
    assert adapter.gate_failures({"step": 3, NOT_ANSWERED: "CUDA out of memory"}, None, Gate()) == [
        "it has no label F1: CUDA out of memory"
    ]
