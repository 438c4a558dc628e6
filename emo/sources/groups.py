"""What tables say of each clip in one of their columns, such as its film, its speaker or its group."""

from collections.abc import Sequence

from emo.errors import InputError
from emo.sources.record import check_text, is_missing
from emo.sources.records import load
from emo.store.storage import Storage

_IDS = ("video_id", "name")


def read_column(
    storage: Storage, names: Sequence[str], column: str, asked: str, strip: bool = False
) -> dict[str, str]:
    """video_id -> the value of a column, of tables of any kind; rows without a value give none.

    asked: what named the tables, for a person; strip: whether spaces around a value are none of it. Raises
    InputError where a table cannot be read, lacks a column, or gives a clip two values.
    """
    values: dict[str, str] = {}
    for name in names:
        found = load(storage, name, (*_IDS, column))
        ids = next((one for one in _IDS if one in found.columns), None)
        if ids is None or column not in found.columns:
            has = ", ".join(found.columns)
            raise InputError(f"{asked}: {found.place} needs video_id (or name) and {column}; it has {has}")
        for record in found.sound():
            video_id, cell = record.values.get(ids), record.values.get(column)
            if is_missing(video_id) or is_missing(cell):
                continue
            value = str(cell).strip() if strip else str(cell)
            check_text(value, record.where, column)
            if values.setdefault(str(video_id), value) != value:
                raise InputError(f"{record.where}: {video_id!r} has another {column} than in an earlier row")
    return values
