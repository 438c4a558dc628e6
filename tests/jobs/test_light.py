"""The preset `light` through the command line, on small checkpoints of the three kinds."""

import json

import pytest

import classifier_checkpoints
from conftest import REPOSITORY
from emo.store.tables import DESCRIPTIONS, JUDGMENTS, VOTES
from labelling import by_id, emo, last_run, rows

SAMPLES = REPOSITORY / "samples" / "manifest.csv"
NAMES = {"face-model": "face", "voice-model": "audio", "words-model": "transcript"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The options that put small checkpoints in the place of the preset's."""
    folder = tmp_path_factory.mktemp("models")
    made = {name: classifier_checkpoints.MAKERS[sees](folder / name) for name, sees in NAMES.items()}
    return [word for name, path in made.items() for word in ("--set", f"experts.{name}.model={path}")]


@pytest.fixture(scope="module")
def labelled(models, tmp_path_factory, ray_cluster):
    out = tmp_path_factory.mktemp("light") / "out"
    done = emo("label", SAMPLES, "--out", out, "--preset", "light", *models, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    assert "downloaded" not in done.stderr
    return out


def test_every_usable_sample_is_described_by_each_classifier(labelled):
    found = rows(labelled, DESCRIPTIONS, "status", "error", "text", "labels", "strengths", "degraded")
    assert {row["expert"] for row in found} == set(NAMES)
    assert {row["status"] for row in found} == {"ok"}
    for row in found:
        assert len(row["labels"]) == len(row["strengths"])
        assert all(0 < strength <= 1 for strength in row["strengths"])
        for label, strength in zip(row["labels"], row["strengths"], strict=True):
            assert f"{label} ({strength:.2f})" in row["text"]


def test_the_votes_are_the_labels_with_their_strengths_and_no_extractor_read_the_text(labelled):
    described = {
        (row["video_id"], row["expert"]): row
        for row in rows(labelled, DESCRIPTIONS, "status", "labels", "strengths")
    }
    votes = rows(labelled, VOTES, "status", "labels", "strengths", "extractor")
    assert len(votes) == len(described)
    assert {row["extractor"] for row in votes} == {"expert"}
    for row in votes:
        source = described[row["video_id"], row["expert"]]
        assert (row["labels"], row["strengths"]) == (source["labels"], source["strengths"])


def test_a_chinese_transcript_is_not_read_by_a_classifier_of_english(labelled):
    found = {
        row["video_id"]: row
        for row in rows(labelled, DESCRIPTIONS, "status", "text", "labels")
        if row["expert"] == "words-model"
    }
    assert found["portrait_tall_zh"]["labels"] == []
    assert "is in zh; this classifier reads en" in found["portrait_tall_zh"]["text"]


def test_clips_get_labels(labelled):
    labels = by_id(rows(labelled, JUDGMENTS, "status", "labels"), "labels")
    assert any(labels.values())
    assert last_run(labelled)["steps"][-1]["name"] == "judge"


def test_the_models_of_a_configuration_are_listed_and_copied_for_another_machine(models, tmp_path):
    listed = emo("models", "list", "--preset", "light", *models, "--json")
    assert listed.returncode == 0, listed.stderr
    assert [one["key"] for one in json.loads(listed.stdout)["models"]] == [
        f"experts.{name}.model" for name in NAMES
    ]
    copied = emo("models", "fetch", "--preset", "light", *models, "--to", tmp_path / "copies")
    assert copied.returncode == 0, copied.stderr
    options = copied.stdout.replace("\\\n", " ").split()
    again = emo("models", "list", "--preset", "light", *options, "--json")
    folders = [one["folder"] for one in json.loads(again.stdout)["models"]]
    assert all(folder.startswith(str(tmp_path / "copies")) for folder in folders)


def test_without_the_models_and_the_internet_it_is_said_what_to_do_before_anything_starts(tmp_path):
    cut_off = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty")}
    done = emo("label", SAMPLES, "--out", tmp_path / "out", "--preset", "light", env=cut_off)
    assert done.returncode == 2
    for name in ("trpakov/vit-face-expression", "superb/wav2vec2-base-superb-er", "SamLowe/roberta"):
        assert name in done.stderr
    assert "emo models fetch --to FOLDER, on a machine with internet" in done.stderr
    assert not (tmp_path / "out").exists()
    listed = emo("models", "list", "--preset", "light", env=cut_off)
    assert listed.stderr.count("to be downloaded, size not known") == len(NAMES)
