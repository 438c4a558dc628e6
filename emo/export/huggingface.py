"""The Hugging Face form: Parquet, or with media a folder of videos, and a data set card."""

import io
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from emo.export.protocol import Exported, Exporter
from emo.export.selection import as_table

_SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float64())),
        ("agreement", pa.float64()),
        ("labelled_by", pa.string()),
        ("description", pa.string()),
        ("transcript", pa.string()),
        ("language", pa.string()),
        ("duration_s", pa.float64()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("use", pa.string()),
        ("uri", pa.string()),
        ("run_id", pa.string()),
    ]
)
_ROWS = 100_000
_LABELS_SHOWN = 50
_LIMITS = (
    "A label says what is seen and heard, not what somebody feels. `scores` and `agreement` say how far "
    "several models agree, and models agree on mistakes too. A clip may show several people. The law of many "
    "places restricts the use of emotion recognition, at work and in schools above all."
)

_LICENCES = (
    "As each checkpoint says of itself. They bind what is made with them, and so does what binds the videos. "
    "Unknown is no permission: ask whoever published the model."
)


class HuggingFace(Exporter):
    """`datasets.load_dataset(PLACE)` opens it."""

    tells_facts: ClassVar[bool] = True
    summary: ClassVar[str] = "Parquet, or with media a videofolder, and a data set card, for datasets"

    def write(self, exported: Exported) -> list[str]:
        if exported.media:
            lines = [
                json.dumps({"file_name": exported.media[row["video_id"]], **_plain(row)}, ensure_ascii=False)
                for row in exported.rows
            ]
            files = [("metadata.jsonl", "\n".join([*lines, ""]).encode("utf-8", "replace"))]
        else:
            files = list(_parquet(exported))
        files.append(("README.md", card(exported).encode("utf-8", "replace")))
        for path, data in files:
            exported.target.write(path, data)
        # Of an earlier export with more rows, or of the other kind.
        for entry in exported.target.entries():
            is_ours = entry.path.startswith("data/train-") or entry.path == "metadata.jsonl"
            if is_ours and entry.path not in dict(files):
                exported.target.delete(entry.path)
        return [path for path, _ in files]


def _plain(row: Any) -> dict[str, Any]:
    # The address of the original would tell others where it lies; what goes along is the part itself.
    return {name: row[name] for name in _SCHEMA.names if name not in ("uri", "start_s", "end_s")}


def _parquet(exported: Exported) -> Iterator[tuple[str, bytes]]:
    count = max(1, -(-len(exported.rows) // _ROWS))
    for number in range(count):
        part = as_table(exported.rows[number * _ROWS : (number + 1) * _ROWS], _SCHEMA)
        sink = io.BytesIO()
        pq.write_table(part, sink, compression="zstd")
        yield f"data/train-{number:05d}-of-{count:05d}.parquet", sink.getvalue()


def card(exported: Exported) -> str:
    """The data set card: counts, models with their licences, limits. Its own licence is left
    to whoever publishes it.
    """
    facts = exported.facts
    counts = Counter(label for row in exported.rows for label in row["labels"])
    rows = [f"| {_cell(label)} | {clips} |" for label, clips in counts.most_common(_LABELS_SHOWN)]
    models = [
        f"| `{_cell(model)}` | {_cell(licence) if licence else 'unknown'} |"
        for model, licence in facts["licences"].items()
    ]
    return "\n".join(
        [
            "---",
            "# license: fill in. It depends on the videos and on the licence of every model below.",
            "task_categories:",
            "- video-classification",
            "tags:",
            "- emotion",
            "---",
            "",
            "# Open-vocabulary emotion labels",
            "",
            (
                f"{facts['clips']} clips: {facts['by_people']} labelled by people, the others by machine "
                "(`labelled_by`). Written by emo."
            ),
            "",
            f"Purpose: {_cell(facts['purpose'] or 'not stated')}",
            "",
            f"Runs: {', '.join(facts['run_ids']) or 'none'}",
            "",
            "## Models and their licences",
            "",
            _LICENCES,
            "",
            "| model | licence |",
            "|---|---|",
            *(models or ["| none is named | |"]),
            "",
            "## Limits",
            "",
            _LIMITS,
            "",
            f"## Labels ({len(counts)} different)",
            "",
            "| label | clips |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def _cell(text: str) -> str:
    """Text that stays text within a Markdown table."""
    kept = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("`", "'")
    return kept.replace("<", "&lt;").replace("[", "\\[")
