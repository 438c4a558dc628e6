"""The expert `hf` through the command line: families that have no file of their own, in one run each time.

Then its worker is killed half-way.
"""

import json
import shutil
from importlib.util import find_spec

import pytest
from safetensors.torch import load_file, save_file

import hf_checkpoints
import own_code_checkpoint
from clips import ffmpeg, make_clip
from emo.store.tables import DESCRIPTIONS
from labelling import emo, emo_losing_a_worker, last_run, rows, whole

HEARS = {"audioflamingo3", "gemma4", "voxtral"}
SEES = set(hf_checkpoints.FAMILIES) - {"audioflamingo3", "voxtral"}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two clips of different lengths, one without sound, and one that is broken."""
    folder = tmp_path_factory.mktemp("videos")
    make_clip(folder / "one.mp4", seconds=1.0, size=(160, 120))
    make_clip(folder / "two.mp4", seconds=2.0, size=(160, 120))
    make_clip(folder / "silent.mp4", seconds=1.0, size=(160, 120), sounds=[])
    (folder / "broken.mp4").write_bytes(b"\0" * 5000)
    return folder


@pytest.mark.long
def test_a_model_of_any_family_describes_clips(videos, tmp_path, ray_cluster):
    needs = hf_checkpoints.NEEDS
    families = [
        family for family in hf_checkpoints.FAMILIES if family not in needs or find_spec(needs[family])
    ]
    made = [
        {"name": family, "model": str(hf_checkpoints.FAMILIES[family](tmp_path / family))}
        for family in families
    ]
    done = label(videos, tmp_path / "out", ray_cluster, *({**one, "max_new_tokens": 12} for one in made))
    assert done.returncode == 0, done.stderr
    assert_described(tmp_path / "out", families, {"one", "two", "silent"})


def test_models_of_two_families_describe_clips(undisturbed, more_videos):
    clips = {path.stem for path in more_videos.glob("*.mp4")} - {"broken"}
    assert_described(undisturbed[0], ["gemma4", "qwen3.5"], clips)


def assert_described(out, families, clips):
    """Each clip has its samples of each family, and what it lacks is said."""
    found = {}
    for row in rows(out, DESCRIPTIONS, "status", "error", "engine", "degraded"):
        if row["expert"] in families:
            found.setdefault((row["expert"], row["video_id"]), []).append(row)
    assert set(found) == {(family, clip) for family in families for clip in clips}
    for (family, clip), samples in found.items():
        assert len(samples) == 2
        for row in samples:
            lacks_all = {"silent": family not in SEES, "unseen": family not in HEARS}.get(clip, False)
            if lacks_all:
                assert row["error"] == "modality_missing"
                continue
            # Random weights may write nothing that is a text.
            assert row["error"] in (None, "empty_answer", "thought_only"), row
            assert row["engine"].startswith("transformers ")
            if row["status"] == "ok":
                lacks = {"silent": ["audio"] if family in HEARS else [], "unseen": ["frames"]}
                assert row["degraded"] == lacks.get(clip, [])


@pytest.fixture(scope="module")
def more_videos(tmp_path_factory):
    """Nine clips, one longer, one without sound, and one without pictures; and one that is broken."""
    folder = tmp_path_factory.mktemp("more")
    # They are shards of two for the one worker that the cluster has room for.
    first = make_clip(folder / "clip0.mp4", seconds=1.0, size=(160, 120))
    for number in range(1, 6):
        shutil.copy(first, first.with_stem(f"clip{number}"))
    make_clip(folder / "two.mp4", seconds=2.0, size=(160, 120))
    (folder / "broken.mp4").write_bytes(b"\0" * 5000)
    make_clip(folder / "silent.mp4", seconds=1.0, size=(160, 120), sounds=[])
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", folder / "unseen.mp4")
    return folder


def label(videos, out, env, *settings):
    """`emo label` with models that are asked twice; the finished process."""
    asked = [{"kind": "hf", "device": "cpu", "max_new_tokens": 32, "samples": 2, **one} for one in settings]
    return emo(
        *("label", videos, "--out", out, "--set", f"experts={json.dumps(asked)}"),
        *("--set", "extract={kind: rules}", "--set", "max_failed_share=1"),
        env=env,
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The settings of three models: two of families of Transformers, one as Emotion-Qwen is run."""
    folder = tmp_path_factory.mktemp("models")
    own = own_code_checkpoint.make(folder / "own")
    return [
        *(
            {"name": family, "model": str(hf_checkpoints.FAMILIES[family](folder / family))}
            for family in ("gemma4", "qwen3.5")
        ),
        {"name": "own", "model": str(own), "trust_remote_code": True},
    ]


@pytest.fixture(scope="module")
def undisturbed(more_videos, models, tmp_path_factory, ray_cluster):
    """The OUT of a run that nothing happened to, and that of one clip alone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "one").mkdir()
    shutil.copy(more_videos / "clip3.mp4", folder / "one")
    for videos, out in ((more_videos, "out"), (folder / "one", "alone")):
        done = label(videos, folder / out, ray_cluster, *models)
        assert done.returncode == 0, done.stderr
    return folder / "out", folder / "alone"


@pytest.mark.parametrize(("name", "hears"), [("gemma4", True), ("own", False)])
def test_after_its_worker_was_killed_half_way_it_has_written_what_it_would_have_written(
    undisturbed, ray_cluster, name, hears
):
    out, alone = undisturbed
    before = whole(out, name)
    assert len(before) == 2 * 9
    lacks = {row["video_id"]: row["degraded"] for row in before if row["status"] == "ok"}
    assert lacks.get("silent", []) == (["audio"] if hears else [])
    assert lacks.get("unseen", ["frames"]) == ["frames"]
    unseen = {row["error"] for row in before if row["video_id"] == "unseen"}
    assert "modality_missing" not in unseen if hears else unseen == {"modality_missing"}
    # Beside others in a batch a clip is described as it is alone.
    assert whole(alone, name) == [row for row in before if row["video_id"] == "clip3"]
    written = out / "descriptions" / name
    shutil.rmtree(written)
    done, shards = emo_losing_a_worker(written, "describe", "--out", out, "--expert", name, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    assert shards < 4, "it was not killed half-way"
    assert whole(out, name) == before
    step = last_run(out)["steps"][0]
    assert step["ok"] + step["failed"] == 9


def test_code_of_its_own_is_refused_without_consent_and_with_a_wrong_tensor(tmp_path, ray_cluster):
    videos = tmp_path / "videos"
    videos.mkdir()
    make_clip(videos / "clip.mp4", seconds=1.0, size=(160, 120))
    model, out = own_code_checkpoint.make(tmp_path / "model"), tmp_path / "out"
    asked = label(videos, out, None, {"model": str(model)})
    assert asked.returncode == 2
    assert "brings its own code, which trust_remote_code: true runs" in asked.stderr
    assert not out.exists()
    state = load_file(model / "model.safetensors")
    key = "model.language_model.layers.0.mlp.up_proj.weight"
    state[f"{key}2"] = state.pop(key)
    save_file(state, model / "model.safetensors", {"format": "pt"})
    asked = label(videos, out, ray_cluster, {"model": str(model), "trust_remote_code": True})
    assert asked.returncode == 1
    assert f"1 weights are not in the checkpoint: {key}" in asked.stderr
