"""Experts of a package from outside: the worked example, installed beside emo, labels a clip."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from clips import make_clip
from conftest import REPOSITORY
from emo.store.tables import DESCRIPTIONS, VOTES
from labelling import emo, rows
from standing import Asking, Standing, TestCluster

EXAMPLE = REPOSITORY / "docs" / "example-expert"
BY_NAME = "{kind: sound-notes}"
BY_PLACE = "{kind: 'sound_notes:SoundNotesExpert', name: sure, strength: 0.9}"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The environment of a process that has the example on its path."""
    folder = tmp_path_factory.mktemp("example")
    source = shutil.copytree(EXAMPLE, folder / "source")  # a build leaves files beside its source
    target = folder / "installed"
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "install", *offline, "--target", target, source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(target), os.environ.get("PYTHONPATH"))))}


@pytest.fixture(scope="module")
def with_example(installed):
    """For commands where the example is on the path: they share a process."""
    with Asking(installed, Standing(None, installed)) as made:
        yield made


@pytest.fixture(scope="module")
def joined(installed, ray_cluster):
    """The cluster of the tests, which was started without the example, for commands that have it."""
    with TestCluster(ray_cluster["RAY_ADDRESS"], **installed) as cluster:
        yield cluster


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "videos" / "party.mp4"
    path.parent.mkdir()
    make_clip(path)
    path.with_suffix(".txt").write_text("Guess who is here. [laughs] Come in!")
    return path


def test_an_expert_of_another_package_labels_a_clip_by_its_name_and_by_its_place(
    with_example, clip, tmp_path
):
    out = tmp_path / "out"
    line_up = ("--set", f"experts=[{BY_NAME}, {BY_PLACE}]", "--set", "ingest.workers=1")
    done = emo("label", clip.parent, "--out", out, *line_up, env=with_example)
    assert done.returncode == 0, done.stderr
    described = rows(out, DESCRIPTIONS, "status", "text", "model", "revision")
    assert {row["expert"] for row in described} == {"sound-notes", "sure"}
    for row in described:
        assert (row["status"], row["model"], row["revision"]) == ("ok", "sound-notes", "sound-notes-1")
        assert row["text"] == "The transcript notes “laughs”, which goes with being amused."
    votes = rows(out, VOTES, "labels", "strengths")
    assert {row["expert"]: (row["labels"], row["strengths"]) for row in votes} == {
        "sound-notes": (["amused"], [0.5]),
        "sure": (["amused"], [0.9]),
    }


@pytest.mark.parametrize("entry", [BY_NAME, BY_PLACE])
def test_a_cluster_whose_workers_lack_the_package_is_told_before_the_first_pass(
    clip, tmp_path, joined, entry
):
    out = tmp_path / "out"
    line_up = ("--set", f"experts=[{entry}]")
    done = emo("label", clip.parent, "--out", out, *line_up, env=joined)
    assert done.returncode == 2, done.stderr
    assert re.search("expert (sound-notes|sure): on node .*(unknown|cannot be imported)", done.stderr)
    assert not list(out.glob("clips/*.parquet"))


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{kind: sound-nots}", "unknown expert kind 'sound-nots'; expected one of: .*sound-notes.*words"),
        ("{kind: 'sound_notes:Nobody', name: x}", "'sound_notes:Nobody' cannot be imported .*Nobody"),
        ("{kind: sound-notes, strength: 2}", "strength: .*less than or equal to 1"),
        ("{kind: 'sound_notes:SoundNotesExpert'}", "name: is missing"),
    ],
)
def test_what_is_wrong_with_an_entry_is_told_before_anything_starts(with_example, tmp_path, entry, told):
    done = emo("label", tmp_path, "--out", tmp_path / "out", "--set", f"experts=[{entry}]", env=with_example)
    assert done.returncode == 2
    assert re.search(told, done.stderr), done.stderr
