"""Answers that judge each emotion of a list: scores, yes and no, levels, tables, multiple choice.

Of such an answer the labels are what it affirms, the highest score first.
"""

import ast
import json
import re
from dataclasses import dataclass
from typing import Any

from emo import vocabulary

_AFFIRMED = re.compile(
    r"^(?:yes|true|y|present|detected|observed|evident|strong(?:ly)?|very strong|high|very high|medium|"
    r"moderate(?:ly)?|"
    r"mild|slight(?:ly)?|some|dominant|primary|secondary|clear(?:ly)?|intense|extreme(?:ly)?|likely|"
    r"very likely|"
    r"definitely|certain|probable|[x✓✔☑✅√]|是|有|强烈?|很强|高|中等?|明显|存在|轻微|较高|较强)$",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"^(?:no|false|n|none|not (?:present|detected|observed|evident|at all|really|likely|applicable)|"
    r"absent|zero|nil|"
    r"null|n/?a|nothing|negative|low|very low|weak|minimal|negligible|unlikely|very unlikely|never|"
    r"hardly|[-–—✗✘×☐❌]|"
    r"没有|无|否|不|低|很低|弱|极低|不存在|不明显)$",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"^(?:score\s*)?(-?\d+(?:\.\d+)?|-?\.\d+)\s*(?:(%|％|percent)|(?:/|out of|of)\s*(\d+(?:\.\d+)?))?$",
    re.IGNORECASE,
)
_NAME = r"[^\W\d_][^\W\d_ '’-]*(?:[ '’-][^\W\d_]+){0,3}"
# "Sadness: strong", "joy (0.9)", "anger = 0.1": a name and what is said of it, up to the next separator.
_PAIR = re.compile(
    rf"(?P<name>{_NAME})\**(?:\s*(?:[:：=]|\s[-–—]\s|(?P<bracket>[(（]))\s*\**\s*|\s+(?=\d))"
    r"(?P<value>[^\n;；,，|/()（）:：]{1,24}?(?:\s*/\s*\d+(?:\.\d+)?)?)\s*\**\s*(?(bracket)[)）])"
    r"(?=\s*(?:[;；,，|\n。]|\.(?!\d)|\s/\s|\Z|and\s))",
)
_OPTION = re.compile(
    r"(?:^|[\s,;，；])[(（]?(?P<letter>[A-Z])[.):：、）]\s*"
    r"(?P<name>[^\n,;，；.]+?)(?=[\s,;，；.]+[(（]?[A-Z][.):：、）]|[\n,;，；.]|\s*\Z|\s+(?:[Aa]nswer|答案))"
)
_FIRST_OPTIONS = re.compile(r"(?:\A|[\s,;，；(（])A[.):：、）].*[\s,;，；(（]B[.):：、）]", re.DOTALL)
_CHOICE = re.compile(
    r"(?:answer|choice|option|choose|select(?:ed|ion)?|correct|答案|选择?|应选)\w*\**\s*(?:is|are|是|为)?\s*[:：]?\s*\**\s*"
    r"(?P<letters>[(（]?[A-Z][)）]?(?:\s*(?:,|，|、|and|和|&|/)\s*[(（]?[A-Z][)）]?)*)(?![A-Za-z])",
    re.IGNORECASE,
)
_BOX = re.compile(r"^\s*(?:[-*•]\s*)?\[(?P<mark>[ xX✓✔]?)\]\s*(?P<name>[^\n]+?)\s*$", re.MULTILINE)
_ROW = re.compile(r"^\s*\|(?P<cells>[^\n]+)\|\s*$", re.MULTILINE)
_VALUES = _AFFIRMED.pattern[4:-2] + "|" + _DENIED.pattern[4:-2]
_HINT = re.compile(rf"(?:[:：=(（]|\s[-–—]\s)\s*\**\s*(?:{_VALUES}|[-.]?\d)|[^\W\d]\s+\d", re.IGNORECASE)
_FIELD = re.compile(r"emotion|label|mood|feeling|sentiment", re.IGNORECASE)
_FENCE = re.compile(r"```\w*")

_LEAST_SHARE = 0.1  # of the scale
_OF_BEST = 0.5  # a score of less than half of the best one is not affirmed


@dataclass(frozen=True)
class Judged:
    """labels: what is affirmed, best first, as it was written in lower case; rest: the text around it."""

    labels: tuple[str, ...]
    rest: str


def judged(text: str) -> Judged | None:
    """What a text affirms of the emotions that it judges one by one; None where it judges none so.

    A text is read so where it is a JSON object or list of judged names, a table, a list of boxes, a question
    with options, or holds at least two names of known emotions with a score, a level, or yes and no.
    """
    plain = _FENCE.sub("", text).strip()
    found = _json(plain) or _choice(plain) or _boxes(plain) or _table(plain) or _pairs(plain)
    if found is None or any(letter.isalpha() for letter in found.rest):
        return found
    return Judged(found.labels, "")


def _json(text: str) -> Judged | None:
    start, end = min((at for at in (text.find("{"), text.find("[{")) if at >= 0), default=-1), -1
    if start < 0:
        return None
    end = max(text.rfind("}"), text.rfind("]")) + 1
    try:
        pairs = _json_pairs(_object(text[start:end]))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not pairs or 2 * sum(_is_emotion(name) for name, _ in pairs) < len(pairs):
        return None
    return Judged(_affirmed(pairs), f"{text[:start]} {text[end:]}".strip())


def _object(text: str) -> Any:
    """JSON, or the same as Python prints it."""
    try:
        return json.loads(text)
    except ValueError:
        return ast.literal_eval(text)


def _json_pairs(content: Any) -> list[tuple[str, str]]:
    """Name and value of each entry that a JSON value judges; empty where it judges none so."""
    if isinstance(content, list):
        names = ("emotion", "label", "name", "category", "class")
        values = ("score", "confidence", "probability", "intensity", "value", "present", "level", "prob")
        pairs = []
        for entry in content:
            if not isinstance(entry, dict):
                return []
            name = next((entry[key] for key in names if isinstance(entry.get(key), str)), None)
            value = next((entry[key] for key in values if key in entry), None)
            if name is None and len(entry) == 1:
                pairs += _json_pairs(entry)
            elif name is None or value is None:
                return []
            else:
                pairs.append((name, _written(value)))
        return pairs
    if not isinstance(content, dict) or not content:
        return []
    if len(content) == 1 and isinstance(inner := next(iter(content.values())), dict | list):
        return _json_pairs(inner)
    inner = [value for value in content.values() if isinstance(value, dict)]
    if inner and len(inner) == len(content):
        return _json_pairs([{**value, "emotion": name} for name, value in content.items()])
    if any(isinstance(value, dict | list) for value in content.values()):
        return []
    if all(_FIELD.search(str(name)) and isinstance(value, str) for name, value in content.items()):
        return [(value, "yes") for value in content.values()]
    pairs = [(str(name), _written(value)) for name, value in content.items()]
    return pairs if all(_reads(value) for _, value in pairs) else []


def _written(value: Any) -> str:
    return "none" if value is None else str(value)


def _choice(text: str) -> Judged | None:
    if not _FIRST_OPTIONS.search(text):
        return None
    options = {match["letter"]: match["name"].strip(" .*") for match in _OPTION.finditer(text)}
    if len(options) < 2 or sorted(options) != [chr(ord("A") + place) for place in range(len(options))]:
        return None
    if not any(map(_is_emotion, options.values())):
        return None
    chosen = [match for match in _CHOICE.finditer(text) if set(_letters(match["letters"])) <= set(options)]
    if not chosen:
        return Judged((), _OPTION.sub("", text).strip())
    letters = _letters(chosen[-1]["letters"])
    # The question itself says nothing of the person, and what stands behind the answer may.
    return Judged(_named([options[letter] for letter in letters]), text[chosen[-1].end() :].strip(" .\n"))


def _letters(text: str) -> list[str]:
    return re.findall(r"(?<![A-Za-z])[A-Z](?![A-Za-z])", text.upper().replace("AND", ","))


def _boxes(text: str) -> Judged | None:
    boxes = list(_BOX.finditer(text))
    if len(boxes) < 2:
        return None
    return Judged(_named([box["name"] for box in boxes if box["mark"].strip()]), _BOX.sub("", text).strip())


def _table(text: str) -> Judged | None:
    rows = [[cell.strip(" *`") for cell in row["cells"].split("|")] for row in _ROW.finditer(text)]
    rows = [row for row in rows if not all(set(cell) <= set("-: ") for cell in row)]
    pairs = []
    for row in rows:
        name = next((cell for cell in row if _is_emotion(cell)), None)
        value = next((cell for cell in row if cell is not name and _reads(cell)), None)
        if name and value:
            pairs.append((name, value))
    if len(pairs) < 2:
        return None
    return Judged(_affirmed(pairs), _ROW.sub("", text).strip())


def _pairs(text: str) -> Judged | None:
    if len(_HINT.findall(text)) < 2:  # the search for pairs is slow, and running text holds none
        return None
    found = [
        match
        for match in _PAIR.finditer(text)
        if _reads(match["value"]) and _is_emotion(_last_words(match["name"]))
    ]
    if len(found) < 2:
        return None
    rest, done = [], 0
    for match in found:
        rest.append(text[done : match.start()])
        done = match.end()
    rest.append(text[done:])
    pairs = [(_last_words(match["name"]), match["value"]) for match in found]
    return Judged(_affirmed(pairs), " ".join(part.strip(" .,;/|\n-*•") for part in rest).strip())


def _last_words(name: str) -> str:
    """The emotion at the end of what stands before the colon ("she shows sadness" -> "sadness")."""
    words = name.split()
    for start in range(len(words)):
        part = " ".join(words[start:])
        if _is_emotion(part):
            return part
    return name


def _is_emotion(name: str) -> bool:
    return vocabulary.base_form(name) is not None


def _reads(value: str) -> bool:
    value = value.strip(" .*")
    return bool(_NUMBER.match(value) or _AFFIRMED.match(value) or _DENIED.match(value))


def _affirmed(pairs: list[tuple[str, str]]) -> tuple[str, ...]:
    """The names that are affirmed, the highest first; of equals the one named first."""
    numbers = {place: _number(value) for place, (_, value) in enumerate(pairs)}
    scores = [number for number in numbers.values() if number is not None]
    best = max((value for value, _ in scores), default=0.0)
    scale = max([*(whole for _, whole in scores if whole), _scale(best)]) if scores else 1.0
    ranked = []
    for place, (name, value) in enumerate(pairs):
        number = numbers[place]
        if number is None:
            if _AFFIRMED.match(value.strip(" .*")):
                ranked.append((-1.0, place, name))
            continue
        share = number[0] / (number[1] or scale)
        if share >= _LEAST_SHARE and number[0] >= _OF_BEST * best:
            ranked.append((-share, place, name))
    return _named([name for _, _, name in sorted(ranked)])


def _number(value: str) -> tuple[float, float | None] | None:
    """A score and the whole that it is said to be of, None where it does not say."""
    found = _NUMBER.match(value.strip(" .*"))
    if found is None:
        return None
    whole = 100.0 if found[2] else float(found[3]) if found[3] else None
    return float(found[1]), whole if whole else None


def _scale(best: float) -> float:
    """The scale that a highest score speaks for: shares, points of ten, or per cent."""
    return 1.0 if best <= 1 else 10.0 if best <= 10 else 100.0


def _named(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(vocabulary.normalise(name) for name in names if vocabulary.normalise(name)))
