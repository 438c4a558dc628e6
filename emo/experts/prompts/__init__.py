"""The prompts, one text file each, chosen by name and hashed into the table."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from emo.errors import InputError


@dataclass(frozen=True)
class Prompt:
    """text: without the newline at its end; sha: the first 16 hex digits of the SHA-256 of that text."""

    name: str
    text: str
    sha: str


def load_prompt(name: str) -> Prompt:
    """The prompt of this name (a file of this folder without `.txt`), or a text file by its path.

    A name that ends in `.txt` is a path. Raises InputError that lists the names where there is none.
    """
    if name.endswith(".txt"):
        path = Path(name).expanduser()
        if not path.is_file():
            raise InputError(f"prompt {name!r}: no such file")
        text = path.read_text(encoding="utf-8").rstrip("\n")
    else:
        folder = files(__name__)
        known = sorted(entry.name[:-4] for entry in folder.iterdir() if entry.name.endswith(".txt"))
        if name not in known:
            raise InputError(f"unknown prompt {name!r}; expected one of: {', '.join(known)}")
        text = (folder / f"{name}.txt").read_text(encoding="utf-8").rstrip("\n")
    if not text.strip():
        raise InputError(f"prompt {name!r} is empty")
    return Prompt(name, text, prompt_sha(text))


def prompt_sha(*texts: str) -> str:
    """The hash of what is asked, where it is made of several texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
