"""CSV: the file of MER-Caption+ (name, openset), and one with scores and agreement."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import ClassVar

from emo.export.protocol import Exported, Exporter

# What spreadsheets take for the start of a formula, also in the wide letters of Chinese and Japanese.
_FORMULA = re.compile(r"^\s*[=+\-@\t\r＝＋－＠]")
_TIMES = ("start_s", "end_s")
_SEPARATORS = re.compile(r"[\[\],\s]+")


class Csv(Exporter):
    """Two files that pandas and spreadsheets open."""

    summary: ClassVar[str] = (
        "labels.csv (name, openset, as MER-Caption+) and scores.csv (also scores, agreement, who labelled)"
    )

    def write(self, exported: Exported) -> list[str]:
        target = exported.target
        labels = [(row["video_id"], listed(row["labels"])) for row in exported.rows]
        target.write("labels.csv", to_csv(("name", "openset"), labels))
        columns = (
            "video_id",
            "labels",
            "scores",
            "agreement",
            "labelled_by",
            "transcript",
            "description",
            "file",
            *_TIMES,
            "use",
        )
        scores = [
            (
                row["video_id"],
                listed(row["labels"]),
                " ".join("-" if score is None else f"{score:.4f}" for score in row["scores"]),
                "" if row["agreement"] is None else f"{row['agreement']:.4f}",
                row["labelled_by"],
                row["transcript"] or "",
                row["description"] or "",
                exported.media.get(row["video_id"]) or row["uri"] or "",
                # Of the part itself it is all.
                *(
                    "" if row["video_id"] in exported.media else _seconds(row[name])
                    for name in ("start_s", "end_s")
                ),
                row["use"] or "",
            )
            for row in exported.rows
        ]
        target.write("scores.csv", to_csv(columns, scores))
        return ["labels.csv", "scores.csv"]


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def listed(labels: Iterable[str]) -> str:
    """Labels as MER-Caption+ writes them, "[happy, sad]"; a comma or a bracket within one becomes a space."""
    return f"[{', '.join(_SEPARATORS.sub(' ', label).strip() for label in labels)}]"


def cell(text: str) -> str:
    """A cell that no spreadsheet runs as a formula: an apostrophe goes before what would be one."""
    return f"'{text}" if _FORMULA.match(text) else text


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """A CSV file in UTF-8, with the mark that makes spreadsheets read Chinese."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell(value) for value in row] for row in rows)
    return sink.getvalue().encode("utf-8-sig", "replace")
