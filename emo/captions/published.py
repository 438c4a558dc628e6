"""Captions that others published: the files of MER-Caption(+), OV-MERD and EMER, as CSV or JSON.

    MER-Caption(+), OV-MERD   name, openset        a label set per clip
    MER-Caption(+)            name, reason         a description per clip
    OV-MERD                   name, english, chinese   descriptions in both languages
    EMER                      names, emotions, subtitles, reasons

JSON is a list of objects with these keys, or an object of them by the clip's name; labels may be a list. The
files name clips by the stem of the video file and hold no media.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emo.captions.messages import Sample, Turn, check_characters, tagged
from emo.errors import InputError, RowError
from emo.extraction.parsing import parse_labels

# Columns that tell the kinds apart -> (name, text, labels, subtitle); the first that fits counts.
_KINDS: dict[frozenset[str], tuple[str, str | None, str | None, str | None]] = {
    frozenset({"names", "emotions", "reasons"}): ("names", "reasons", "emotions", "subtitles"),
    frozenset({"name", "reason", "openset"}): ("name", "reason", "openset", None),
    frozenset({"name", "reason"}): ("name", "reason", None, None),
    frozenset({"name", "english"}): ("name", "english", None, None),
    frozenset({"name", "openset"}): ("name", None, "openset", None),
}


@dataclass(frozen=True)
class Published:
    """One published caption.

    video_id: the clip's name; text: the description, or the sentence that AffectGPT is trained on where the
    file holds label sets only; labels: lower case, empty where the file holds none; where: names the row.
    """

    video_id: str
    text: str
    labels: tuple[str, ...]
    subtitle: str | None
    where: str


def read_published(data: bytes, place: str) -> list[Published | RowError]:
    """The captions of a file (JSON where `place` ends in .json, else CSV), one entry per row, in their order.

    A row without a name, or without what its kind of file is for, gives a RowError (`bad_row`, `no_name`,
    `empty`, `unparsable`) with `place`, its line and what was expected; an empty label set is none of
    `neutral`. Raises InputError where the file is of no known kind.
    """
    columns, rows = _from_json(data, place) if place.endswith(".json") else _from_csv(data, place)
    kind = next((kind for needed, kind in _KINDS.items() if needed <= set(columns)), None)
    if kind is None:
        expected = "; ".join(", ".join(sorted(needed)) for needed in _KINDS)
        raise InputError(
            f"{place} has the columns {', '.join(columns) or 'none'}; expected one of: {expected}"
        )
    found: list[Published | RowError] = []
    for number, row in rows:
        where = f"{place} line {number}"
        try:
            if isinstance(row, RowError):
                raise row
            found.append(_published(row, kind, where))
        except RowError as error:
            found.append(RowError(error.code, f"{where}: {error.message}"))
    return found


_Row = dict[str, Any] | RowError


def _from_csv(data: bytes, place: str) -> tuple[Sequence[str], list[tuple[int, _Row]]]:
    """The columns, and the records with the line on which each begins: a text may hold line breaks."""
    rows: list[tuple[int, _Row]] = []
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        columns = next(reader, [])
        start = reader.line_num + 1
        for cells in reader:
            if cells:
                rows.append((start, _record(cells, columns)))
            start = reader.line_num + 1
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{place} is not a CSV file in UTF-8: {error}") from None
    return columns, rows


def _record(cells: Sequence[str], columns: Sequence[str]) -> _Row:
    if len(cells) == len(columns):
        return dict(zip(columns, cells, strict=True))
    # Which text stands in which column is not known any more: of an unquoted label set only the first would.
    return RowError(
        "bad_row",
        f"{len(cells)} cells, expected {len(columns)} ({', '.join(columns)}); a text with commas stands in "
        "quotation marks",
    )


def _from_json(data: bytes, place: str) -> tuple[Sequence[str], list[tuple[int, _Row]]]:
    """The keys of all objects, and these with the line on which each begins."""
    try:
        text = data.decode("utf-8-sig")
        rows = list(_objects(text))
    except json.JSONDecodeError as error:
        raise InputError(f"{place} is not JSON: line {error.lineno}: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{place} is not JSON in UTF-8: {error}") from None
    columns = dict.fromkeys(key for _, row in rows if isinstance(row, dict) for key in row)
    return list(columns), rows


def _objects(text: str) -> Iterator[tuple[int, _Row]]:
    """The objects of a list, or of an object by name, with their lines; raises JSONDecodeError."""
    decoder = json.JSONDecoder()

    def skip(at: int, over: str = "") -> int:
        while text[at : at + 1].isspace():
            at += 1
        if over and text[at : at + 1] not in over.split():
            raise json.JSONDecodeError(f"expected {over.replace(' ', ' or ')}", text, at)
        return at

    def decode(at: int) -> tuple[Any, int]:
        try:
            return decoder.raw_decode(text, at)
        except RecursionError:
            raise json.JSONDecodeError("what begins here is nested too deeply", text, at) from None

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
        if not isinstance(value, dict):
            yield line, RowError("bad_row", f"{json.dumps(value)[:60]}, expected an object")
        else:
            yield line, value if name is None else {"name": name, "names": name, **value}
        at = skip(at, f", {close}")
        if text[at] == ",":
            at = skip(at + 1)
    if skip(at + 1) != len(text):
        raise json.JSONDecodeError("something follows the end", text, at + 1)


def _published(
    row: Mapping[str, Any], kind: tuple[str, str | None, str | None, str | None], where: str
) -> Published:
    name, text, labels, subtitle = (_cell(row, column) for column in kind)
    if not name:
        raise RowError("no_name", f"the row names no clip; expected the stem of its video in {kind[0]}")
    try:
        found = tuple(parse_labels(labels)) if labels else ()
    except RowError as error:
        expected = f"expected labels in {kind[2]}, such as [happy, calm]"
        raise RowError(error.code, f"{error.message}; {expected}") from None
    if kind[1] is None:
        if not found:
            raise RowError("empty", f"the label set is empty; expected labels in {kind[2]}, such as [happy]")
        text = f"The character's emotional state is {', '.join(found)}."
    if not text:
        raise RowError("empty", f"the description is empty; expected a text in {kind[1]}")
    return Published(name, text, found, subtitle or None, where)


def _cell(row: Mapping[str, Any], column: str | None) -> str:
    """The text of a cell, "" where there is none; a list of labels as one text."""
    value = row.get(column) if column else None
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        text = json.dumps(value, ensure_ascii=False) if value else ""
    elif isinstance(value, str):
        text = value.strip()
    else:
        raise RowError("bad_row", f"{column} is {json.dumps(value)[:60]}, expected a text or a list of texts")
    try:
        check_characters(text)
    except ValueError as error:
        raise RowError("bad_row", f"{column}: {error}") from None
    return text


def to_sample(
    caption: Published,
    question: str,
    images: tuple[str, ...] = (),
    videos: tuple[str, ...] = (),
    audios: tuple[str, ...] = (),
) -> Sample:
    """The caption as the answer to a question about these media; raises RowError as Sample does."""
    asked = tagged(question, len(images), len(audios), len(videos))
    turns = (Turn("user", asked), Turn("assistant", caption.text))
    return Sample(turns, images, videos, audios, where=caption.where)
