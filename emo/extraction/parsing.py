"""Reading the answer of a text model that was asked for a list of emotion words.

What is not clearly a list is no list: the row fails and says what stood there instead.
"""

import json
import re

from emo.errors import RowError

_THINKING = re.compile(r"<think>.*?</think>", re.DOTALL)
_LIST = re.compile(r"\[[^\[\]]*\]")
_LEAD_IN = re.compile(
    r"^(?:output|answer|labels?|emotions?|emotional (?:states?|categories))\s*[:：]\s*", re.IGNORECASE
)
_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+")
_SEPARATOR = re.compile(r"\s*[,，、;；\n]\s*(?:and\s+|or\s+|[和与及])?|\s+and\s+", re.IGNORECASE)
# Letters of any script, with what joins them inside one label: "self-conscious", "let down", "d'accord".
_LABEL = re.compile(r"^[^\W\d_]+(?:[ '’-][^\W\d_]+){0,3}$")
# Words that make a sentence, and so no label, of what has the length of one.
_SENTENCE = re.compile(
    r"\b(?:the|an?|is|are|was|were|seems?|feels?|he|she|they|it|person|character|speaker)\b"
)
_NOTHING = frozenset({"none", "n/a", "no emotion", "no emotions", "empty", "无"})
_REFUSAL = re.compile(
    r"^(?:i(?:'m| am)(?: very| so)? sorry|sorry[,.]|i (?:can(?:not|'t)|am (?:not able|unable)|won't)|"
    r"as an ai\b|(?:很)?抱歉|对不起|我(?:无法|不能))",
    re.IGNORECASE,
)
# The answer form that AffectGPT and its kind are trained on: the whole text is one sentence with the list.
_STATES = re.compile(
    r"^(?:the |this )?(?:character|person|speaker|individual|man|woman|subject)(?:'s|’s|s'|s’)?\s+emotional "
    r"states? (?:is|are|includes?)\s*[:：]?\s+(?P<labels>[^.!?]+)[.]?$",
    re.IGNORECASE,
)


def stated_labels(text: str) -> list[str] | None:
    """The labels of a text that is nothing but its labels; None for any other text.

    That is one sentence such as "The character's emotional state is a, b.", or a bare comma list of entries
    of one or two words.
    """
    text = " ".join(text.split())
    found = _STATES.match(text)
    try:
        if found is not None:
            return _labels(_split(found["labels"]))
        items = _split(text)
        return _labels(items) if items and all(len(item.split()) <= 2 for item in items) else None
    except ValueError:
        return None


def parse_labels(answer: str) -> list[str]:
    """The labels of a generated list, lower case, in order, without repeats; empty for an empty list.

    Understood are a bracketed list (also in a code block, in a JSON object, or with a sentence around it),
    one label per line, and a bare comma list. Raises RowError: `refused` where the model declined,
    `unparsable` where there is no list, where there are several different ones, or where an entry is not a
    label of up to four words.
    """
    text = without_thinking(answer).strip("`").removeprefix("json").strip()
    if not text:
        raise RowError("unparsable", "the model wrote nothing")
    lists = _LIST.findall(text)
    declined = None if lists else refusal(text)
    if declined is not None:
        raise declined
    try:
        if not lists:
            return _bare(text)
        found = [_bracketed(each) for each in lists]
    except ValueError as error:
        raise RowError("unparsable", f"{error} in the answer: {_short(text)}") from None
    if any(each != found[0] for each in found):
        raise RowError("unparsable", f"{len(found)} different lists in the answer: {_short(text)}")
    return found[0]


def without_thinking(answer: str) -> str:
    """The answer after the model's thinking; raises RowError `unparsable` where there is nothing after it."""
    text = _THINKING.sub("", answer).strip()
    if "<think>" in text:
        raise RowError("unparsable", "the model did not get past its thinking; allow more tokens")
    return text


def refusal(text: str) -> RowError | None:
    """The RowError `refused` for a text in which the model declines to answer."""
    return RowError("refused", f"the model declined: {_short(text)}") if _REFUSAL.match(text) else None


def _bracketed(text: str) -> list[str]:
    try:
        items = json.loads(text)
    except ValueError:
        return _labels(_split(text[1:-1]))
    if not all(isinstance(item, str) for item in items):
        raise ValueError("a list of something else than words")
    return _labels(items)


def _bare(text: str) -> list[str]:
    text = _LEAD_IN.sub("", text).strip()
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and all(_BULLET.match(line) for line in lines):
        return _labels([_BULLET.sub("", line) for line in lines])
    if len(lines) > 1:
        raise ValueError("no list")
    return _labels(_split(text))


def _split(text: str) -> list[str]:
    """The entries of a list; one separator more at its end is no entry."""
    text = text.strip(" \t\r\n.,，、;；。")
    return _SEPARATOR.split(text) if text else []


def _labels(items: list[str]) -> list[str]:
    if len(items) == 1 and _clean(items[0]) in _NOTHING:
        return []
    labels = [_clean(item) for item in items]
    for item, label in zip(items, labels, strict=True):
        if not _LABEL.match(label) or _SENTENCE.search(label):
            raise ValueError(f"{_short(item.strip())!r} is no label")
    return list(dict.fromkeys(labels))


def _clean(item: str) -> str:
    return item.strip(" \t\r\n\"'“”‘’`.。*").lower()


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 160 else text[:157] + "..."
