"""Which clips are exported, with all that a format may want to say of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo import uses
from emo.errors import StorageError
from emo.export.licences import of_models
from emo.review.effective import PEOPLE, effective
from emo.store import committed, planning
from emo.store.runs import load_runs
from emo.store.storage import Storage
from emo.store.tables import CLIPS

_LABELS = ("video_id", "labels", "scores", "agreement", "description", "labelled_by", "reviewers", "run_id")
_CLIP = ("uri", "transcript", "language", "duration_s", "start_s", "end_s")


def select(
    storage: Storage, only_reviewed: bool = False, min_agreement: float | None = None
) -> list[dict[str, Any]]:
    """The clips with labels that count, sorted by video_id. Clips that failed, that people call unusable or
    that a manifest gives no use are left out. min_agreement: of the machine's labels; those of people are not
    bound by it.
    """
    labels = uses.allowed(storage, planning.well(effective(storage))).select(list(_LABELS))
    by_people = pc.equal(labels.column("labelled_by"), PEOPLE)
    if only_reviewed:
        labels = labels.filter(by_people)
    elif min_agreement is not None:
        sure = pc.fill_null(pc.greater_equal(labels.column("agreement"), min_agreement), False)
        labels = labels.filter(pc.or_(by_people, sure))
    clips = committed.read_newest(storage, committed.folder(CLIPS), CLIPS, _CLIP)
    at = planning.place(labels, clips, CLIPS.key)
    for name in _CLIP:
        labels = labels.append_column(name, clips.column(name).take(at))
    labels = labels.append_column("use", uses.of(storage, labels))
    rows: list[dict[str, Any]] = labels.to_pylist()
    return [{**row, "scores": row["scores"] or [None] * len(row["labels"])} for row in rows]


def facts(storage: Storage, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a reader of the data must know: counts, the models that were used and their licences (None: not
    known), and the purpose.
    """
    runs = load_runs(storage, last=1)
    config = runs[0]["config"] if runs else {}
    licences = of_models(storage, config)
    return {
        "clips": len(rows),
        "by_people": sum(row["labelled_by"] == PEOPLE for row in rows),
        "models": list(licences),
        "licences": licences,
        "run_ids": sorted({row["run_id"] for row in rows}),
        "purpose": config.get("purpose"),
    }


def as_table(exported_rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Some columns of the rows."""
    return pa.Table.from_pylist([{name: row[name] for name in schema.names} for row in exported_rows], schema)


def check_target(source: Storage, target: Storage) -> None:
    """Raise StorageError where an export would be written into the OUT itself."""
    if target.url == source.url:
        raise StorageError(f"{target.url} is the OUT itself; give the export a place of its own with --to")
    target.check()
