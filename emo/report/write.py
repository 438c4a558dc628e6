"""tables → OUT/report/index.html."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from emo.paths import split
from emo.report.build import render
from emo.report.gallery import choose_gallery, gallery_items
from emo.report.people import reviewed
from emo.report.summary import CLIP_COLUMNS, DESCRIPTION_COLUMNS, JUDGMENT_COLUMNS, VOTE_COLUMNS, summarise
from emo.review.consensus import read_reviews
from emo.store import committed
from emo.store.runs import Run, load_runs
from emo.store.storage import Storage
from emo.store.tables import CLIPS, DESCRIPTIONS, JUDGMENTS, REVIEWS, VOTES, Table

PATH = "report/index.html"
# The page tells of the last runs; the run files tell of all.
RUNS_SHOWN = 20


def write(storage: Storage, gallery: int, run: Run, only_if_changed: bool = False) -> str:
    """Build the report of an OUT and write it, as the last thing that a run does; where it is.

    gallery: how many clips it shows; only_if_changed: a report that is newer than all tables stays.
    """
    if only_if_changed and not any(step.rows for step in run.steps) and _is_newest(storage):
        return storage.full(PATH)
    summary = summarise(
        clips=[_light(storage, CLIPS, CLIP_COLUMNS)],
        descriptions=[_light(storage, DESCRIPTIONS, DESCRIPTION_COLUMNS)],
        votes=[_light(storage, VOTES, VOTE_COLUMNS)],
        judgments=[_light(storage, JUDGMENTS, JUDGMENT_COLUMNS)],
        texts=_texts(storage),
    )
    people = reviewed(read_reviews(storage))
    chosen = choose_gallery(summary, gallery, people.shown_first())
    items = gallery_items(
        chosen,
        clips=whole_rows(storage, CLIPS, chosen),
        descriptions=whole_rows(storage, DESCRIPTIONS, chosen),
        votes=whole_rows(storage, VOTES, chosen),
        judgments=whole_rows(storage, JUDGMENTS, chosen),
    )
    # The page is the last thing that a run does: it is told as done.
    ended = run.ended("done")
    runs = [*(one for one in load_runs(storage, last=RUNS_SHOWN) if one["run_id"] != run.run_id), ended]
    page = render(summary, items, runs, storage.url, people)
    storage.write(PATH, page.encode())
    return storage.full(PATH)


def _is_newest(storage: Storage) -> bool:
    """Whether no row was committed since the report: a run may have been killed before its own."""
    written = [entry.modified for entry in storage.entries(split(PATH)[0])]
    tables = (CLIPS, DESCRIPTIONS, VOTES, JUDGMENTS, REVIEWS)
    committed_at = (entry.modified for table in tables for entry in storage.entries(table.name))
    return bool(written) and max(written) >= max(committed_at, default=max(written))


def _light(storage: Storage, table: Table, columns: Sequence[str]) -> pa.Table:
    return committed.read_newest(storage, committed.folder(table), table, columns).select(list(columns))


def _texts(storage: Storage) -> Iterator[pa.Table]:
    """The texts of the newest descriptions, one file at a time."""
    rows = committed.read_newest(storage, committed.folder(DESCRIPTIONS), DESCRIPTIONS, [], with_file=True)
    for path in pc.unique(rows.column("file")).to_pylist():
        newest = rows.filter(pc.equal(rows.column("file"), path)).select(list(DESCRIPTIONS.key))
        texts = committed.read_file(storage, DESCRIPTIONS, path, [*DESCRIPTIONS.key, "text", "status"])
        yield texts.join(newest, list(DESCRIPTIONS.key), join_type="left semi")


def whole_rows(storage: Storage, table: Table, video_ids: Sequence[str]) -> pa.Table:
    """All columns of the newest rows of some clips."""
    keys = committed.read_newest(storage, committed.folder(table), table, [], with_file=True)
    keys = keys.filter(pc.is_in(keys.column("video_id"), value_set=pa.array(video_ids, pa.string())))
    return committed.read_given(storage, table, keys, table.schema.names)
