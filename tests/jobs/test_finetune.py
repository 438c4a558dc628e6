"""`emo finetune` as a user runs it: real processes, Ray Train, DeepSpeed, tiny models, faces, voices."""

import json
import struct
from pathlib import Path

import pytest

import drawn_faces
from clips import ffmpeg
from emo.finetuning import prepared
from emo.store.runs import load_runs
from emo.store.storage import Storage
from finetuning_runs import (
    LORA,
    PLANTED,
    f1_before_and_after,
    finetuned,
    held_by,
    labelled_right,
    losses,
    settings,
    small_set,
    write_clip,
)
from labelling import emo

VOICE_LORA = {
    **LORA, "family": "qwen-audio", "epochs": 4, "learning_rate": "4e-3", "tensorboard": "true"
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_set(tmp_path_factory.mktemp("finetune"))


@pytest.fixture(scope="module")
def proof(tmp_path_factory, ray_cluster):
    """LoRA on the language part of a model that knows three of six voices; base and hearing stay frozen."""
    folder = tmp_path_factory.mktemp("proof")
    # As small as still learns it; a voice lasts a second.
    small = {"hidden_size": 64, "intermediate_size": 192, "seconds": 1}
    drawn_faces.make_voice_base(folder / "base", range(2000, 2080), **small)
    drawn_faces.write_voices(folder, "train.jsonl", range(100))
    drawn_faces.write_voices(folder, "held_out.jsonl", range(1000, 1010))
    done = finetuned(folder, "voices", ray_cluster, VOICE_LORA)
    return folder, done


def test_lora_learns_voices_that_its_base_does_not_know_and_label_then_labels_new_clips_right(
    proof, ray_cluster
):
    folder, done = proof
    before, after = f1_before_and_after(folder, "voices", done)
    assert 0.3 < before < 0.6, "the base knows half of them"
    assert after >= 0.95
    promoted = emo("adapters", "promote", "voices", "--out", folder / "out")
    assert promoted.returncode == 0, promoted.stderr
    truth = {f"{n:02d}": expression for n, expression in enumerate(list(drawn_faces.EXPRESSIONS) * 2)}
    (folder / "clips").mkdir()
    for number, expression in truth.items():
        write_spoken_clip(folder / "clips" / f"{number}.mkv", 5000 + int(number), expression)
    adapted = {"model": folder / "base", "adapter": folder / "out" / "adapters" / "voices"}
    assert labelled_right(folder, "qwen-audio", adapted, truth, ray_cluster) >= 0.9 * len(truth)


def test_a_run_leaves_an_adapter_with_its_manifest_a_card_a_curve_and_a_page(proof):
    folder, done = proof
    run = folder / "out" / "finetune" / "voices"
    curve = losses(folder / "out", "voices")
    assert len(curve) == json.loads(done.stdout)["steps"] == 76
    assert curve[-1] < curve[0]
    for where in ("best", "last"):
        about = json.loads((run / where / "emo_adapter.json").read_text())
        assert about["family"] == "qwen-audio"
        assert about["base"]["revision"].startswith("local-")
        assert len(about["target_modules"]) == 14
        assert all(name.startswith("model.language_model.") for name in about["target_modules"])
        assert about["weights"] == 28
        assert about["data"]["train"] == 600
        assert (run / where / "adapter_model.safetensors").stat().st_size > 10_000
        assert "It fits no other base" in (run / where / "README.md").read_text()
    [told] = load_runs(Storage(str(folder / "out")), trainings=True)
    preparing, training = told["steps"]
    assert (told["outcome"], preparing["ok"], training["ok"], training["rows"]) == ("done", 660, 76, 76)
    assert [loss for _, loss, _ in training["curve"]] == curve
    assert training["figures"]["f1"] == json.loads(done.stdout)["metrics"]["f1"]
    assert json.loads((run / "run.json").read_text())["trained"] is True
    names = [entry.sample_id for entry in prepared.read_entries(Storage(str(run)))]
    assert names == sorted(names), "whatever the order in which they were prepared"
    assert not list((run / "data").glob("listed-*")), "what only the preparation reads is gone"
    page = (run / "index.html").read_text()
    assert "<polyline" in page
    assert "«The person feels" in page
    assert "600 samples to train on" in done.stderr
    assert "adapter: " in done.stderr.splitlines()[-1]


def test_the_name_of_a_run_that_is_done_stands_for_that_run(proof, ray_cluster):
    folder, _ = proof
    name = ("--out", folder / "out", "--name", "voices")
    given = {**VOICE_LORA, "held_out": folder / "held_out.jsonl"}
    same = emo("finetune", *name, *settings(folder, **given), "--json", env=ray_cluster)
    assert same.returncode == 0, same.stderr
    assert json.loads(same.stdout)["already"] is True
    other = emo("finetune", *name, *settings(folder, **{**given, "seed": 5, "learning_rate": "1e-3"}))
    assert other.returncode == 2
    assert "seed was 0 and is 5" in other.stderr
    assert "learning_rate was 0.004 and is 0.001" in other.stderr


def test_tensorboard_reads_the_curve_back(proof):
    from tensorboardX.proto.event_pb2 import Event

    out = proof[0] / "out"
    [path] = (out / "finetune" / "voices" / "tensorboard").glob("events.out.tfevents.*")
    data, at, found = path.read_bytes(), 0, {}
    # A record is its length, a checksum of that, the event, a checksum of that.
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = Event.FromString(data[at + 12 : at + 12 + length])
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = value.simple_value
        at += 16 + length
    assert list(found["loss"]) == list(range(1, 77))
    assert list(found["loss"].values()) == pytest.approx(losses(out, "voices"), rel=1e-6)
    assert list(found["held_out_loss"]) == [76]
    assert found["rate"].keys() == found["tokens_per_s"].keys() == found["loss"].keys()


def test_no_file_of_a_run_and_none_of_rays_logs_holds_the_keys_of_its_storage(proof, ray_cluster):
    folder, done = proof
    assert held_by(folder / "out", PLANTED.values()) == []
    port = ray_cluster["RAY_ADDRESS"].rpartition(":")[2]
    [session] = Path(f"/tmp/emo-test-ray-{port}").glob("session_2*")
    assert held_by(session / "logs", PLANTED.values()) == []
    assert not [secret for secret in PLANTED.values() if secret in done.stdout + done.stderr]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "/nowhere"}, "no such folder"),
        ({"family": "qwen-audio"}, "not of the family 'qwen-audio'"),
        ({"data": "/nowhere.jsonl"}, "does not exist"),
        ({"zero": 7}, "finetune.zero"),
        ({"devise": "cpu"}, "finetune.devise: unknown key"),
    ],
)
def test_what_cannot_be_is_said_in_one_line_before_anything_starts(folder, changes, said):
    done = emo("finetune", "--out", folder / "other", "--name", "bad", *settings(folder, **changes))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "other" / "finetune" / "bad" / "run.json").exists()


def test_data_without_a_sample_to_train_on_are_refused_with_the_reason(folder):
    empty = folder / "empty.jsonl"
    chat = [{"role": "user", "content": "<image><image>?"}, {"role": "assistant", "content": "Yes."}]
    empty.write_text(json.dumps({"messages": chat, "images": ["one.jpg"]}) + "\n")
    done = emo("finetune", "--out", folder / "other", "--name", "none", *settings(folder, data=empty))
    assert done.returncode == 2
    assert "no sample that can be trained on (1 in all)" in done.stderr
    assert "line 1: 2 <image> in the text and 1 images" in done.stderr


def test_published_captions_without_a_usable_row_are_refused_with_their_line(folder):
    (folder / "videos").mkdir()
    write_clip(folder / "videos" / "a.mp4", 1, "happy")
    (folder / "plus.csv").write_text("name,openset\na,[happy, calm]\n")
    wanted = settings(folder, data=folder / "plus.csv", videos=folder / "videos")
    done = emo("finetune", "--out", folder / "other", "--name", "plus", *wanted)
    assert done.returncode == 2
    assert "plus.csv line 2: 3 cells, expected 2 (name, openset)" in done.stderr.splitlines()[-1]


def write_spoken_clip(path: Path, person: int, expression: str) -> None:
    """A video of one second with a voice and nothing to see."""
    sound = path.with_suffix(".flac")
    sound.write_bytes(drawn_faces.voice(drawn_faces.identity(person), expression, person))
    ffmpeg(
        *("-f", "lavfi", "-i", "color=gray:size=64x64:rate=10:duration=1", "-i", sound),
        *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "copy", path),
    )
    sound.unlink()
