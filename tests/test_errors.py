"""Every code that a row can fail with is in the one list, and the list has no other."""

import ast
from collections.abc import Iterator
from pathlib import Path

from conftest import REPOSITORY
from emo.errors import CODES
from emo.nightly.retries import PASSING

FILES = [path for folder in ("emo", "jobs") for path in sorted((REPOSITORY / folder).rglob("*.py"))]
# The package's own name of the jobs leads to the same files; whatever folder the checkout lies in.
AGAIN = REPOSITORY / "emo/jobs"
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES if AGAIN not in path.parents}
# The argument that is the code of a row.
PLACES = {"RowError": 0, "row_failure": 1, "answers_of": 2}
# Written by earlier versions alone.
EARLIER = {"timed_out"}


def constants() -> dict[str, str]:
    """The texts that names of modules stand for."""
    return {
        target.id: node.value.value
        for tree in TREES.values()
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }


def assigned(name: str, tree: ast.Module) -> Iterator[ast.expr]:
    """What a local name of a file is given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == name for target in node.targets):
            yield node.value


def texts(value: ast.expr, tree: ast.Module) -> Iterator[str]:
    """The codes that an expression can be; one that hands on the code of another row gives none."""
    if isinstance(value, ast.Constant):
        yield value.value
    elif isinstance(value, ast.IfExp):
        yield from texts(value.body, tree)
        yield from texts(value.orelse, tree)
    elif isinstance(value, ast.Name) and value.id in NAMES:
        yield NAMES[value.id]
    elif isinstance(value, ast.Name):
        for given in assigned(value.id, tree):
            yield from texts(given, tree)
    else:
        handed_on = ast.unparse(value)
        assert handed_on.endswith((".code", "['error']")), f"{handed_on}: which code is this?"


def raised() -> Iterator[tuple[Path, str]]:
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func).rpartition(".")[2]
            place = PLACES.get(called, len(node.args))
            named = [keyword.value for keyword in node.keywords if keyword.arg == "code" and called in PLACES]
            for value in [*node.args[place : place + 1], *named]:
                yield from ((path, code) for code in texts(value, tree))


NAMES = constants()


def test_every_code_that_is_raised_is_listed_and_every_listed_one_is_raised():
    found = {code: path for path, code in raised()}
    assert {code: path for code, path in found.items() if code not in CODES} == {}
    assert CODES.keys() - found.keys() == EARLIER


def test_what_passes_is_what_a_night_tries_again():
    assert {"worker_died", "timeout", "timed_out", "unreachable", "replaced"} <= PASSING
    assert not {"truncated", "refused", "no_voter", "unexpected"} & PASSING


def test_a_meaning_is_whole_sentences():
    for code, said in CODES.items():
        assert said.meaning[0].isupper(), code
        assert said.meaning.endswith("."), code
