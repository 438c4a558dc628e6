"""What may import what: the command line on top, below it the jobs, the run, and the rest of the library."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from conftest import REPOSITORY

# Rooms in which a library may be imported at all.
ROOMS = {
    "ray": {"emo.run"},
    "emo.cli": {"emo.cli", "emo.__main__"},
    "emo.jobs": {"emo.cli", "emo.jobs", "emo.api"},
    "emo.run": {"emo.cli", "emo.jobs", "emo.run", "emo.api"},
    "emo.report": {"emo.cli", "emo.jobs", "emo.report", "emo.evaluation", "emo.review"},
    "emo.nightly": {"emo.cli", "emo.jobs", "emo.nightly"},
}


def modules() -> Iterator[tuple[str, Path]]:
    for package, folder in (("emo", REPOSITORY / "emo"), ("emo.jobs", REPOSITORY / "jobs")):
        for path in sorted(folder.rglob("*.py")):
            inside = path.relative_to(folder)
            if package == "emo" and inside.parts[0] == "jobs":
                continue
            yield ".".join((package, *inside.with_suffix("").parts)).removesuffix(".__init__"), path


@cache
def imported(path: Path) -> tuple[str, ...]:
    return tuple(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written out"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            # What is imported by its name would be seen by nobody, mypy included.
            yield f"import_module in {path.relative_to(REPOSITORY)}"


def within(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


@pytest.mark.parametrize("what", ROOMS)
def test_each_room_is_entered_only_from_above(what):
    strangers = [
        f"{module} imports {name}"
        for module, path in modules()
        for name in imported(path)
        if within(name, what)
        and not any(within(module, room) for room in ROOMS[what])
        # The configuration is put together from the settings of all rooms.
        and not (module == "emo.config" and ".settings." in name)
    ]
    assert strangers == []


def test_only_the_registry_the_public_names_and_the_sandbox_import_by_name():
    found = {name for _, path in modules() for name in imported(path) if name.startswith("import_module")}
    assert found == {
        f"import_module in {path}" for path in ("emo/__init__.py", "emo/media/sandbox.py", "emo/registry.py")
    }


@pytest.mark.parametrize(
    "program",
    [
        "import emo",
        "from emo.cli.program import build_parser; build_parser()",
        "import emo.jobs.label, emo.run.session",
    ],
)
def test_what_starts_first_loads_no_heavy_library(program):
    heavy = {"ray", "torch", "transformers", "cv2", "av", "decord", "peft", "deepspeed", "aiohttp", "scipy"}
    if "build_parser" in program:
        # A command without tables, such as `emo submit` or `emo --help`, is done without it.
        heavy |= {"pyarrow"}
    code = f"{program}\nimport sys\nprint(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_no_name_of_ours_but_emo_is_installed():
    """`jobs` in site-packages would be anybody's."""
    from setuptools import find_packages

    packages = find_packages(str(REPOSITORY), include=["emo*"])
    assert {name.partition(".")[0] for name in packages} == {"emo"}
    assert "emo.jobs" in packages


def test_every_command_explains_itself():
    from emo.cli.program import build_parser

    commands = next(action for action in build_parser()._actions if action.dest == "command").choices
    assert {"label", "plan", "ingest", "describe", "extract", "judge", "report", "status", "failures"} <= set(
        commands
    )
    for name, parser in commands.items():
        assert parser.description, name
        assert all(action.help for action in parser._actions), name
