"""tables → OUT/report/index.html."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from emo import uses
from emo.cojudgment.rounds import Rounds
from emo.paths import split
from emo.report.recordings import SEGMENT_COLUMNS, TIMED_COLUMNS, faces_of, long_clips, recordings
from emo.report.rounds import RoundsReport, rounds_report
from emo.report.summary import CLIP_COLUMNS, DESCRIPTION_COLUMNS, JUDGMENT_COLUMNS, VOTE_COLUMNS, summarise
from emo.report.trainings import trainings
from emo.review.consensus import read_reviews
from emo.split.table import current
from emo.store import committed, planning
from emo.store.runs import FOLDER, Run, load_runs, training_of
from emo.store.storage import Storage
from emo.store.tables import CLIPS, DESCRIPTIONS, JUDGMENTS, REVIEWS, SEGMENTS, USES, VOTES, Table

PATH = "report/index.html"
# The page tells of the last runs; the run files tell of all.
RUNS_SHOWN = 20
# Texts that are counted together: many small files, and never many large ones.
TEXT_ROWS = 20_000


@dataclass(frozen=True)
class Written:
    """place: where the report is; rounds: what they came to, None without; long_clips: whole files that last
    over a minute and are one clip each; alarms: what a person should know of a report that was built now, a
    line each.
    """

    place: str
    rounds: RoundsReport | None
    long_clips: int
    alarms: tuple[str, ...] = ()


def write(
    storage: Storage, gallery: int, run: Run, rounds: Rounds | None = None, only_if_changed: bool = False
) -> Written:
    """Build the report of an OUT and write it, as the last thing that a run does.

    gallery: how many clips it shows; rounds: in which experts are asked, None: without; only_if_changed: a
    report that is newer than all tables stays.
    """
    long = long_clips(_light(storage, CLIPS, TIMED_COLUMNS))
    written = Written(storage.full(PATH), rounds_report(storage, rounds), long)
    if only_if_changed and not any(step.rows for step in run.steps) and _is_newest(storage):
        return written
    # What makes pages takes a tenth of a run that has nothing to do.
    from emo.report.build import render
    from emo.report.gallery import choose_gallery, gallery_items
    from emo.report.people import curve, reviewed

    clips = _light(storage, CLIPS, list(dict.fromkeys((*CLIP_COLUMNS, *TIMED_COLUMNS))))
    judgments = _light(storage, JUDGMENTS, JUDGMENT_COLUMNS)
    segments = current(storage, list(SEGMENT_COLUMNS)).select(list(SEGMENT_COLUMNS))
    summary = summarise(
        clips=[clips],
        descriptions=described(storage),
        votes=[_light(storage, VOTES, VOTE_COLUMNS)],
        judgments=[judgments],
    )
    people = reviewed(read_reviews(storage))
    # Of what a manifest gives no use no picture and no word is shown.
    chosen = _used(storage, choose_gallery(summary, gallery, people.shown_first()))
    items = gallery_items(
        chosen,
        clips=whole_rows(storage, CLIPS, chosen),
        descriptions=whole_rows(storage, DESCRIPTIONS, chosen),
        votes=whole_rows(storage, VOTES, chosen),
        judgments=whole_rows(storage, JUDGMENTS, chosen),
        faces=faces_of(segments, chosen),
    )
    # The page is the last thing that a run does: it is told as done.
    ended = run.ended("done")
    runs = [*(one for one in load_runs(storage, last=RUNS_SHOWN) if one["run_id"] != run.run_id), ended]
    page = render(
        summary,
        items,
        runs,
        storage.url,
        people=people,
        right=curve(people, judgments),
        rounds=written.rounds,
        recordings=recordings(segments, clips, judgments),
        long_clips=written.long_clips,
        trainings=trainings(storage),
    )
    storage.write(PATH, page.encode())
    return replace(written, alarms=tuple(summary.alarms()))


def _used(storage: Storage, video_ids: Sequence[str]) -> list[str]:
    rows = pa.table({"video_id": pa.array(video_ids, pa.string())})
    used: list[str] = uses.allowed(storage, rows).column("video_id").to_pylist()
    return used


def _is_newest(storage: Storage) -> bool:
    """Whether no row was committed since the report: a run may have been killed before its own."""
    written = [entry.modified for entry in storage.entries(split(PATH)[0])]
    tables = (SEGMENTS, CLIPS, DESCRIPTIONS, VOTES, JUDGMENTS, REVIEWS, USES)
    committed_at = (entry.modified for table in tables for entry in storage.entries(table.name))
    trained_at = (entry.modified for entry in storage.entries(FOLDER) if training_of(split(entry.path)[1]))
    return bool(written) and max(written) >= max((*committed_at, *trained_at), default=max(written))


def _light(storage: Storage, table: Table, columns: Sequence[str]) -> pa.Table:
    return committed.read_newest(storage, committed.folder(table), table, columns).select(list(columns))


def described(storage: Storage) -> Iterator[pa.Table]:
    """The newest descriptions with DESCRIPTION_COLUMNS and their texts, TEXT_ROWS at a time or a file."""
    names = [*DESCRIPTION_COLUMNS, "text"]

    def read(path: str, newest: pa.Table) -> pa.Table:
        found = committed.read_file(storage, DESCRIPTIONS, path, names)
        # Where no run came later all rows of a file are the newest.
        whole = found.num_rows == newest.num_rows
        return found if whole else planning.in_both(found, newest, DESCRIPTIONS.key)

    with ThreadPoolExecutor(committed.READ_THREADS) as pool:
        ahead: list[Future[pa.Table]] = []
        for batch in _batches(storage):
            # The next ones are read while these are counted.
            reading = [pool.submit(read, path, newest) for path, newest in batch]
            if ahead:
                yield pa.concat_tables(one.result() for one in ahead)
            ahead = reading
        if ahead:
            yield pa.concat_tables(one.result() for one in ahead)


def _batches(storage: Storage) -> Iterator[list[tuple[str, pa.Table]]]:
    """The files of descriptions with the newest rows of each, TEXT_ROWS at a time or a file."""
    held: list[tuple[str, pa.Table]] = []
    count = 0
    for where in committed.folders(storage, DESCRIPTIONS):
        # By folder, as the steps read them.
        rows = committed.read_newest(storage, where, DESCRIPTIONS, [], with_file=True)
        for one in planning.by_file(rows):
            held.append(one)
            count += one[1].num_rows
            if count >= TEXT_ROWS:
                yield held
                held, count = [], 0
    if held:
        yield held


def whole_rows(storage: Storage, table: Table, video_ids: Sequence[str]) -> pa.Table:
    """All columns of the newest rows of some clips."""
    keys = committed.read_newest(storage, committed.folder(table), table, [], with_file=True)
    keys = keys.filter(pc.is_in(keys.column("video_id"), value_set=pa.array(video_ids, pa.string())))
    return committed.read_given(storage, table, keys, table.schema.names)
