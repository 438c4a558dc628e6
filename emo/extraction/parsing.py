"""Reading the answer of a text model that was asked for a list of emotion words.

What is not clearly a list is no list: the row fails and says what stood there instead. An entry of a list
that is no label is left out and named.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from emo import vocabulary
from emo.answers import EMPTY_ANSWER, THOUGHT_ONLY, read_answer, refused, shortened
from emo.answers.refusals import manners
from emo.answers.thinking import parted
from emo.errors import RowError
from emo.extraction.scored import judged
from emo.vocabulary import Entry

UNPARSABLE = "unparsable"

_LIST = re.compile(r"\[[^\[\]]*\]")
_LEAD_IN = re.compile(
    r"^(?:(?:the |my )?(?:final )?(?:output|answer|labels?|emotions?|emotional (?:states?|categories))"
    r"(?: (?:is|are))?|(?:主要)?情[绪感](?:标签|状态)?|答案)\s*[:：]\s*",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^\s*(?:[-*•]|\(?(?:\d+|[A-Za-z])[.)])\s+")
# "n/a" is one word.
_SEPARATOR = re.compile(r"\s*[,，、;；\n]\s*(?:and\s+|[和与及])?|\s+and\s+", re.IGNORECASE)
# Between alternatives, inside one entry and at the beginning of the last one.
_HEDGE = r"(?:perhaps|maybe|possibly|just|even|rather)"
_EITHER = re.compile(
    rf"(?:\s*[,，]\s*|\s+)(?:or|vs\.?|versus)(?:\s+{_HEDGE})*\s+|\s+/\s+|(?<=\w\w\w)/(?=\w\w\w)"
    r"|(?<=[\u4e00-\u9fff])/(?=[\u4e00-\u9fff])|(?<=[\u4e00-\u9fff])(?:或者?|还是|抑或)(?=[\u4e00-\u9fff])",
    re.IGNORECASE,
)
_EITHER_FIRST = re.compile(rf"^(?:or(?:\s+{_HEDGE})*\s+|或者?(?!许)|还是|抑或)", re.IGNORECASE)
_OPENS_EITHER = re.compile(r"^either\s+", re.IGNORECASE)
# The answer form that AffectGPT and its kind are trained on: the whole text is one sentence with the list.
_STATES = re.compile(
    r"^(?:the |this )?(?:character|person|speaker|individual|man|woman|subject)(?:'s|’s|s'|s’)?\s+emotional "
    r"states? (?:is|are|includes?)\s*[:：]?\s+(?P<labels>[^.!?]+)[.]?$",
    re.IGNORECASE,
)
# "(slightly) sad", "nervous (mild)": the bracket is a part of what is said.
_BRACKETED_WORDS = re.compile(r"[(（]([^()（）]*)[)）]")

_MARKUP = re.compile(r"[\[\]{}<>|=#@\\_✓✔✅☑✗✘❌✖☒]")
_EMPHASIS = re.compile(r"\*\*|__")


@dataclass(frozen=True)
class Listed:
    """labels: lower case, in order, without repeats; dropped: entries that were no label, as written;
    alternatives: groups of at least two of the labels that stood with "or" or a slash between them.
    """

    labels: list[str]
    dropped: tuple[str, ...] = ()
    alternatives: tuple[tuple[str, ...], ...] = ()


def stated(text: str) -> Listed | None:
    """What a text lists that is nothing but its labels; None for any other text.

    That is one sentence such as "The character's emotional state is a, b.", a bare comma list of entries of
    one or two words, or emotions that are judged one by one with nothing beside them.
    """
    by_one = judged(text)
    if by_one is not None:
        return _read(list(by_one.labels)) if not by_one.rest else None
    text = " ".join(text.split())
    found = _STATES.match(text)
    items = _split(found["labels"] if found else text)
    entries = [str(entry) for entry, _ in _parted(items)]
    if not items or (found is None and any(len(entry.split()) > 2 for entry in entries)):
        return None
    if Entry.NO_LABEL in {_kind(entry) for entry in entries}:
        return None
    return _read(items)


def parse_labels(answer: str) -> list[str]:
    """The labels of `read_list`."""
    return read_list(answer).labels


def read_list(answer: str) -> Listed:
    """The labels of a generated list; none for an empty list, or where it says that there is none.

    Understood are a bracketed list (also in a code block, in a JSON object, or with a sentence around it),
    one label per line, a bare comma list, and emotions that are judged one by one. Raises RowError: `refused`
    where the model declined, `thought_only` where it only thought, `unparsable` where there is no list, where
    there are several different ones, or where no entry of it is a label.
    """
    said = parted(answer)
    if not said.ended or (said.thought is not None and not said.said):
        raise read_answer(answer).error or RowError(THOUGHT_ONLY, "the model gave no answer")
    text = _unfenced(said.said)
    if not text:
        raise RowError(UNPARSABLE, "the model wrote nothing")
    try:
        found = _marked(text) or [_bare(_polite(text))]
    except ValueError as error:
        if manners(text).declines:
            raise refused(text) from None
        raise RowError(UNPARSABLE, f"{error} in the answer: {shortened(text)}") from None
    if any(each != found[0] for each in found):
        raise RowError(UNPARSABLE, f"{len(found)} different lists in the answer: {shortened(text)}")
    if not found[0].labels and manners(text).refuses:
        raise refused(text)
    return found[0]


def list_in(text: str) -> Listed:
    """The same as `read_list` for a text that `read_answer` has read; no label where it is no list either.

    Why it is none is not looked into: most texts are none.
    """
    text = _unfenced(text)
    try:
        found = _marked(text) or [_bare(_polite(text))]
    except (ValueError, RowError):
        return Listed([])
    return found[0] if all(each == found[0] for each in found) else Listed([])


def _unfenced(text: str) -> str:
    return text.strip().strip("`").removeprefix("json").strip()


def _marked(text: str) -> list[Listed]:
    """The lists that something marks as such: brackets, or emotions that are judged one by one."""
    by_one = judged(text)
    if by_one:
        return [_read(list(by_one.labels))]
    return [_read(_entries(each)) for each in _LIST.findall(text)]


def _polite(text: str) -> str:
    """The answer without courtesies; raises RowError where it is nothing else, or declines."""
    answer = read_answer(text)
    if answer.error is not None:
        raise (
            answer.error
            if answer.error.code != EMPTY_ANSWER
            else RowError(UNPARSABLE, "the model wrote nothing")
        )
    return answer.text or ""


def _entries(text: str) -> list[object]:
    try:
        items = json.loads(text)
    except ValueError:
        return list(_split(text[1:-1]))
    return list(items)


def _bare(text: str) -> Listed:
    text = _LEAD_IN.sub("", _EMPHASIS.sub("", text).strip()).strip()
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and all(_BULLET.match(line) for line in lines):
        items = [_BULLET.sub("", line) for line in lines]
    elif len(lines) > 1:
        raise ValueError("no list")
    else:
        items = _split(text)
    # Without brackets nothing says that this is a list: one entry that is none makes a sentence of it.
    wrong = next((entry for entry, _ in _parted(items) if _kind(entry) is Entry.NO_LABEL), None)
    if wrong is not None:
        raise ValueError(f"{shortened(str(wrong).strip())!r} is no label")
    return _read(items)


def _split(text: str) -> list[str]:
    """The entries of a list; one separator more at its end is no entry."""
    text = text.strip(" \t\r\n.,，、;；。")
    return _SEPARATOR.split(text) if text else []


def _parted(items: Sequence[object]) -> list[tuple[object, int]]:
    """The entries of a list, those of alternatives each by itself, with the number of their group, 0: none.

    "a, b, or c" are three alternatives, as in English.
    """
    entries: list[tuple[object, int]] = []
    groups = 0
    for item in items:
        if not isinstance(item, str):
            entries.append((item, 0))
            continue
        begins = _EITHER_FIRST.match(item)
        text = item[begins.end() :] if begins else item
        parts = _EITHER.split(_OPENS_EITHER.sub("", text))
        if len(parts) > 1 and Entry.NO_LABEL in map(_kind, parts):
            parts = [text]
        joins = begins is not None and bool(entries)
        if joins or len(parts) > 1:
            groups += 1
        if joins:
            entries = [(entry, groups) for entry, _ in entries]
        entries += [(part, groups if joins or len(parts) > 1 else 0) for part in parts]
    return entries


def _read(items: Sequence[object]) -> Listed:
    """The labels among the entries; raises ValueError where there are entries and all of them are something
    else than labels or a statement that there is none.
    """
    groups: dict[str, int] = {}
    dropped: list[str] = []
    kinds = []
    entries = _parted(items)
    for entry, group in entries:
        kind = _kind(entry)
        kinds.append(kind)
        if kind is Entry.LABEL:
            groups.setdefault(_clean(str(entry)), group)
        elif not (kind is Entry.NOTHING and len(entries) == 1):
            dropped.append(shortened(str(entry)))
    if kinds and Entry.LABEL not in kinds and Entry.NOTHING not in kinds:
        raise ValueError(f"{dropped[0]!r} is no label")
    labels = list(groups)
    together = (
        tuple(label for label in labels if groups[label] == group)
        for group in dict.fromkeys(groups.values())
        if group
    )
    return Listed(labels, tuple(dropped), tuple(group for group in together if len(group) > 1))


def _kind(item: object) -> Entry:
    if item is None:
        return Entry.NOTHING
    if not isinstance(item, str):
        return Entry.NO_LABEL
    label = _clean(item)
    return Entry.NO_LABEL if _MARKUP.search(label) else vocabulary.entry_of_list(label)


def _clean(item: str) -> str:
    text = " ".join(_BRACKETED_WORDS.sub(r" \1 ", item).split())
    return text.strip(" \t\r\n\"'“”‘’`.。*").lower()
