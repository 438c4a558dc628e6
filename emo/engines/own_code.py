"""What the folder of a checkpoint with code of its own must hold, looked at without running any of it."""

import ast
import json
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_PROCESSOR = ("preprocessor_config.json", "processor_config.json")
_TOKENIZER = "tokenizer_config.json"
_TEMPLATES = ("chat_template.jinja", "chat_template.json")


def lacking(folder: Path, config: Mapping[str, Any]) -> list[str]:
    """What the folder lacks to be run by its own code, one line each.

    config: the content of its config.json. The code is read, not run: what is wrong in it otherwise shows
    when it is loaded.
    """
    lines = []
    for entry, place in _places(config.get("auto_map") or {}):
        repository, elsewhere, name = place.rpartition("--")
        if elsewhere:
            lines.append(f"{folder}: the code of {entry} is in {repository}; put its files into the folder")
        else:
            lines += _code(folder, name.rpartition(".")[0] + ".py", f"config.json names for {entry}", set())
    if not any((folder / name).is_file() for name in _PROCESSOR):
        lines.append(f"{folder}: no {' or '.join(_PROCESSOR)}, which say how pictures are prepared")
    if not (folder / _TOKENIZER).is_file():
        lines.append(f"{folder}: no {_TOKENIZER}")
    elif not any((folder / name).is_file() for name in _TEMPLATES) and not _templated(folder):
        lines.append(f"{folder}: no chat template ({', '.join(_TEMPLATES)}, or in {_TOKENIZER})")
    return lines


def _places(auto_map: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The entries and their classes; of a tokenizer there are two, of which one may be null."""
    for entry, named in auto_map.items():
        for place in named if isinstance(named, list) else [named]:
            if isinstance(place, str):
                yield entry, place


def _code(folder: Path, name: str, who: str, seen: set[str]) -> list[str]:
    """What keeps a file of code, and those that it takes in, from being imported."""
    if name in seen:
        return []
    seen.add(name)
    try:
        tree = ast.parse((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return [f"{folder}: {name} is not in it, which {who}"]
    except (SyntaxError, ValueError) as error:
        return [f"{folder}: {name} is no Python: {error}"]
    lines: list[str] = []
    # What stands under `if` or `try` may be absent.
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level:
            modules = [node.module] if node.module else [alias.name for alias in node.names]
            for module in modules:
                lines += _code(folder, module.replace(".", "/") + ".py", f"{name} imports", seen)
        else:
            lines += [
                f"{folder}: {name} imports {package}, which is not installed"
                for package in _packages(node)
                if find_spec(package) is None
            ]
    return lines


def _packages(node: ast.stmt) -> dict[str, None]:
    """The packages that a statement imports, each once."""
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module:
        names = [node.module]
    return dict.fromkeys(name.partition(".")[0] for name in names)


def _templated(folder: Path) -> bool:
    for name in (_TOKENIZER, *_PROCESSOR):
        try:
            if json.loads((folder / name).read_text(encoding="utf-8")).get("chat_template"):
                return True
        except (OSError, ValueError, AttributeError):
            continue
    return False
