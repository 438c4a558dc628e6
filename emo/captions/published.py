"""Captions that others published: the files of MER-Caption(+), OV-MERD, EMER and MERR, as CSV or JSON.

    MER-Caption(+), OV-MERD   name, openset        a label set per clip
    MER-Caption(+)            name, reason         a description per clip
    OV-MERD                   name, english, chinese   descriptions in both languages
    EMER                      names, emotions, subtitles, reasons
    MERR                      name, smp_reason_caption (fine), or caption (coarse), text   what is said

JSON is a list of objects with these keys, or an object of them by the clip's name; labels may be a list. The
files name clips by the stem of the video file and hold no media.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emo.captions.messages import Sample, Turn, check_characters, tagged
from emo.errors import InputError, RowError
from emo.extraction.parsing import parse_labels
from emo.sources.record import Fault, is_missing, short
from emo.sources.records import read_records

# Columns that tell the kinds apart -> (name, text, labels, subtitle); the first that fits counts.
_KINDS: dict[frozenset[str], tuple[str, str | None, str | None, str | None]] = {
    frozenset({"names", "emotions", "reasons"}): ("names", "reasons", "emotions", "subtitles"),
    frozenset({"name", "reason", "openset"}): ("name", "reason", "openset", None),
    frozenset({"name", "reason"}): ("name", "reason", None, None),
    frozenset({"name", "english"}): ("name", "english", None, None),
    frozenset({"name", "openset"}): ("name", None, "openset", None),
    frozenset({"name", "smp_reason_caption"}): ("name", "smp_reason_caption", None, "text"),
    frozenset({"name", "caption"}): ("name", "caption", None, "text"),
}


@dataclass(frozen=True)
class Published:
    """One published caption.

    video_id: the clip's name; text: the description, or the sentence that AffectGPT is trained on where the
    file holds label sets only; labels: lower case, empty where the file holds none; where: names the row;
    described: whether the text is a description, which speaks of what was seen and heard.
    """

    video_id: str
    text: str
    labels: tuple[str, ...]
    subtitle: str | None
    where: str
    described: bool = True


def read_published(data: bytes, place: str) -> list[Published | RowError]:
    """The captions of a file (CSV, JSON or JSON Lines by its name), one entry per row, in their order.

    A row without a name, or without what its kind of file is for, gives a RowError (`bad_row`, `no_name`,
    `empty`, `unparsable`) with `place`, its line and what was expected; an empty label set is none of
    `neutral`. Raises InputError where the file is of no known kind.
    """
    read = read_records(data, place, unit="line")
    columns = read.columns
    kind = next((kind for needed, kind in _KINDS.items() if needed <= set(columns)), None)
    if kind is None:
        expected = "; ".join(", ".join(sorted(needed)) for needed in _KINDS)
        raise InputError(
            f"{place} has the columns {', '.join(columns) or 'none'}; expected one of: {expected}"
        )
    found: list[Published | RowError] = []
    for record in read.rows:
        try:
            if record.fault is not None:
                raise _fault(record.fault, columns)
            found.append(_published(record.values, kind, record.where))
        except RowError as error:
            found.append(RowError(error.code, f"{record.where}: {error.message}"))
    return found


# What people put between the words of a set, where `parse_labels` expects a sentence's marks.
_SEPARATORS = re.compile(r"\s*[/／|\n\r\t]+\s*")


def _fault(fault: Fault, columns: Sequence[str]) -> RowError:
    if fault.cells is None:
        return RowError("bad_row", fault.text)
    # Which text stands in which column is not known any more: of an unquoted label set only the first would.
    return RowError(
        "bad_row",
        f"{fault.cells} cells, expected {len(columns)} ({', '.join(columns)}); a text with commas stands in "
        "quotation marks",
    )


def _published(
    row: Mapping[str, Any], kind: tuple[str, str | None, str | None, str | None], where: str
) -> Published:
    name, text, labels, subtitle = (_cell(row, column) for column in kind)
    if not name:
        raise RowError("no_name", f"the row names no clip; expected the stem of its video in {kind[0]}")
    try:
        found = tuple(parse_labels(_SEPARATORS.sub(", ", labels))) if labels else ()
    except RowError as error:
        expected = f"expected labels in {kind[2]}, such as [happy, calm]"
        raise RowError(error.code, f"{error.message}; {expected}") from None
    if kind[1] is None:
        if not found:
            raise RowError("empty", f"the label set is empty; expected labels in {kind[2]}, such as [happy]")
        text = f"The character's emotional state is {', '.join(found)}."
    if not text:
        raise RowError("empty", f"the description is empty; expected a text in {kind[1]}")
    return Published(name, text, found, subtitle or None, where, described=kind[1] is not None)


def _cell(row: Mapping[str, Any], column: str | None) -> str:
    """The text of a cell, "" where there is none; a list of labels as one text."""
    value = row.get(column) if column else None
    if is_missing(value):
        return ""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        text = json.dumps(value, ensure_ascii=False) if value else ""
    elif isinstance(value, str):
        text = value.strip()
    else:
        raise RowError("bad_row", f"{column} is {short(value)}, expected a text or a list of texts")
    try:
        check_characters(text)
    except ValueError as error:
        raise RowError("bad_row", f"{column}: {error}") from None
    return text


def to_sample(
    caption: Published,
    question: str,
    videos: tuple[str, ...] = (),
    audios: tuple[str, ...] = (),
) -> Sample:
    """The caption as the answer to a question about these media; raises RowError as Sample does."""
    asked = tagged(question, 0, len(audios), len(videos))
    turns = (Turn("user", asked), Turn("assistant", caption.text))
    return Sample(turns, (), videos, audios, where=caption.where)
