"""What the README of a checkpoint says of it."""

from pathlib import Path
from typing import Any

import yaml

_LONGEST_LICENCE = 300


def described(folder: Path) -> dict[str, Any]:
    """The front matter of the checkpoint's README (licence, datasets); {} where it has none."""
    path = folder / "README.md"
    if not path.exists():
        return {}
    parts = path.read_text(encoding="utf-8", errors="replace").split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        return {}
    try:
        front = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return {}
    return front if isinstance(front, dict) else {}


def licence_of(folder: Path) -> str | None:
    """The licence that the checkpoint's README names, in one line; None where it names none."""
    about = described(folder)
    said = about.get("license")
    named = [str(one) for one in (said if isinstance(said, list) else [said]) if one]
    # The hub's word for a licence that it has no word for.
    more = [
        str(about[key]) for key in ("license_name", "license_link") if named == ["other"] and about.get(key)
    ]
    return " ".join(", ".join(more or named).split())[:_LONGEST_LICENCE] or None
