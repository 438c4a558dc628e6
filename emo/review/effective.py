"""The labels that count: what people agree on before what the machine said."""

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo import uses
from emo.review.consensus import Agreed, reviewed
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import FAILED, JUDGMENTS, OK
from emo.vocabulary.meaning import meaning

MACHINE, PEOPLE = "machine", "people"

# No stored table: it is made of `judgments` and `reviews` when it is read.
LABELS = replace(
    JUDGMENTS,
    name="labels",
    schema=pa.schema(
        [
            *JUDGMENTS.schema,
            pa.field("labelled_by", pa.string(), nullable=False),  # people | machine
            pa.field("reviewers", pa.list_(pa.string())),  # who agrees on the labels; null: machine
            pa.field("several_people", pa.bool_()),  # whether a reviewer saw more than one person
        ]
    ),
)


def effective(storage: Storage) -> pa.Table:
    """One row of LABELS per clip that has a judgment or a review that counts, sorted by `video_id`; none of a
    clip that a manifest gives no use.

    Where people agree, `labels` are theirs, and `scores` the judge's support of each of them, null where no
    voter named it. A clip that people call unusable is a failed row with the error `unusable`. Where they do
    not agree the machine's labels stay.
    """
    where = committed.folder(JUDGMENTS)
    rows = uses.allowed(storage, committed.read_newest(storage, where, JUDGMENTS, JUDGMENTS.schema.names))
    machine = pa.table(
        {
            **{name: rows.column(name) for name in JUDGMENTS.schema.names},
            "labelled_by": pa.repeat(MACHINE, rows.num_rows),
            "reviewers": pa.nulls(rows.num_rows, LABELS.schema.field("reviewers").type),
            "several_people": pa.nulls(rows.num_rows, pa.bool_()),
        },
        schema=LABELS.schema,
    )
    people = {video_id: one for video_id, one in reviewed(storage).items() if one is not None}
    if not people:
        return machine
    named = pa.array(sorted(people), pa.string())
    is_reviewed = pc.is_in(machine.column("video_id"), value_set=named)
    judged = {row["video_id"]: row for row in machine.filter(is_reviewed).to_pylist()}
    nothing: dict[str, Any] = dict.fromkeys(LABELS.schema.names)
    told = [
        _row({**nothing, "run_id": "", **judged.get(video_id, {}), "video_id": video_id}, people[video_id])
        for video_id in sorted(people)
    ]
    rest = machine.filter(pc.invert(is_reviewed))
    return pa.concat_tables([rest, pa.Table.from_pylist(told, schema=LABELS.schema)]).sort_by("video_id")


def _row(row: dict[str, Any], people: Agreed) -> dict[str, Any]:
    support = {meaning(one["label"]): one["score"] for one in reversed(row["evidence"] or ())}
    unusable = people.labels is None
    return {
        **row,
        "labels": None if people.labels is None else list(people.labels),
        "scores": None if people.labels is None else [support.get(meaning(label)) for label in people.labels],
        "labelled_by": PEOPLE,
        "reviewers": list(people.reviewers),
        "several_people": people.several_people,
        "status": FAILED if unusable else OK,
        "error": "unusable" if unusable else None,
        "error_message": "people who reviewed the clip call it unusable" if unusable else None,
    }
