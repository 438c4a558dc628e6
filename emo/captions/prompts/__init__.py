"""What captioning experts are asked, one text file each.

A line of a prompt that holds `{label}` shows the gold polarity to the expert; the lines without it are the
question that a model trained on the caption is asked.
"""

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from emo.errors import InputError
from emo.experts.prompts import prompt_sha
from emo.experts.protocol import AUDIO, FRAMES

LABEL = "{label}"
# The tables add the polarity that was shown behind a colon.
_NAME = re.compile(r"^[A-Za-z0-9._-]+$")
# Prompts of this package about what only one sense can tell; an expert without that sense would invent it.
_NEEDS = {"face": FRAMES, "body": FRAMES, "situation": FRAMES, "voice": AUDIO}


@dataclass(frozen=True)
class CaptionPrompt:
    """name: of the file, without folder and `.txt`; text: the whole file; needs: the sense without which the
    prompt cannot be answered, None: any will do.
    """

    name: str
    text: str
    needs: str | None = None

    @property
    def shows_gold(self) -> bool:
        """Whether the expert is shown the gold polarity."""
        return LABEL in self.text

    @property
    def question(self) -> str:
        """The prompt without the lines that show the gold."""
        return "\n".join(line for line in self.text.splitlines() if LABEL not in line).strip()

    def shown(self, label: str | None) -> str:
        """What the expert is shown."""
        return self.text.replace(LABEL, label) if label else self.text

    @property
    def sha(self) -> str:
        """The hash of the whole file's text."""
        return prompt_sha(self.text)


def sense_asked(name: str) -> str | None:
    """The one sense that a prompt of this package asks about, by the name in the tables; None: any."""
    return _NEEDS.get(name.partition(":")[0])


def of_whole_person(name: str) -> bool:
    """Whether a prompt, by its name in the tables, asks for all that is seen and heard of the person."""
    return name.partition(":")[0] in ("person", "person-with-label")


def names() -> list[str]:
    """The prompts of this package."""
    return sorted(entry.name[:-4] for entry in files(__name__).iterdir() if entry.name.endswith(".txt"))


def load_caption_prompt(name: str) -> CaptionPrompt:
    """The prompt of this name, or a text file by its path (a name that ends in `.txt`); raises InputError."""
    if name.endswith(".txt"):
        path = Path(name).expanduser()
        if not path.is_file():
            raise InputError(f"caption prompt {name!r}: no such file")
        if not _NAME.match(path.stem):
            raise InputError(f"caption prompt {name!r}: expected a file name of letters, digits, ., _ and -")
        prompt = CaptionPrompt(path.stem, path.read_text(encoding="utf-8").strip())
    elif name in names():
        text = (files(__name__) / f"{name}.txt").read_text(encoding="utf-8").strip()
        prompt = CaptionPrompt(name, text, _NEEDS.get(name))
    else:
        raise InputError(
            f"unknown caption prompt {name!r}; expected a .txt file or one of: {', '.join(names())}"
        )
    if not prompt.question:
        raise InputError(f"caption prompt {name!r} holds no line without {LABEL}: nothing to ask")
    return prompt
