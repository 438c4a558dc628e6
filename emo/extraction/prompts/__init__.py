"""What the text models are asked, one text file each, chosen by name and hashed into the extractor's name."""

import re
from collections.abc import Mapping
from pathlib import Path

from emo.errors import InputError
from emo.experts import prompts
from emo.experts.prompts import Prompt
from emo.experts.prompts.plain import as_text

_PLACE = re.compile(r"\{(description|transcript)\}")


def load_prompt(name: str, places: tuple[str, ...]) -> Prompt:
    """The prompt of this name (a file of this folder without `.txt`), or a text file by its path.

    places: what it has to leave room for, such as `{description}`. Raises InputError where there is no such
    prompt or it leaves no room.
    """
    folder = Path(__file__).parent
    path = Path(name) if name.endswith(".txt") else folder / f"{name}.txt"
    if not name.endswith(".txt") and not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.txt")))
        raise InputError(f"unknown prompt {name!r}; expected one of: {known}")
    prompt = prompts.load_prompt(str(path))
    for place in places:
        if place not in prompt.text:
            raise InputError(f"prompt {name!r}: {place} does not occur in it")
    return Prompt(name, prompt.text, prompt.sha)


def filled(prompt: Prompt, values: Mapping[str, str]) -> str:
    """The prompt with the texts in the places of `{description}` and `{transcript}`, each as text."""
    return _PLACE.sub(lambda place: as_text(values[place[1]]), prompt.text)
