"""What an OUT knows of its clips, for the page: light columns in memory, one clip's rows when it is asked."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo import uses
from emo.errors import EmoError
from emo.report.gallery import GalleryItem, gallery_items
from emo.review.consensus import jaccard
from emo.review.part import Part
from emo.review.queue import Candidate
from emo.store import committed, planning
from emo.store.storage import Storage
from emo.store.tables import CLIPS, DESCRIPTIONS, JUDGMENTS, TOGETHER, VOTES, Table
from emo.vocabulary.meaning import meaning

# Of a clip all that is shown in words; frames and sound are read when the browser asks for them.
_CLIP = [name for name in CLIPS.schema.names if name not in ("frames", "audio")]


class Library:
    """The clips of an OUT as they were when it was read; made anew to see what runs have added since."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        # What a manifest gives no use is not shown, and its file not read.
        self.clips = uses.allowed(storage, _placed(storage, CLIPS, ["uri", "start_s", "end_s"]))
        self.judged = _placed(storage, JUDGMENTS, ["labels", "agreement", "conflict"])
        together = _placed(storage, TOGETHER, ["score"]).select(["video_id", "score"]).to_pylist()
        self._together = {row["video_id"]: row["score"] for row in together}
        self._rows = {
            table.name: placed.sort_by("video_id")
            for table, placed in (
                (DESCRIPTIONS, _placed(storage, DESCRIPTIONS)),
                (VOTES, _placed(storage, VOTES)),
            )
        }
        ids = self.clips.column("video_id").to_pylist()
        self._place = {video_id: place for place, video_id in enumerate(ids)}
        well = planning.well(self.judged).select(["video_id", "labels", "run_id"]).to_pylist()
        self._judged = {row["video_id"]: row for row in well}

    def has(self, video_id: str) -> bool:
        """Whether there is such a clip."""
        return video_id in self._place

    def file(self, video_id: str) -> tuple[str, Part | None]:
        """Where the clip's file is, and which part of it the clip is; None: all of it."""
        row = self.clips.slice(self._place[video_id], 1).to_pylist()[0]
        return row["uri"], None if row["start_s"] is None else Part(row["start_s"], row["end_s"])

    def held(self, video_id: str) -> dict[str, str]:
        """The committed file that held the clip, by its id; empty where there is no such clip."""
        return (
            {video_id: self.clips.column("file")[self._place[video_id]].as_py()} if self.has(video_id) else {}
        )

    def judgment(self, video_id: str) -> dict[str, Any] | None:
        """`labels` and `run_id` of the judgment; None where there is none that went well."""
        return self._judged.get(video_id)

    def clip(self, video_id: str, columns: list[str]) -> dict[str, Any]:
        """Some columns of the clip's row."""
        path = self.clips.column("file")[self._place[video_id]].as_py()
        return self._one(CLIPS, [path], video_id, columns).to_pylist()[0]

    def item(self, video_id: str) -> GalleryItem:
        """Everything that is shown of a clip, without its frames."""
        tables = {}
        for table, placed in (
            (CLIPS, self.clips),
            (JUDGMENTS, self.judged),
            (DESCRIPTIONS, self._rows[DESCRIPTIONS.name]),
            (VOTES, self._rows[VOTES.name]),
        ):
            rows = placed.filter(pc.equal(placed.column("video_id"), video_id))
            paths = pc.unique(rows.column("file")).to_pylist()
            columns = _CLIP if table is CLIPS else table.schema.names
            tables[table.name] = self._one(table, paths, video_id, columns)
        [item] = gallery_items([video_id], **tables)
        return item

    def _one(self, table: Table, paths: Iterable[str], video_id: str, columns: list[str]) -> pa.Table:
        names = list(dict.fromkeys([*table.key, "run_id", *columns]))
        schema = pa.schema([table.schema.field(name) for name in names])
        parts = [
            committed.read_rows(self._storage, table, path, "video_id", [video_id], names).select(names)
            for path in paths
        ]
        return committed.newest(pa.concat_tables([schema.empty_table(), *parts]), table.key)

    def candidates(self) -> list[Candidate]:
        """The clips that have a judgment; older judgments do not say their conflict."""
        return [
            Candidate(
                row["video_id"],
                row["agreement"],
                row["conflict"],
                tuple(row["labels"]),
                self._together.get(row["video_id"]),
            )
            for row in planning.well(self.judged).to_pylist()
            if row["video_id"] in self._place
        ]

    def doubt(self, expert: str) -> dict[str, float]:
        """video_id -> how far the labels of an expert are from those of the judgment, 0 to 1."""
        named: dict[str, set[str]] = {}
        for row in self._votes():
            if row["expert"] == expert:
                named.setdefault(row["video_id"], set()).update(map(meaning, row["labels"] or ()))
        return {
            video_id: 1 - jaccard(labels, set(map(meaning, self._judged[video_id]["labels"])))
            for video_id, labels in named.items()
            if video_id in self._judged
        }

    def experts(self) -> list[str]:
        """The experts that voted."""
        found: list[str] = pc.unique(self._rows[VOTES.name].column("expert")).to_pylist()
        return sorted(found)

    def _votes(self) -> list[dict[str, Any]]:
        where = committed.folder(VOTES)
        rows = committed.read_newest(self._storage, where, VOTES, ["labels", "status"])
        found: list[dict[str, Any]] = planning.well(rows).to_pylist()
        return found


def _placed(storage: Storage, table: Table, columns: Iterable[str] = ()) -> pa.Table:
    """The newest row of each key with the file that holds it."""
    rows = committed.read_newest(
        storage, committed.folder(table), table, ["status", *columns], with_file=True
    )
    return rows.combine_chunks()


def check_clips(library: Library) -> None:
    """Raise EmoError where there is nothing to look at."""
    if not library.clips.num_rows:
        raise EmoError("no clip was ingested yet; run emo label first")
