"""What an OUT says, for whoever uses it from Python: the rows that count, as Arrow, pandas or polars."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo.errors import InputError
from emo.store import committed
from emo.store.s3 import S3Settings
from emo.store.storage import Storage
from emo.store.tables import FAILED, TABLES

FORMS = ("arrow", "pandas", "polars")


def read(
    out: str,
    table: str = "labels",
    columns: Iterable[str] | None = None,
    *,
    failed: bool = False,
    form: str = "arrow",
    s3: S3Settings | None = None,
) -> Any:
    """The newest row of each key of a table of OUT, sorted by key: of what was done twice the last counts.

    out: folder or `s3://` prefix; table: labels, or one of clips, descriptions, votes, judgments, captions,
    drafts, draft_labels, reviews, together. The labels are the judgments with what people agree on in their
    place (`labelled_by`: people or machine; `emo.review.consensus` has the rule). columns: these and the key,
    None: all (of clips that is frames and sound too, half a megabyte a row); failed: also the rows that
    failed, which have no result; form: `arrow` gives a Table of Arrow, `pandas` and `polars` a DataFrame. An
    OUT of an earlier version has nulls in later columns.
    Raises InputError where OUT holds no run of emo or there is no such table or column.
    """
    # Reviews are read by way of the tables below, so that this module cannot import it first.
    from emo.review.effective import LABELS, effective

    tables = {LABELS.name: LABELS, **TABLES}
    if table not in tables:
        raise InputError(f"there is no table {table!r}; expected one of: {', '.join(tables)}")
    check_form(form)
    known = tables[table]
    names = list(known.schema.names if columns is None else columns)
    for name in names:
        if name not in known.schema.names:
            there = ", ".join(known.schema.names)
            raise InputError(f"the table {table} has no column {name!r}; it has: {there}")
    storage = Storage(str(out), s3)
    if not storage.names("runs"):
        raise InputError(f"{storage.url} holds no run of emo; was it another place?")
    wanted = list(dict.fromkeys([*known.key, *names]))
    if known is LABELS:
        rows = effective(storage)
    else:
        rows = committed.read_newest(storage, committed.folder(known), known, [*wanted, "status"])
    if not failed:
        rows = rows.filter(pc.not_equal(rows.column("status"), FAILED))
    return in_form(rows.select(wanted), form)


def check_form(form: str) -> None:
    """Raise InputError where there is no such form."""
    if form not in FORMS:
        raise InputError(f"there is no form {form!r}; expected one of: {', '.join(FORMS)}")


def in_form(rows: pa.Table, form: str) -> Any:
    """Rows as `arrow`, `pandas` or `polars`."""
    if form == "pandas":
        return rows.to_pandas()
    if form == "polars":
        # Whoever asks for it has it.
        import polars

        return polars.from_arrow(rows)
    return rows
