"""The same engine against vLLM itself, on a CPU: pictures by one family, sound by another, a text model."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

import affectgpt_checkpoint
import checkpoints
import synthetic_clips
import vllm_environment
from clips import make_clip
from emo import experts
from emo.engines.text import Chat
from emo.errors import RowError
from emo.experts import settings_of
from emo.extraction.model import ModelExtractor, ModelExtractSettings
from emo.extraction.protocol import ExtractRow
from emo.store.tables import DESCRIPTIONS, JUDGMENTS, VOTES
from labelling import emo, last_run, rows

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The Python of an environment with vLLM: that of EMO_TEST_VLLM where it is set, else a new one."""
    named = os.environ.get("EMO_TEST_VLLM")
    return Path(named) if named else vllm_environment.make(tmp_path_factory.mktemp("vllm"))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Kind of expert and checkpoint of each family; heads of 32 are the smallest of vLLM on a CPU."""
    folder = tmp_path_factory.mktemp("models")
    audio = checkpoints.make_qwen2_audio(
        folder / "audio", hidden_size=128, intermediate_size=256, width=128, seconds=30
    )
    pictures = checkpoints.make_internvl(folder / "pictures", hidden_size=128, intermediate_size=256)
    text = checkpoints.make_text(folder / "text", hidden_size=128, intermediate_size=256)
    return {"qwen-audio": audio, "internvl": pictures, "text": text}


def model_settings(kind, models, python):
    # On a CPU it is a share of the machine's memory; its own default is nearly all of it.
    arguments = ["--max-model-len", "2048", "--enforce-eager", "--gpu-memory-utilization", "0.1"]
    vllm = {"python": str(python), "arguments": arguments, "start_s": 900}
    given = {"model": str(models[kind]), "device": "cpu", "engine": "vllm"}
    return {**given, "max_new_tokens": 12, "vllm": vllm}


def settings(kind, models, python, **changes):
    return {"name": kind, "kind": kind, **model_settings(kind, models, python), **changes}


@pytest.mark.parametrize("kind", ["qwen-audio", "internvl"])
def test_vllm_describes_clips_and_what_is_broken_fails_alone(kind, models, python):
    expert = experts.load(settings_of(settings(kind, models, python, samples=2)))
    whole = [synthetic_clips.clip(1), synthetic_clips.clip(2, seconds=1.5)]
    bare = replace(whole[0], video_id="bare", frames=(), audio=None)
    try:
        *described, missing = expert.describe([*whole, bare])
        assert expert.card.engine.startswith("vllm 0.")
        assert isinstance(missing, RowError)
        assert missing.code == "modality_missing"
        for answer in described:
            assert isinstance(answer, list), answer
            assert len(answer) == 2
            assert all(0 < one.output_tokens <= 12 and one.prompt_tokens > 100 for one in answer)
        assert described[0][0].text != described[0][1].text
    finally:
        expert.close()


def test_vllm_asks_a_text_model_as_emos_own_loop_does(models, python):
    """As many tokens of prompt, also where an answer has its beginning given, and the same greedy answer."""
    given = model_settings("text", models, python)
    asked = [Chat("She smiles."), Chat("She smiles.", begins="["), Chat("He waits at the door.")]
    keys = ["a", "b", "c"]
    here = ModelExtractor(ModelExtractSettings(kind="model", **{**given, "engine": "emo"}))
    ours = here._writer._engine.generate(asked, keys, name="extract")
    here.close()
    served = ModelExtractor(ModelExtractSettings(kind="model", **given))
    try:
        theirs = served._writer._engine.generate(asked, keys, name="extract")
        too_long = ExtractRow("She smiles. " * 3000, None, "v0/e/0")
        long, fits = served.read([too_long, ExtractRow("She smiles.", None, "v1/e/0")])
    finally:
        served.close()
    assert " by vllm 0." in served.name
    assert [one.prompt_tokens for [one] in theirs] == [one.prompt_tokens for [one] in ours]
    # vLLM leaves out a last character that is not whole.
    assert [one.text.rstrip("\ufffd") for [one] in theirs] == [one.text.rstrip("\ufffd") for [one] in ours]
    assert (long.code, fits.code) == ("refused_by_server", "unparsable")


def test_the_preset_of_mer2024_labels_on_a_cluster_with_vllm_where_it_has_the_family(
    models, python, tmp_path, ray_cluster
):
    """InternVL and the text model by vLLM; AffectGPT, which it does not have, by emo's own loop."""
    videos = tmp_path / "videos"
    videos.mkdir()
    make_clip(videos / "one.mp4", seconds=2.0, size=(160, 120))
    (videos / "broken.mp4").write_bytes(b"\0" * 5000)
    served = {"experts.internvl": model_settings("internvl", models, python)}
    served["extract"] = model_settings("text", models, python)
    files = affectgpt_checkpoint.make(tmp_path / "affectgpt")
    own = {"model": files.llm, "vision": files.vision, "audio": files.audio, "checkpoint": files.checkpoint}
    given = {**served, "experts.affectgpt": {**own, "device": "cpu", "max_new_tokens": 8}}
    options = [
        word
        for section, values in given.items()
        for key, value in values.items()
        for word in ("--set", f"{section}.{key}={json.dumps(value, default=str)}")
    ]
    done = emo(
        *("label", videos, "--out", tmp_path / "out", "--preset", "mer2024-ov", *options),
        *("--set", "max_failed_share=1"),
        env=ray_cluster,
    )
    assert done.returncode == 0, done.stderr
    described = rows(tmp_path / "out", DESCRIPTIONS, "expert", "status", "engine")
    engines = {row["expert"]: row["engine"] for row in described}
    assert [row["status"] for row in described] == ["ok"] * 2
    assert engines["internvl"].startswith("vllm 0.")
    assert engines["affectgpt"] == "emo"
    steps = {step["name"]: step for step in last_run(tmp_path / "out")["steps"]}
    assert list(steps) == ["ingest", "describe internvl", "describe affectgpt", "extract", "judge"]
    # What a text model of random weights answers is no list of labels.
    assert set(steps["extract"]["error_codes"]) <= {"unparsable"}
    votes = rows(tmp_path / "out", VOTES, "extractor")
    assert len(votes) == 2
    assert all(" by vllm 0." in row["extractor"] for row in votes)
    assert len(rows(tmp_path / "out", JUDGMENTS)) == 2


def test_a_video_of_the_expert_openai_is_what_the_family_is_trained_on(models, python, tmp_path):
    """As many tokens as emo's own prompt has, and the times of the frames are taken."""
    from emo.engines.vllm_server import MODEL

    given = settings("internvl", models, python)
    given["vllm"]["arguments"].append("--trust-request-mm-kwargs")
    (tmp_path / "asked.txt").write_text("What is felt?")
    asked = str(tmp_path / "asked.txt")
    loaded = experts.load(settings_of({**given, "prompt": asked}))
    try:
        server = {"url": loaded.engine._server.url, "model": MODEL, "max_tokens": 4}
        server["api_key_env"] = loaded.engine._server.key_name
        clip = synthetic_clips.clip(1, frames=6)
        here = {"kind": "internvl", "name": "own", "model": str(models["internvl"]), "device": "cpu"}
        own = experts.load(settings_of({**here, "prompt": asked, "max_new_tokens": 4}))
        [[ours]] = own.describe([clip])
        for frames_as in ("video", "timed_video"):
            remote = {"kind": "openai", "name": "remote", "server": server, "frames_as": frames_as}
            [[theirs]] = experts.load(settings_of({**remote, "prompt": asked})).describe([clip])
            assert theirs.prompt_tokens == ours.prompt_tokens
    finally:
        loaded.close()
