"""What the README shows works as it is written."""

import re
import shlex
import shutil

import yaml

from conftest import REPOSITORY
from emo.cli import build_parser
from emo.config import presets, validate
from emo.experts import REGISTRY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", README, re.DOTALL)


def test_every_configuration_is_valid():
    found = blocks("yaml")
    assert found
    for text in found:
        assert validate(yaml.safe_load(text), "README").experts


def test_every_command_line_is_understood():
    commands = [
        shlex.split(line.removeprefix(".venv/bin/"), comments=True)
        for block in blocks("") + blocks("bash")
        for line in block.replace("\\\n", " ").splitlines()
        if line.removeprefix(".venv/bin/").startswith("emo ")
    ]
    assert len(commands) > 5
    for _, *arguments in commands:
        build_parser().parse_args(arguments)


def test_every_python_snippet_runs_on_an_out(tmp_path, monkeypatch):
    snippets = blocks("python")
    assert snippets
    shutil.copytree(REPOSITORY / "tests/fixtures/out_of_0_1_0", tmp_path / "labels")
    monkeypatch.chdir(tmp_path)
    for snippet in snippets:
        found: dict = {}
        exec(snippet, found)
        assert len(found["labels"]) == 9


def test_every_expert_and_preset_is_named():
    for name in (*REGISTRY.own, *presets()):
        assert f"`{name}`" in README, name
