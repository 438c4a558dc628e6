"""JSON and JSON Lines, read strictly: a key that stands twice, and a row that is no object, have a fault."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from emo.errors import InputError
from emo.sources.record import Fault, Record, Records, short


class _Repeats(dict[str, Any]):
    """A JSON object that has a key twice."""

    key = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    names = [name for name, _ in pairs]
    repeats = _Repeats(found)
    repeats.key = next(name for name in names if names.count(name) > 1)
    return repeats


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _json_record(value: Any, where: str) -> Record:
    if isinstance(value, _Repeats):
        text = f"has the key {short(value.key)} twice; which of them counts cannot be told"
        return Record(where, fault=Fault(text))
    if not isinstance(value, dict):
        return Record(where, fault=Fault("is not a JSON object"))
    return Record(where, value)


def read_json_lines(text: str, place: str, unit: str) -> Records:
    """A row for each line that is not empty; a line that is no JSON has a fault."""
    rows = []
    # Not splitlines: it also splits at characters that may stand inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{place} {unit} {number}"
        try:
            rows.append(_json_record(_DECODER.decode(line.strip()), where))
        except (ValueError, RecursionError) as error:
            rows.append(Record(where, fault=Fault(f"is not JSON: {_why(error)}")))
    return Records(place, _keys(rows), rows)


def _why(error: ValueError | RecursionError) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _keys(rows: Iterable[Record]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for record in rows for name in record.values))


def read_json(text: str, place: str, unit: str) -> Records:
    """A row for each object of a list, or of an object of them by name. Raises InputError for no JSON."""
    rows = []
    try:
        for line, value, name in _entries(text):
            where = f"{place} {unit} {line}"
            if not isinstance(value, dict):
                shown = short(value) if isinstance(value, list) else json.dumps(value)[:60]
                rows.append(Record(where, fault=Fault(f"{shown}, expected an object")))
                continue
            record = _json_record(value, where)
            named = {} if name is None else {"name": name, "names": name}
            rows.append(record if record.fault else Record(where, {**named, **value}))
    except json.JSONDecodeError as error:
        raise InputError(f"{place} is not JSON: line {error.lineno}: {error.msg}") from None
    return Records(place, _keys(rows), rows)


def _entries(text: str) -> Iterator[tuple[int, Any, str | None]]:
    """The entries of a list, or of an object by name, with their lines; raises JSONDecodeError."""

    def skip(at: int, over: str = "") -> int:
        while text[at : at + 1].isspace():
            at += 1
        if over and text[at : at + 1] not in over.split():
            raise json.JSONDecodeError(f"expected {over.replace(' ', ' or ')}", text, at)
        return at

    def decode(at: int) -> tuple[Any, int]:
        try:
            return _DECODER.raw_decode(text, at)
        except json.JSONDecodeError:
            raise
        except RecursionError:
            raise json.JSONDecodeError("what begins here is nested too deeply", text, at) from None
        except ValueError as error:  # a number of thousands of digits
            raise json.JSONDecodeError(str(error), text, at) from None

    at = skip(0, "[ {")
    close = "]" if text[at] == "[" else "}"
    at = skip(at + 1)
    line, counted = 1, 0
    while text[at : at + 1] != close:
        name = None
        line, counted = line + text.count("\n", counted, at), at
        if close == "}":
            name, at = decode(at)
            at = skip(skip(at, ":") + 1)
        value, at = decode(at)
        yield line, value, name
        at = skip(at, f", {close}")
        if text[at] == ",":
            at = skip(at + 1)
    if skip(at + 1) != len(text):
        raise json.JSONDecodeError("something follows the end", text, at + 1)
