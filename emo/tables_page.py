"""The page docs/tables.md: every table with its columns, and every error code.

`python -m emo.tables_page > docs/tables.md` writes it. What a column means stands once: in the comment beside
its field in emo/store/tables.py, or above it. What a code means stands in emo/errors.py.
"""

import inspect
import re
from collections.abc import Iterator

import pyarrow as pa

from emo.errors import CODES
from emo.store import tables
from emo.store.tables import TABLES, Table

_INTRODUCTION = """\
# Tables and error codes

An OUT is a folder with one folder of Parquet files per table. `emo.read(OUT, TABLE)` gives the rows that
count: of each key the row with the greatest `run_id`, and none that failed. Other programs see all rows.
Tables whose key has `expert` have a folder per expert: `OUT/votes/NAME/*.parquet`.

A row is written for every input. What failed has `status` `failed`, a code in `error`, and no result. Where
the newest row of a key has the status `superseded`, no row of it counts: it is a piece that its recording no
longer has. A later version may add columns that may be null. It reads every earlier OUT, with nulls there.

This page is written by `python -m emo.tables_page`; do not edit it by hand.
"""
_ABOUT = {
    "segments": "The pieces of recordings; those that are kept become clips.",
    "clips": "Frames, sound and transcript of each video, and what is wrong with those that cannot be used.",
    "descriptions": "What each expert wrote about each clip.",
    "votes": "The emotion words in each description.",
    "judgments": "The labels of each clip, fused from the votes.",
    "drafts": "What the captioning experts wrote, before anything is left out.",
    "draft_labels": "The emotion words in each draft.",
    "captions": "What is to be trained on: the rows whose status is `ok`.",
    "reviews": "What people say of the labels; of one person's answers on a clip the last counts.",
    "together": "How well what is seen, heard and said of each clip go together; `emo together` writes it.",
}


def page() -> str:
    """The whole page as Markdown; raises KeyError for a column without a comment."""
    parts = [_INTRODUCTION]
    for table in TABLES.values():
        parts.append(f"## `{table.name}`\n\n{_ABOUT[table.name]} Key: {_names(table.key)}.\n")
        parts.append("\n".join([*_head("column", "type", "meaning"), *_columns(table)]) + "\n")
    parts.append(
        "## Error codes\n\nThe step is where the code comes up first. A night tries again what may pass; "
        "`emo failures --retry` tries everything again.\n"
    )
    rows = [
        f"| `{code}` | {one.step} | {one.meaning} | {'yes' if one.passes else 'no'} |"
        for code, one in CODES.items()
    ]
    parts.append("\n".join([*_head("code", "step", "meaning", "may pass"), *rows]) + "\n")
    return "\n".join(parts)


def _head(*names: str) -> tuple[str, str]:
    return f"| {' | '.join(names)} |", "|---" * len(names) + "|"


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _columns(table: Table) -> Iterator[str]:
    comments = _comments()
    for field in table.schema:
        meaning = comments.get((table.name.upper(), field.name)) or comments["", field.name]
        inner = [f"`{one.name}` ({_type(one)})" for one in _struct(field.type)]
        fields = f" Its fields: {', '.join(inner)}." if inner else ""
        yield f"| `{field.name}` | {_type(field)} | {meaning}{fields} |"


def _struct(kind: pa.DataType) -> list[pa.Field]:
    kind = kind.value_type if pa.types.is_list(kind) else kind
    return [kind.field(place) for place in range(kind.num_fields)] if pa.types.is_struct(kind) else []


def _type(field: pa.Field) -> str:
    kind = field.type
    many = pa.types.is_list(kind)
    one = kind.value_type if many else kind
    name = "struct" if pa.types.is_struct(one) else str(one)
    return f"list of {name}" if many else name


def _comments() -> dict[tuple[str, str], str]:
    """Constant and column -> the comment of a field; the constant is empty for columns that tables share."""
    found: dict[tuple[str, str], str] = {}
    constant = ""
    above: list[str] = []
    for line in inspect.getsource(tables).splitlines():
        if named := re.match(r"(_?[A-Z_]+) = ", line):
            constant = "" if named[1].startswith("_") else named[1]
        field = re.match(r'\s+pa\.field\("(\w+)".*?\),(?:\s+# (.*))?$', line)
        comment = re.match(r"\s+# (.*)", line)
        if field and (said := field[2] or " ".join(above)):
            text = said.replace("|", "or").rstrip(".")
            found[constant, field[1]] = f"{text[0].upper()}{text[1:]}."
        above = [*above, comment[1]] if comment else []
    return found


if __name__ == "__main__":
    print(page(), end="")
