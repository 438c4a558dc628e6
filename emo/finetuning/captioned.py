"""The rows of the captions table as samples that a run is asked to train on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo import uses
from emo.captions.prompts import of_whole_person
from emo.errors import RowError
from emo.finetuning import senses
from emo.finetuning.chats import Chats
from emo.finetuning.listed import SCHEMA
from emo.finetuning.prepared import NOT_FOR_TRAINING, TRAIN
from emo.finetuning.settings import Finetune
from emo.review.consensus import Agreed, reviewed
from emo.store import committed, planning
from emo.store.storage import Storage
from emo.store.tables import CAPTIONS
from emo.vocabulary.meaning import meaning

# The columns of which a sample is made.
_CAPTION = ("video_id", "split", "messages", "frames", "audio", "labels", "source")


def rows_of_table(out: Storage, settings: Finetune) -> Iterator[pa.Table]:
    """The captions of OUT that went well as rows of a listing, refused ones with their error."""
    where = committed.folder(CAPTIONS)
    newest = committed.read_newest(out, where, CAPTIONS, ["video_id", "status"], with_file=True)
    newest = planning.well(newest)
    # Of each clip once, and those that may not be trained on, which are few.
    clips = pa.table({"video_id": pc.unique(newest.column("video_id"))})
    barred = planning.not_in(clips, uses.allowed(out, clips, training=True), ("video_id",))
    checks = _Checks(settings, reviewed(out), planning.flat(barred, "video_id"))
    # Part by part, for the texts of all are gigabytes.
    for rows in committed.read_parts(out, CAPTIONS, newest, _CAPTION):
        yield checks.listed(rows)


@dataclass(frozen=True)
class _Kind:
    """What decides which senses a caption speaks of, and what it may be asked."""

    frames: bool
    audio: bool
    expert: str | None
    prompt: str | None


class _Checks:
    """people: clip -> what those agree on who reviewed it; barred: clips that may not be trained on."""

    def __init__(self, settings: Finetune, people: Mapping[str, Agreed | None], barred: pa.Array) -> None:
        self._settings = settings
        self._people, self._reviewed = people, pa.array(list(people), pa.string())
        self._barred = barred
        self._chats = Chats(settings)
        self._senses: dict[_Kind, RowError | None] = {}

    def listed(self, rows: pa.Table) -> pa.Table:
        """Rows of the captions table as rows of a listing.

        Only of a refused one, and of one whose chat is no plain question and answer, Python sees more than an
        id.
        """
        names, clips = planning.flat(rows, "caption_id"), planning.flat(rows, "video_id")
        # By place; of several reasons the first.
        refused: dict[int, RowError] = {}
        for place in pc.indices_nonzero(pc.is_in(clips, value_set=self._barred)).to_pylist():
            refused[place] = RowError(
                NOT_FOR_TRAINING, "its manifest says that the clip may not be trained on"
            )
        empty = pa.scalar([], SCHEMA.field("labels").type)
        labels = pc.fill_null(planning.flat(rows, "labels"), empty)
        if self._people:
            labels = self._as_reviewed(clips, planning.flat(rows, "split"), labels, refused)
        shown = pc.greater(pc.list_value_length(planning.flat(rows, "frames")), 0).fill_null(False)
        audio = planning.flat(rows, "audio").fill_null(False)
        kinds, of_kind = _kinds(shown, audio, planning.flat(rows, "source"))
        for number, kind in enumerate(kinds):
            if (error := self._of_senses(kind)) is not None:
                for place in np.flatnonzero(of_kind == number).tolist():
                    refused.setdefault(place, error)
        whole = np.array([of_whole_person(kind.prompt or "") for kind in kinds], bool)[of_kind]
        trained = self._chats.trained(names, planning.flat(rows, "messages"), whole)
        count = rows.num_rows
        columns = {
            **_texts(names, trained.turns, trained.system, trained.refused | refused),
            "sample_id": names,
            "split": rows.column("split"),
            "frames": rows.column("frames"),
            "window": pc.struct_field(rows.column("source"), "window"),
            "audio": audio,
            "pictures": pa.repeat(False, count),
            "labels": labels,
            "weight": pa.repeat(1.0, count),
            "video_id": clips,
            "media": pa.nulls(count, pa.string()),
            "where": pa.nulls(count, pa.string()),
            "group": clips,
        }
        return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)

    def _of_senses(self, kind: _Kind) -> RowError | None:
        """Why a caption of this kind speaks of what the family lacks; None where it does not."""
        if kind not in self._senses:
            row = {"frames": kind.frames, "audio": kind.audio, "source": {"prompt": kind.prompt}}
            try:
                senses.check(
                    self._settings, senses.of_caption(row), f"{kind.expert or 'its expert'} wrote it about"
                )
                self._senses[kind] = None
            except RowError as error:
                self._senses[kind] = error
        return self._senses[kind]

    def _as_reviewed(
        self, clips: pa.Array, splits: pa.Array, labels: pa.Array, refused: dict[int, RowError]
    ) -> pa.Array:
        """The labels as people let them stand who reviewed some of the clips; refused grows by the others."""
        found = labels.to_pylist()
        for place in pc.indices_nonzero(pc.is_in(clips, value_set=self._reviewed)).to_pylist():
            if place not in refused:
                agreed = self._people[clips[place].as_py()]
                try:
                    found[place] = _as_agreed(splits[place].as_py(), found[place], agreed)
                except RowError as error:
                    refused[place] = error
        return pa.array(found, labels.type)


def _kinds(shown: pa.Array, audio: pa.Array, sources: pa.Array) -> tuple[list[_Kind], np.ndarray]:
    """The kinds of some captions, and which each is of: int64."""
    columns = [shown, audio, pc.struct_field(sources, "expert"), pc.struct_field(sources, "prompt")]
    number = np.zeros(len(shown), np.int64)
    values = []
    for column in columns:
        encoded = column.dictionary_encode(null_encoding="encode")
        values.append(encoded.dictionary.to_pylist())
        number = number * len(values[-1]) + encoded.indices.to_numpy()
    numbers, of_kind = np.unique(number, return_inverse=True)
    places = np.unravel_index(numbers, [len(some) for some in values])
    kinds = [
        _Kind(*(some[place] for some, place in zip(values, of_one, strict=True)))
        for of_one in zip(*places, strict=True)
    ]
    return kinds, of_kind


def _texts(
    names: pa.Array, turns: pa.Array, system: pa.Array, refused: Mapping[int, RowError]
) -> dict[str, pa.Array]:
    """The columns turns, system, error and error_message."""
    codes: list[str | None] = [None] * len(names)
    messages: list[str | None] = [None] * len(names)
    for place, error in refused.items():
        codes[place], messages[place] = error.code, f"{names[place].as_py()}: {error.message}"
    error = pa.array(codes, pa.string())
    if refused:
        bad = pc.is_valid(error)
        turns, system = pc.if_else(bad, "[]", turns), pc.if_else(bad, None, system)
    return {
        "turns": turns,
        "system": system,
        "error": error,
        "error_message": pa.array(messages, pa.string()),
    }


def _as_agreed(split: str, labels: Sequence[str], people: Agreed | None) -> Sequence[str]:
    """The labels of a caption as people who reviewed its clip let it stand; raises RowError if they do not.

    One to train on must name a meaning that they agree on. One that is held out is scored by their labels.
    """
    if people is None:
        return labels
    if people.labels is None:
        raise RowError("unusable", "people who reviewed the clip call it unusable")
    if split != TRAIN:
        return people.labels
    if labels and people.labels and not {*map(meaning, people.labels)} & {*map(meaning, labels)}:
        raise RowError("against_review", f"people agree on {', '.join(people.labels)}; the caption on none")
    return labels
