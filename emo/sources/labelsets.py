"""Label sets that others wrote, as a list or as a text."""

import re
from collections.abc import Iterator
from typing import Any

from emo.errors import InputError
from emo.sources.record import MISSING, check_text, short


def parse_list(text: str) -> tuple[str, ...]:
    """The words of a list written as text, with or without brackets and quotation marks.

    They are split at commas, and at whatever else people put between words: `;`, `/`, `|`, the Chinese marks,
    line breaks, "and" in English and Chinese, a plus.
    """
    text = text.strip().removeprefix("[").removesuffix("]")
    if _PRINTED.fullmatch(text):
        text = text[1:-1]
    items = _SEPARATORS.split(text)
    return tuple(word for item in items for word in map(str.strip, _AND.split(item)) if word)


# A tuple and a set, as Python prints them; "(slightly) sad" is a label.
_PRINTED = re.compile(r"\([^()]*\)|\{[^{}]*\}")
_SEPARATORS = re.compile(r"['\"“”,，、;；/／|\n\r\t]")
# The Chinese "and" is part of words too (平和, 温和友善): it parts two words of two characters or more.
_AND = re.compile(
    r"(?:^|\s)(?:and|AND|And|&)\s|(?<=\w)\s*\+\s*(?=\w)"
    r"|(?<=[\u4e00-\u9fff]{2})(?:以及|[和与及])(?=[\u4e00-\u9fff]{2})"
)
# Within one entry of a list: a slash or "and" may belong to a label there, these never do.
_SEVERAL = re.compile(r"[,，、;；\n\r]")
# Of one clip; people and models give a dozen.
MOST_LABELS = 1000


def as_labels(value: Any, where: str) -> tuple[str, ...]:
    """The labels of a list or a text; raises InputError that names `where` for anything else.

    An empty list or text is a clip without a label; `nan` and the like are neither that nor a label.
    """
    if isinstance(value, str) and value.strip() in MISSING:
        raise InputError(f"{where}: labels are {value!r}; expected a list, such as [happy, sad] or []")
    if isinstance(value, str):
        labels = parse_list(value)
    elif isinstance(value, list) and all(isinstance(label, str) for label in value):
        labels = tuple(word for label in value for word in _words(label))
    else:
        raise InputError(f"{where}: labels are {short(value)}; expected a list of strings")
    if len(labels) > MOST_LABELS:
        raise InputError(f"{where}: has {len(labels)} labels; expected at most {MOST_LABELS} for one clip")
    for label in labels:
        check_text(label, where, "a label")
    return labels


def _words(label: str) -> Iterator[str]:
    if not _SEVERAL.search(label):
        yield label
        return
    yield from (word for word in map(str.strip, _SEVERAL.split(label)) if word)
