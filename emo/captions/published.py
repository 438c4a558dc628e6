"""Captions that others published: the CSV files of MER-Caption(+), OV-MERD and EMER.

    MER-Caption(+), OV-MERD   name, openset        a label set per clip
    MER-Caption(+)            name, reason         a description per clip
    OV-MERD                   name, english, chinese   descriptions in both languages
    EMER                      names, emotions, subtitles, reasons

The files name clips by the stem of the video file and hold no media.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from emo.captions.messages import Sample, Turn, tagged
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
    """The captions of a file, one entry per row, in their order.

    A row without a name, or without what its kind of file is for, gives a RowError (`no_name`, `empty`,
    `unparsable`) with `place` and its number; an empty label set is none of `neutral`. Raises InputError
    where the file is of no known kind.
    """
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        columns = list(reader.fieldnames or [])
        rows = list(_numbered(reader))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{place} is not a CSV file in UTF-8: {error}") from None
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
            found.append(_published(row, kind, where))
        except RowError as error:
            found.append(RowError(error.code, f"{where}: {error.message}"))
    return found


def _numbered(reader: "csv.DictReader[str]") -> Iterator[tuple[int, dict[str, str | None]]]:
    """The records with the line on which each begins: a description may hold line breaks."""
    start = reader.line_num + 1
    for row in reader:
        yield start, row
        start = reader.line_num + 1


def _published(
    row: Mapping[str, str | None], kind: tuple[str, str | None, str | None, str | None], where: str
) -> Published:
    name, text, labels, subtitle = (((row.get(column) or "").strip() if column else "") for column in kind)
    if not name:
        raise RowError("no_name", "the row names no clip")
    found = tuple(parse_labels(labels)) if labels else ()
    if kind[1] is None:
        if not found:
            raise RowError("empty", "the label set is empty")
        text = f"The character's emotional state is {', '.join(found)}."
    if not text:
        raise RowError("empty", "the description is empty")
    return Published(name, text, found, subtitle or None, where)


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
