"""Results for machines (JSON) and for people (a table)."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def to_json(result: "DataclassInstance") -> dict[str, Any]:
    """A result, an interval or a comparison as plain values; what is not a number (nan) becomes null."""
    return json.loads(json.dumps(_plain(asdict(result))))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns of equal width; numbers to the right, floats as percent with two decimals."""
    cells = [[str(entry) for entry in header], *[[_cell(entry) for entry in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    right = [
        all(isinstance(row[column], int | float) or row[column] is None for row in rows)
        for column in range(len(header))
    ]
    return "\n".join(
        "  ".join(
            entry.rjust(width) if to_right else entry.ljust(width)
            for entry, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    )


def _cell(entry: object) -> str:
    if entry is None:
        return "-"
    return f"{100 * entry:.2f}" if isinstance(entry, float) else str(entry)
