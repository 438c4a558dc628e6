"""The paper's line-up of large models through the command line, on tiny checkpoints with random weights."""

import json

import pytest

import affectgpt_checkpoint
import checkpoints
from clips import make_clip
from emo.store.tables import DESCRIPTIONS, JUDGMENTS, VOTES
from labelling import emo, last_run, rows


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """One checkpoint of each kind that the presets name."""
    folder = tmp_path_factory.mktemp("models")
    files = affectgpt_checkpoint.make(folder / "affectgpt")
    return {
        "internvl": checkpoints.make_internvl(folder / "internvl"),
        "text": checkpoints.make_text(folder / "text"),
        "affectgpt": files,
    }


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Three clips: with sound and words, without sound, and one that is broken."""
    folder = tmp_path_factory.mktemp("videos")
    make_clip(folder / "full.mp4", seconds=2.0, size=(160, 120))
    (folder / "full.txt").write_text("I am so happy")
    make_clip(folder / "silent.mp4", seconds=2.0, size=(160, 120), sounds=[])
    (folder / "broken.mp4").write_bytes(b"\0" * 5000)
    return folder


def settings(**sections):
    """--set options from nested values."""
    return [
        part for path, value in sections.items() for part in ("--set", f"{path.replace('__', '.')}={value}")
    ]


def answered(out):
    """status and error by (clip, expert, sample)."""
    columns = ("status", "error", "degraded", "finish_reason", "model", "prompt_sha", "text")
    found = rows(out, DESCRIPTIONS, *columns)
    return {(row["video_id"], row["expert"], row["sample"]): row for row in found}


def test_the_papers_line_up_runs_from_end_to_end(models, videos, tmp_path, ray_cluster):
    out, gpt = tmp_path / "out", models["affectgpt"]
    changes = settings(
        experts__internvl__model=models["internvl"],
        experts__internvl__device="cpu",
        experts__internvl__max_new_tokens=12,
        experts__affectgpt__model=gpt.llm,
        experts__affectgpt__vision=gpt.vision,
        experts__affectgpt__audio=gpt.audio,
        experts__affectgpt__checkpoint=gpt.checkpoint,
        experts__affectgpt__sees="frame",
        experts__affectgpt__device="cpu",
        experts__affectgpt__max_new_tokens=12,
        extract__model=models["text"],
        extract__device="cpu",
        extract__max_new_tokens=12,
        max_failed_share=1,
    )
    done = emo("label", videos, "--out", out, "--preset", "mer2024-ov", *changes, env=ray_cluster)
    assert done.returncode in (0, 3), done.stderr
    names = [step["name"] for step in last_run(out)["steps"]]
    assert names == ["ingest", "describe internvl", "describe affectgpt", "extract", "judge"]
    found = answered(out)
    assert set(found) == {
        (clip, name, 0) for clip in ("full", "silent") for name in ("internvl", "affectgpt")
    }
    assert {row["status"] for row in found.values()} == {"ok"}
    assert all(row["text"] and row["prompt_sha"] and row["model"] for row in found.values())
    # What an expert wanted and did not get is said.
    assert "audio" in found["silent", "affectgpt", 0]["degraded"]
    assert found["full", "internvl", 0]["degraded"] == []
    # A random text model writes nothing that could be read as labels: failed rows, no invented emotion.
    votes = rows(out, VOTES, "status", "error", "labels")
    assert len(votes) == 4
    assert {row["error"] for row in votes} <= {"unparsable", None}
    judged = {row["video_id"]: row for row in rows(out, JUDGMENTS, "status", "error", "labels")}
    assert set(judged) == {"full", "silent", "broken"}
    assert judged["broken"]["error"] == "clip_failed"
    assert "neutral" not in json.dumps([row["labels"] for row in judged.values()])


def test_what_is_missing_is_said_before_anything_starts(models, videos, tmp_path):
    done = emo("label", videos, "--out", tmp_path / "out", "--preset", "mer2024-ov")
    assert done.returncode == 2
    for fault in ("expert internvl:", "expert affectgpt:", "models/affectgpt-mercaptionplus-face.pth"):
        assert fault in done.stderr
    assert not (tmp_path / "out").exists()
