"""The expert `hf` through the command line: families that have no file of their own, in one run each time."""

import json

import pytest

import hf_checkpoints
from clips import make_clip
from emo.store.tables import DESCRIPTIONS
from labelling import emo, rows

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


@pytest.mark.parametrize(
    "families",
    [("gemma4", "qwen3.5"), pytest.param(tuple(hf_checkpoints.FAMILIES), marks=pytest.mark.long)],
    ids=["two", "all"],
)
def test_a_model_of_any_family_describes_clips(families, videos, tmp_path, ray_cluster):
    experts = [
        {
            "kind": "hf",
            "name": family,
            "model": str(hf_checkpoints.FAMILIES[family](tmp_path / family)),
            "device": "cpu",
            "max_new_tokens": 12,
            "samples": 2,
        }
        for family in families
    ]
    done = emo(
        *("label", videos, "--out", tmp_path / "out", "--set", f"experts={json.dumps(experts)}"),
        *("--set", "extract={kind: rules}", "--set", "max_failed_share=1"),
        env=ray_cluster,
    )
    assert done.returncode == 0, done.stderr
    found = {}
    for row in rows(tmp_path / "out", DESCRIPTIONS, "status", "error", "engine", "degraded"):
        found.setdefault((row["expert"], row["video_id"]), []).append(row)
    assert set(found) == {(family, clip) for family in families for clip in ("one", "two", "silent")}
    for (family, clip), samples in found.items():
        assert len(samples) == 2
        for row in samples:
            if clip == "silent" and family not in SEES:
                assert row["error"] == "modality_missing"
                continue
            # Random weights may write nothing that is a text.
            assert row["error"] in (None, "empty_answer", "thought_only"), row
            assert row["engine"].startswith("transformers ")
            if row["status"] == "ok":
                assert row["degraded"] == (["audio"] if clip == "silent" and family in HEARS else [])
