"""What the README shows works as it is written."""

import re
import shlex
import shutil

import pytest
import yaml

from conftest import REPOSITORY
from emo.cli.program import COMMANDS, build_parser
from emo.config import presets, validate

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((REPOSITORY / "docs").glob("*.md"))}


def blocks(kind, text=README):
    # All in their order: a fence that closes one would otherwise open the next.
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for name, block in found if name == kind]


def test_every_configuration_is_valid():
    found = blocks("yaml")
    assert found
    for text in found:
        assert validate(yaml.safe_load(text), "README").experts


def commands(text):
    return [
        shlex.split(line.removeprefix(".venv/bin/"), comments=True)
        for block in blocks("", text) + blocks("bash", text)
        for line in block.replace("\\\n", " ").splitlines()
        if line.removeprefix(".venv/bin/").startswith("emo ")
    ]


@pytest.mark.parametrize(("page", "least"), [("README", 6), ("scoring.md", 5), ("finetuning.md", 5)])
def test_every_command_line_is_understood(page, least):
    found = commands(PAGES.get(page, README))
    assert len(found) >= least
    for _, *arguments in found:
        build_parser().parse_args(arguments)


def test_every_command_is_in_the_table_of_commands():
    table = PAGES["labelling.md"].partition("## Commands")[2]
    for module in COMMANDS:
        name = module.__name__.rpartition(".")[2]
        assert re.search(rf"`(emo )?{name}\b", table), name


def test_links_lead_to_files_that_are_there():
    texts = {"README.md": README, **{f"docs/{name}": text for name, text in PAGES.items()}}
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        texts[name] = (REPOSITORY / name).read_text(encoding="utf-8")
    for place, text in texts.items():
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert (REPOSITORY / place).parent.joinpath(link).exists(), f"{place}: {link}"


def test_files_that_the_architecture_names_are_there():
    named = set(re.findall(r"`((?:emo|jobs|tests|docs|cluster)/[\w./]*)`", PAGES["architecture.md"]))
    assert len(named) > 30
    for path in named:
        if "NAME" not in path:
            assert (REPOSITORY / path).exists(), path


def test_every_python_snippet_runs_on_an_out(tmp_path, monkeypatch):
    snippets = blocks("python")
    assert snippets
    shutil.copytree(REPOSITORY / "tests/fixtures/out_of_0_1_0", tmp_path / "labels")
    monkeypatch.chdir(tmp_path)
    for snippet in snippets:
        found: dict = {}
        exec(snippet, found)
        assert len(found["labels"]) == 9


def test_every_preset_is_named():
    for name in presets():
        assert f"`{name}`" in README, name
