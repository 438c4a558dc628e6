"""The examples of docs/python.md run as they stand, one after the other, on the cluster of the tests."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

import emo
from conftest import REPOSITORY

PAGE = (REPOSITORY / "docs/python.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


# What the examples are about, and one whose picture shows a face.
SAMPLES = ("drawn_angry", "drawn_sad_zh", "portrait_welcome", "broken_truncated")


def few_samples(folder):
    """The folder of the samples with so many that each example has something to show."""
    samples = REPOSITORY / "samples"
    folder.mkdir()
    (folder / "clips").symlink_to(samples / "clips")
    head, *lines = (samples / "manifest.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.split(",")[1] in SAMPLES]
    (folder / "manifest.csv").write_text("".join([head, *kept]), encoding="utf-8")


@pytest.fixture(scope="module")
def ran(tmp_path_factory, ray_cluster):
    """The folder in which all examples ran, and what they printed."""
    folder = tmp_path_factory.mktemp("notebook")
    few_samples(folder / "samples")
    here = [one for one in EXAMPLES if find_spec("matplotlib") or "matplotlib" not in one]
    (folder / "examples.py").write_text("\n".join(here), encoding="utf-8")
    environment = {**os.environ, **ray_cluster, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "examples.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_the_examples_print_what_they_are_about(ran):
    folder, printed = ran
    assert "ingest: 3 done, 1 failed" in printed
    assert "'error': 'truncated'" in printed
    assert "[['proud', 'nervous'], []]" in printed
    assert "There is no sound." in printed
    assert (folder / "labels/report/index.html").exists()


def test_the_plot_is_drawn_where_matplotlib_is(ran):
    folder, _ = ran
    pytest.importorskip("matplotlib")
    assert (folder / "labels.svg").read_text(encoding="utf-8").count("<path") > 5


def test_every_example_is_python_and_every_public_name_is_shown():
    for number, example in enumerate(EXAMPLES):
        compile(example, f"example {number}", "exec")
    for name in emo.__all__:
        assert f"emo.{name}" in PAGE, name
