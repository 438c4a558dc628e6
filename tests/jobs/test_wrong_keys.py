"""Checkpoints through the command line with a tensor that is missing, has another name or shape, or no place.

Layouts that emo reads itself are looked at before anything runs, and every key of them has its place. Those
of transformers are looked at when they are loaded; what has no place in them is left out, as there.
"""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import affectgpt_checkpoint
import checkpoints
import classifier_checkpoints
import emotion_llama_checkpoint
import hf_checkpoints
import r1_omni_checkpoint
import step_audio_checkpoint
from clips import make_clip
from emo.cli import main
from labelling import emo

TINY = {"device": "cpu", "max_new_tokens": 8}
# A tensor of each layout, as it is published.
OWN = {
    "affectgpt": "affectgpt_proj.weight",
    "r1-omni": "model.bert_gate.2.weight",
    "step-audio": "adapter.linear2.weight",
    "emotion-llama": "conv_pro_module.fc_att.weight",
}
OTHER = "a.part.that.nobody.reads"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    make_clip(folder / "one.mp4", seconds=1.0, size=(160, 120))
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Of each expert its settings, its tensors, and what writes other ones into a new folder."""
    folder = tmp_path_factory.mktemp("own")
    affect = affectgpt_checkpoint.make(folder / "affectgpt")
    omni = r1_omni_checkpoint.make(folder / "omni")
    step = step_audio_checkpoint.make(folder / "step")
    llama = emotion_llama_checkpoint.make(folder / "llama")

    def parts(files):
        found = {"model": files.llm, "vision": files.vision, "audio": files.audio}
        return {name: str(path) for name, path in {**found, "checkpoint": files.checkpoint}.items()}

    def into_file(write):
        def written(state, where):
            where.mkdir()
            write(where / "other.pth", state)
            return {"checkpoint": str(where / "other.pth")}

        return written

    def into_copy(source, write):
        def written(state, where):
            shutil.copytree(source, where)
            write(where, state)
            return {"model": str(where)}

        return written

    def pth(files):
        return torch.load(files.checkpoint, weights_only=True)["model"]

    tokenizer = {"router_tokenizer": str(omni.router_tokenizer)}
    return {
        "affectgpt": (
            {**parts(affect), "sees": "frame"}, pth(affect), into_file(affectgpt_checkpoint.write_checkpoint)
        ),
        "r1-omni": (
            {"model": str(omni.model), **tokenizer},
            load_file(omni.model / "model.safetensors"),
            into_copy(omni.model, r1_omni_checkpoint.write),
        ),
        "step-audio": (
            {"model": str(step)},
            step_audio_checkpoint.read(step),
            into_copy(step, step_audio_checkpoint.write),
        ),
        "emotion-llama": (parts(llama), pth(llama), into_file(emotion_llama_checkpoint.write)),
    }  # fmt: skip


def missing(state, key):
    del state[key]
    return [key, "missing"]


def extra(state, key):
    state[OTHER] = torch.zeros(2)
    return [OTHER, "not understood", "ignore_unknown_keys"]


def renamed(state, key):
    state[f"{key}2"] = state.pop(key)
    return [key, "missing", f"{key}2", "not understood"]


def reshaped(state, key):
    state[key] = state[key][:-1].clone()
    return [f"{key} is {list(state[key].shape)}, expected ["]


@pytest.mark.parametrize("change", [missing, extra, renamed, reshaped], ids=lambda one: one.__name__)
@pytest.mark.parametrize("expert", OWN)
def test_a_published_layout_with_a_wrong_tensor_is_refused_before_anything_runs(
    own, video, tmp_path, capsys, expert, change
):
    settings, state, write = own[expert]
    state = dict(state)
    told = change(state, OWN[expert])
    chosen = {"kind": expert, **settings, **write(state, tmp_path / "other"), **TINY}
    out = tmp_path / "out"
    line_up = ("--set", f"experts={json.dumps([chosen])}", "--set", "extract={kind: rules}")
    assert main(["label", str(video), "--out", str(out), *line_up]) == 2
    said = capsys.readouterr().err
    assert all(words in said for words in told), said
    assert not out.exists()


@pytest.fixture(scope="module")
def ingested(video, tmp_path_factory, ray_cluster):
    out = tmp_path_factory.mktemp("ingested") / "out"
    done = emo("ingest", video, "--out", out, "--set", "ingest.workers=1", env=ray_cluster)
    assert done.returncode == 0, done.stderr
    return out


def family(name):
    return lambda folder: (checkpoints.FAMILIES[name][1](folder), {})


# Kind of the expert -> what makes its checkpoint and settings, and the end of the name of a tensor.
LOADED = {
    "internvl": (family("internvl"), "layers.0.self_attn.q_proj.weight"),
    "qwen-vl": (family("qwen2.5-vl"), "layers.0.self_attn.q_proj.weight"),
    "qwen-omni": (family("qwen2.5-omni"), "layers.0.self_attn.q_proj.weight"),
    "qwen-audio": (family("qwen2-audio"), "layers.0.self_attn.q_proj.weight"),
    "hf": (lambda folder: (hf_checkpoints.FAMILIES["qwen3.5"](folder), {}), "mlp.up_proj.weight"),
    "classifier": (
        lambda folder: (classifier_checkpoints.make_faces(folder), {"sees": "frames"}),
        "classifier.weight",
    ),
}


@pytest.mark.parametrize("change", [renamed, reshaped], ids=lambda one: one.__name__)
@pytest.mark.parametrize(
    "expert", ["internvl", *(pytest.param(name, marks=pytest.mark.long) for name in list(LOADED)[1:])]
)
def test_a_checkpoint_of_transformers_with_a_wrong_tensor_is_refused_when_it_is_loaded(
    ingested, tmp_path, ray_cluster, expert, change
):
    make, ending = LOADED[expert]
    base, more = make(tmp_path / "base")
    state = load_file(base / "model.safetensors")
    towers = ("vision", "visual", "audio")
    key = min(name for name in state if name.endswith(ending) and not any(one in name for one in towers))
    change(state, key)
    save_file(state, base / "model.safetensors", {"format": "pt"})
    out = tmp_path / "out"
    shutil.copytree(ingested, out)
    tiny = {"device": "cpu"} if expert == "classifier" else TINY
    chosen = {"kind": expert, "model": str(base), **more, **tiny}
    line_up = ("--set", f"experts={json.dumps([chosen])}", "--expert", expert)
    done = emo("describe", "--out", out, *line_up, env=ray_cluster)
    assert done.returncode == 1, done.stderr
    what = "have another shape" if change is reshaped else "are not in the checkpoint"
    assert f"1 weights {what}: " in done.stderr
    assert key.split("layers.")[-1] in done.stderr
    assert not list(out.glob("descriptions/**/*.parquet"))
