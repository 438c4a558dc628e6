"""Recordings and their pieces over time: what was split, what was left out, and a strip for each."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo.sources.times import LONG_S, fragment, recording_of
from emo.store import planning, tables
from emo.vocabulary import family_of

SEGMENT_COLUMNS = ("recording", "video_id", "kept", "reason", "people", "status", "error", "error_message")
TIMED_COLUMNS = ("video_id", "uri", "start_s", "end_s", "duration_s", "status")

# Of a page: recordings that are drawn, and cells of all of them; a piece is one cell where there is room.
STRIPS = 200
_CELLS = 24_000
_FAILED_SHOWN = 20
# What a cell shows where it is no family: another label, none, or no judgment.
OTHER, NO_LABEL, NOT_JUDGED = "other", "no label", "not judged"


@dataclass(frozen=True)
class Cell:
    """A part of a strip: a piece, or some that follow one another (`pieces`), of which most of the time is
    `family`; agreement: 0 to 1, None: not known; labels: of a single piece; video_id: of the first.
    """

    video_id: str
    start_s: float
    end_s: float
    family: str
    agreement: float | None
    labels: tuple[str, ...]
    pieces: int = 1


@dataclass(frozen=True)
class Strip:
    """A recording with its pieces in time; changes: how often the family differs from piece to piece."""

    name: str
    uri: str
    length_s: float
    pieces: int
    changes: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Recordings:
    """What a report says of recordings.

    recordings: that have pieces; pieces: that became clips; left_out: (reason, pieces), most frequent first;
    failed: (recording, error, message), some of failed_rows; strips: some of the recordings, by name.
    """

    recordings: int
    pieces: int
    left_out: tuple[tuple[str, int], ...]
    failed: tuple[tuple[str, str, str], ...]
    failed_rows: int
    strips: tuple[Strip, ...]


def recordings(segments: pa.Table, clips: pa.Table, judgments: pa.Table) -> Recordings | None:
    """What the newest rows say: segments with SEGMENT_COLUMNS, clips with TIMED_COLUMNS, judgments with their
    labels and agreement. None where no clip is a part of its file and nothing was split.
    """
    timed = clips.filter(pc.is_valid(clips.column("start_s")))
    if not timed.num_rows and not segments.num_rows:
        return None
    failed = planning.failed_rows(segments)
    reasons = Counter(
        segments.filter(pc.equal(segments.column("kept"), pa.scalar(False))).column("reason").to_pylist()
    )
    order = [("uri", "ascending"), ("start_s", "ascending"), ("video_id", "ascending")]
    pieces = list(_judged(timed.sort_by(order), judgments))
    files = [list(group) for _, group in groupby(pieces, key=lambda one: one[0])]
    ranked = sorted(files, key=lambda file: (-_changes([cell for _, cell in file]), file[0][0]))[:STRIPS]
    most = max(20, _CELLS // max(1, len(ranked)))
    strips = sorted((_strip(uri_and_cells, most) for uri_and_cells in ranked), key=lambda strip: strip.name)
    return Recordings(
        recordings=len(files),
        pieces=timed.num_rows,
        left_out=tuple(sorted(reasons.items(), key=lambda one: (-one[1], one[0]))),
        failed=tuple(
            (row["recording"], row["error"] or "unknown", row["error_message"] or "")
            for row in failed.sort_by("video_id").slice(0, _FAILED_SHOWN).to_pylist()
        ),
        failed_rows=failed.num_rows,
        strips=tuple(strips),
    )


def faces_of(segments: pa.Table, video_ids: Sequence[str]) -> dict[str, int]:
    """The faces in each of these pieces of which they were counted."""
    wanted = segments.filter(
        pc.is_in(segments.column("video_id"), value_set=pa.array(video_ids, pa.string()))
    )
    counted = wanted.filter(pc.is_valid(wanted.column("people")))
    return dict(zip(*(counted.column(name).to_pylist() for name in ("video_id", "people")), strict=True))


def long_clips(clips: pa.Table) -> int:
    """How many whole files are clips of more than LONG_S. clips: with their start_s and duration_s."""
    whole = clips.filter(pc.is_null(clips.column("start_s")))
    return int(pc.sum(pc.greater(whole.column("duration_s"), LONG_S)).as_py() or 0)


def _judged(timed: pa.Table, judgments: pa.Table) -> Iterator[tuple[str, Cell]]:
    """Each piece with its file, in the order of the rows."""
    at = planning.place(timed, judgments, ("video_id",)).to_pylist()
    labels, agreement, status = (judgments.column(name) for name in ("labels", "agreement", "status"))
    for row, place in zip(timed.to_pylist(), at, strict=True):
        end = row["end_s"] if row["end_s"] is not None else row["start_s"] + (row["duration_s"] or 0.0)
        judged = place is not None and row["status"] == tables.OK and status[place].as_py() == tables.OK
        named = tuple(label for label in labels[place].as_py() or () if label) if judged else ()
        family = (family_of(named[0]) or OTHER) if named else NO_LABEL if judged else NOT_JUDGED
        agreed = agreement[place].as_py() if judged else None
        yield (
            row["uri"],
            Cell(row["video_id"], row["start_s"], max(end, row["start_s"]), family, agreed, named),
        )


def _changes(cells: Sequence[Cell]) -> int:
    families = [cell.family for cell in cells if cell.family not in (NO_LABEL, NOT_JUDGED)]
    return sum(one != other for one, other in pairwise(families))


def _strip(file: Sequence[tuple[str, Cell]], most: int) -> Strip:
    cells = [cell for _, cell in file]
    length = max(cell.end_s for cell in cells)
    drawn = cells if len(cells) <= most else list(_merged(cells, length, most))
    name = recording_of(cells[0].video_id)
    # Where a manifest named the pieces, the file has the better name.
    uri = file[0][0]
    if name == cells[0].video_id:
        name = uri.rpartition("/")[2]
    return Strip(name, uri, length, len(cells), _changes(cells), tuple(drawn))


def _merged(cells: Sequence[Cell], length_s: float, most: int) -> Iterator[Cell]:
    """The pieces of as many equal parts of the time, each as one cell."""
    for _, group in groupby(cells, key=lambda cell: min(most - 1, int(cell.start_s / length_s * most))):
        some = list(group)
        seconds: dict[str, float] = {}
        for cell in some:
            seconds[cell.family] = seconds.get(cell.family, 0.0) + cell.end_s - cell.start_s
        family = max(seconds, key=lambda name: (seconds[name], name))
        agreed = [cell.agreement for cell in some if cell.family == family and cell.agreement is not None]
        mean = sum(agreed) / len(agreed) if agreed else None
        end = max(cell.end_s for cell in some)
        labels = some[0].labels if len(some) == 1 else ()
        yield Cell(some[0].video_id, some[0].start_s, end, family, mean, labels, len(some))


def clock(seconds: float) -> str:
    """A moment of a recording, as players show it."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def view(found: Recordings, cards: dict[str, str]) -> dict[str, Any]:
    """What the page draws. cards: where on the page a piece is shown in full, by its id."""
    return {
        "counts": found,
        "strips": [
            {
                "name": strip.name[:200],
                "length": clock(strip.length_s),
                "pieces": strip.pieces,
                "cells": [_cell(cell, strip, cards) for cell in strip.cells],
            }
            for strip in found.strips
        ],
        "families": sorted(
            {cell.family for strip in found.strips for cell in strip.cells},
            key=lambda name: (name in (OTHER, NO_LABEL, NOT_JUDGED), name),
        ),
    }


def _cell(cell: Cell, strip: Strip, cards: dict[str, str]) -> dict[str, Any]:
    share = 1000 / (strip.length_s or 1.0)
    what = ", ".join(cell.labels[:4]) or cell.family
    if cell.pieces > 1:
        what = f"{cell.pieces} pieces, mostly {cell.family}"
    agreed = "" if cell.agreement is None else f", agreement {cell.agreement:.2f}"
    return {
        "x": f"{cell.start_s * share:.2f}",
        "width": f"{max((cell.end_s - cell.start_s) * share, 0.5):.2f}",
        "tone": cell.family.replace(" ", "-"),
        # Half where agreement is not known: one voter is no agreement and no disagreement.
        "strength": f"{0.3 + 0.7 * min(max(0.5 if cell.agreement is None else cell.agreement, 0), 1):.2f}",
        "title": f"{clock(cell.start_s)} to {clock(cell.end_s)}: {what}{agreed}"[:300],
        "href": cards.get(cell.video_id) or _in_file(strip.uri, cell),
    }


def _in_file(uri: str, cell: Cell) -> str:
    """The piece in its own file, where a browser may open that."""
    from urllib.parse import quote

    if not uri.startswith("/"):
        return ""
    return f"file://{quote(uri)}{fragment(cell.start_s, cell.end_s)}"
