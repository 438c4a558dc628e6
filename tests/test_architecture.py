"""The arrow of imports is jobs → emo, never back; the library starts without Ray."""

import ast
import subprocess
import sys

from conftest import REPOSITORY

LIBRARY = sorted((REPOSITORY / "emo").rglob("*.py"))


def _imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


def test_the_library_imports_neither_ray_nor_the_jobs():
    found = [
        f"{path.relative_to(REPOSITORY)}: {name}"
        for path in LIBRARY
        for name in _imported(path)
        if name.partition(".")[0] in {"ray", "jobs"}
    ]
    assert found == []


def test_the_command_line_starts_without_heavy_libraries():
    program = (
        "import sys; from emo.cli import build_parser; build_parser();"
        "heavy = {'ray', 'torch', 'transformers', 'librosa', 'cv2', 'av', 'decord'} & set(sys.modules);"
        "sys.exit(f'imported: {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_command_explains_itself():
    from emo.cli import build_parser

    commands = next(action for action in build_parser()._actions if action.dest == "command").choices
    assert {"label", "plan", "ingest", "describe", "extract", "judge", "report", "status", "failures"} <= set(
        commands
    )
    for name, parser in commands.items():
        assert parser.description, name
        assert all(action.help for action in parser._actions), name
