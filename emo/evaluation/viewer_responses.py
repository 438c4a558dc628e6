"""What viewers answered about a clip: the schema `viewer_responses`, read as gold of a closed set.

HMLLM (arXiv 2407.08150) predicts how viewers of an advertisement respond, by EEG and eye tracking, not the
emotion that a clip shows. Neither its data, its weights nor its network are published, so emo has no model of
it. Whoever has such answers can score predictions of them: `emo evaluate --metric classes`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from emo.errors import InputError
from emo.evaluation.class_gold import id_of, records_at
from emo.sources.record import Record, is_missing, short

SCHEMA = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        # Whose response it is: a code, not a name.
        pa.field("viewer", pa.string(), nullable=False),
        # What was asked or measured, such as engagement or felt emotion.
        pa.field("question", pa.string(), nullable=False),
        # The class of the response, such as high, or amused.
        pa.field("response", pa.string(), nullable=False),
        # How it was taken, such as self-report, eeg or eye-tracking.
        pa.field("instrument", pa.string()),
        # Who the viewer is, where a prediction may depend on it: groups, not exact values.
        pa.field("age_group", pa.string()),
        pa.field("gender", pa.string()),
    ]
)

_KEY = ("video_id", "viewer", "question")


@dataclass(frozen=True, order=True)
class Asked:
    """One question to one viewer about one clip."""

    video_id: str
    viewer: str
    question: str

    def __str__(self) -> str:
        return f"{self.video_id} / {self.viewer} / {self.question}"


def is_responses(path: str) -> bool:
    """Whether the first row of a table names a viewer and a response."""
    first = next(records_at(path, SCHEMA.names), None)
    return first is not None and {"viewer", "response"} <= first.values.keys()


def read_responses(path: str) -> dict[Asked, str]:
    """Who answered what; raises InputError for a row without clip, viewer, question or response, or twice."""
    found: dict[Asked, str] = {}
    for asked, response, where in _rows(records_at(path, SCHEMA.names)):
        if asked in found:
            raise InputError(f"{where}: {asked} is there twice")
        found[asked] = response
    return found


def _rows(records: Iterator[Record]) -> Iterator[tuple[Asked, str, str]]:
    for record in records:
        row = record.values
        for name in (*_KEY, "response"):
            if is_missing(row.get(name)):
                raise InputError(f"{record.where}: {name} is {short(row.get(name))}; expected a text")
        video_id = id_of(row["video_id"], record.where)
        yield Asked(video_id, str(row["viewer"]), str(row["question"])), str(row["response"]), record.where
