"""The systems that emo implements itself, through the command line on tiny checkpoints in their layouts.

One run for all of them: batches, samples, a clip without sound, a clip that is broken. Then the worker of a
pass is killed half-way, by default that of one of them; of each where the long tests run.
"""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

import emotion_llama_checkpoint
import r1_omni_checkpoint
import step_audio_checkpoint
from clips import make_clip
from emo import experts
from emo.clips import read_clips, to_clip
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import CLIPS, VOTES
from labelling import answers, emo, emo_losing_a_worker, last_run, rows, whole

NAMES = ("r1-omni", "step-audio", "emotion-llama")
GOOD = ("good0", "good1", "good2", "good3", "good4")
USABLE = (*GOOD, "silent")
SAMPLES = 2


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    first = make_clip(folder / "good0.mp4", seconds=2.0, size=(160, 120))
    for name in GOOD[1:]:
        shutil.copy(first, folder / f"{name}.mp4")
    make_clip(folder / "silent.mp4", seconds=2.0, size=(160, 120), sounds=[])
    (folder / "broken.mp4").write_bytes(b"\0" * 5000)
    return folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tiny = {"device": "cpu", "max_new_tokens": 24, "samples": SAMPLES}
    omni = r1_omni_checkpoint.make(folder / "omni")
    step = step_audio_checkpoint.make(folder / "step")
    llama = emotion_llama_checkpoint.make(folder / "llama")
    parts = {"model": llama.llm, "vision": llama.vision, "audio": llama.audio, "checkpoint": llama.checkpoint}
    return [
        {"kind": "r1-omni", "model": str(omni.model), "router_tokenizer": str(omni.router_tokenizer), **tiny},
        {"kind": "step-audio", "model": str(step), **tiny},
        {"kind": "emotion-llama", **{name: str(path) for name, path in parts.items()}, **tiny},
    ]


@pytest.fixture(scope="module")
def described(videos, settings, tmp_path_factory, ray_cluster):
    """OUT of one run of all of them."""
    out = tmp_path_factory.mktemp("described") / "out"
    line_up = ("--set", f"experts={json.dumps(settings)}", "--set", "extract={kind: rules}")
    done = emo("label", videos, "--out", out, *line_up, "--set", "max_failed_share=1", env=ray_cluster)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("expert", NAMES)
def test_every_clip_has_its_samples_and_what_it_lacks_is_told(described, expert):
    found = answers(described, expert)
    assert set(found) == set(USABLE)
    for clip in GOOD:
        first, second = found[clip]
        lacks = ["transcript"] if expert == "emotion-llama" else []
        assert (first["status"], first["degraded"]) == ("ok", lacks)
        assert first["text"] != second["text"]
    silent = {(row["error"], *(row["degraded"] or ())) for row in found["silent"]}
    told = {"step-audio": ("modality_missing",), "emotion-llama": (None, "audio", "transcript")}
    assert silent == {told.get(expert, (None, "audio"))}
    votes = [row for row in rows(described, VOTES, "status") if row["expert"] == expert]
    assert len(votes) == len(USABLE) * SAMPLES


@pytest.mark.parametrize("expert", NAMES)
def test_what_was_written_in_batches_is_what_the_expert_says_of_each_clip_alone(described, settings, expert):
    storage = Storage(str(described))
    clips = committed.read_newest(storage, committed.folder(CLIPS), CLIPS, [], with_file=True)
    one = next(one for one in settings if one["kind"] == expert)
    alone = experts.load(experts.settings_of({"name": expert, **one}))
    by_name = {row["video_id"]: to_clip(row) for row in read_clips(storage, clips).to_pylist()}
    (answer,) = alone.describe([by_name["good1"]])
    written = answers(described, expert)["good1"]
    assert [description.text for description in answer] == [row["text"] for row in written]


def other_r1_omni(settings, folder):
    shutil.copytree(settings["model"], folder)
    state = load_file(folder / "model.safetensors")
    state["model.bert_gate.3.weight"] = state.pop("model.bert_gate.2.weight")
    r1_omni_checkpoint.write(folder, state)
    return {"model": str(folder)}, "model.bert_gate.2.weight", "model.bert_gate.3.weight"


def other_step_audio(settings, folder):
    shutil.copytree(settings["model"], folder)
    state = step_audio_checkpoint.read(folder)
    state["adapter.linear3.weight"] = state.pop("adapter.linear2.weight")
    step_audio_checkpoint.write(folder, state)
    return {"model": str(folder)}, "adapter.linear2.weight", "adapter.linear3.weight"


def other_emotion_llama(settings, folder):
    folder.mkdir()
    state = torch.load(settings["checkpoint"], weights_only=True)["model"]
    state["conv_pro_module.fc_att2.weight"] = state.pop("conv_pro_module.fc_att.weight")
    emotion_llama_checkpoint.write(folder / "stage2.pth", state)
    changed = {"checkpoint": str(folder / "stage2.pth")}
    return changed, "conv_pro_module.fc_att.weight", "conv_pro_module.fc_att2.weight"


@pytest.mark.parametrize(
    ("place", "other"), enumerate([other_r1_omni, other_step_audio, other_emotion_llama]), ids=NAMES
)
def test_a_checkpoint_with_a_wrong_key_is_refused_before_anything_runs(
    videos, settings, tmp_path, place, other
):
    changed, missing, unknown = other(settings[place], tmp_path / "copy")
    out = tmp_path / "out"
    line_up = ("--set", f"experts={json.dumps([{**settings[place], **changed}])}")
    done = emo("label", videos, "--out", out, *line_up, "--set", "extract={kind: rules}")
    assert done.returncode == 2
    told = done.stderr
    assert f"keys are missing: {missing}" in told or f"{missing} is missing" in told
    assert "not understood" in told
    assert unknown in told
    assert not out.exists()


@pytest.mark.parametrize(
    "expert", [NAMES[0], *(pytest.param(name, marks=pytest.mark.long) for name in NAMES[1:])]
)
def test_after_its_worker_was_killed_half_way_an_expert_has_written_what_it_would_have_written(
    described, tmp_path, ray_cluster, expert
):
    out = tmp_path / "out"
    shutil.copytree(described, out)
    written = out / "descriptions" / expert
    shutil.rmtree(written)
    done, shards = emo_losing_a_worker(written, "describe", "--out", out, "--expert", expert, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    assert shards < 3, "it was not killed half-way"
    assert whole(out, expert) == whole(described, expert)
    assert last_run(out)["steps"][0]["ok"] == (len(GOOD) if expert == "step-audio" else len(USABLE))
