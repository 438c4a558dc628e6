"""Rows of tables that come from outside, and the faults that they may have."""

import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from emo.errors import InputError

# How pandas, Spark, databases and spreadsheets write a cell without a value as text.
MISSING = frozenset({"nan", "NaN", "NAN", "NULL", "null", "None", "<NA>", "NaT", "#N/A"})

# Of one file once it is unpacked, on disk or in memory: about ten million rows of a manifest.
MOST_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Fault:
    """What is wrong with one row; cells: how many it has, where that is what is wrong."""

    text: str
    cells: int | None = None


@dataclass(frozen=True)
class Record:
    """One row of a table: where it stands, for a person, and its values by column, or its fault."""

    where: str
    values: dict[str, Any] = field(default_factory=dict)
    fault: Fault | None = None


@dataclass(frozen=True)
class Records:
    """One file of a table: all its columns, those too that are not wanted, and its rows in their order."""

    place: str
    columns: tuple[str, ...]
    rows: list[Record]

    def sound(self) -> list[Record]:
        """The rows; raises InputError for the first that has a fault."""
        for record in self.rows:
            if record.fault is not None:
                raise InputError(f"{record.where} {record.fault.text}")
        return self.rows


def is_missing(value: Any) -> bool:
    """Whether a cell holds no value: nothing, an empty text, a number that is none, or `nan` and its like."""
    if isinstance(value, str):
        return not value.strip() or value.strip() in MISSING
    return value is None or (isinstance(value, float) and math.isnan(value))


def check_text(text: str, where: str, column: str) -> None:
    """Raises InputError for a text that no table can hold: half a character of UTF-16, or one of no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{where}: {column} is {short(text)}, which is not text in Unicode") from None
    if "\0" in text:
        raise InputError(f"{where}: {column} is {short(text)}, with a character that no text has")


def short(value: Any) -> str:
    """A value for a message: never long, however large it is."""
    return reprlib.repr(value)


def too_large(place: str) -> InputError:
    """The error for a file whose values would not fit."""
    return InputError(
        f"{place}: holds more than {MOST_BYTES / 1024**3:g} GiB of values; split it into several files"
    )


def refuse_repeats(names: Sequence[str], place: str) -> None:
    """Raises InputError where a column is there twice."""
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{place} has the column {name!r} twice; which of them counts cannot be told")


def text_of(value: Any, where: str, column: str) -> str | None:
    """The text of a cell, None where it says nothing. Raises InputError where it is no text."""
    if is_missing(value):
        return None
    if not isinstance(value, str):
        raise InputError(f"{where}: {column} is {short(value)}, expected text")
    check_text(value, where, column)
    return value
