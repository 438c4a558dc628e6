"""The systems that emo implements itself, through the command line on tiny checkpoints in their layouts.

One run for all of them: batches, samples, a clip without sound, a clip that is broken. Then the worker of a
pass is killed half-way, by default that of one of them; of each where the long tests run.
"""

import json
import shutil

import pytest
import torch

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

torch.set_num_threads(1)

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


def test_a_checkpoint_with_a_wrong_key_is_refused_before_anything_runs(videos, settings, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(settings[1]["model"], copy)
    state = step_audio_checkpoint.read(copy)
    state["adapter.linear3.weight"] = state.pop("adapter.linear2.weight")
    step_audio_checkpoint.write(copy, state)
    out = tmp_path / "out"
    line_up = ("--set", f"experts={json.dumps([{**settings[1], 'model': str(copy)}])}")
    done = emo("label", videos, "--out", out, *line_up, "--set", "extract={kind: rules}")
    assert done.returncode == 2
    assert "keys are missing: adapter.linear2.weight" in done.stderr
    assert "not understood (allow with ignore_unknown_keys): adapter.linear3.weight" in done.stderr
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
