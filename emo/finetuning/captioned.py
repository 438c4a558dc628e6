"""The rows of the captions table as samples that a run is asked to train on."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo import uses
from emo.captions import messages
from emo.captions.messages import Turn
from emo.captions.prompts import of_whole_person
from emo.errors import RowError
from emo.finetuning import prepared, samples, senses
from emo.finetuning.listed import SCHEMA
from emo.finetuning.prepared import NOT_FOR_TRAINING, TRAIN
from emo.finetuning.questions import asked_as_labelled, is_asked
from emo.finetuning.settings import Finetune
from emo.review.consensus import Agreed, reviewed
from emo.store import committed, planning
from emo.store.storage import Storage
from emo.store.tables import CAPTIONS
from emo.vocabulary.meaning import meaning

# Rows of the captions table that are in memory at one time.
_READ_ROWS = 65_536
# Its columns of which a sample is made.
_CAPTION = ("video_id", "split", "messages", "frames", "audio", "labels", "source")


def rows_of_table(out: Storage, settings: Finetune) -> Iterator[pa.Table]:
    """The captions of OUT that went well as rows of a listing, refused ones with their error."""
    where = committed.folder(CAPTIONS)
    newest = committed.read_newest(out, where, CAPTIONS, ["video_id", "status"], with_file=True)
    newest = planning.well(newest)
    people = reviewed(out)
    free = pc.unique(uses.allowed(out, newest, training=True).column("video_id"))
    checks = _Checks(settings)
    # One file after the other, for the texts of all are gigabytes.
    for _, of_file in planning.by_file(newest):
        for wanted in committed.batched(of_file, _READ_ROWS):
            rows = committed.read_given(out, CAPTIONS, wanted, _CAPTION)
            yield _of_captions(rows, checks, people, free)


class _Checks:
    """What is the same for very many captions and found out once."""

    def __init__(self, settings: Finetune) -> None:
        self.settings = settings
        self._senses: dict[tuple[Any, ...], RowError | None] = {}
        self._questions: dict[tuple[str, bool], str] = {}

    def of_senses(self, frames: bool, audio: bool | None, source: Mapping[str, Any]) -> RowError | None:
        """Why a caption of this source speaks of what the family lacks; None where it does not."""
        key = (frames, audio, source["expert"], source["prompt"])
        if key not in self._senses:
            spoken_of = senses.of_caption({"frames": frames, "audio": audio, "source": source})
            try:
                senses.check(self.settings, spoken_of, f"{source['expert'] or 'its expert'} wrote it about")
                self._senses[key] = None
            except RowError as error:
                self._senses[key] = error
        return self._senses[key]

    def chat(self, name: str, text: str | None, prompt: str | None) -> tuple[str, str | None]:
        """The turns of a caption (see `prepared.turns_text`) and its system turn; raises RowError.

        Captions of one prompt have one question, which is looked at once: of a question and an answer, as
        emo writes them, the answer alone is left to look at.
        """
        asked = of_whole_person(prompt or "") and is_asked(name, self.settings)
        try:
            chat = json.loads(text or "")
        except (ValueError, RecursionError):
            chat = text
        match chat:
            case [
                {"role": "user", "content": str(question)} as first,
                {"role": "assistant", "content": str(answer)} as second,
            ] if len(first) == len(second) == 2 and answer.strip() and "<" not in answer:
                told = prepared.turn_text(Turn("assistant", answer.strip()))
                return f"[{self._question(question, asked)}, {told}]", self.settings.system
        turns: Sequence[Turn] = messages.turns_of(chat)
        turns = asked_as_labelled(turns, self.settings) if asked else turns
        sample = samples.from_turns(name, turns, self.settings.system, has_media=True)
        return prepared.turns_text(sample.turns), sample.system

    def _question(self, question: str, asked: bool) -> str:
        """The turn of the user that a chat with this question is trained with."""
        if (question, asked) not in self._questions:
            turns: Sequence[Turn] = (Turn("user", question), Turn("assistant", "She smiles."))
            turns = asked_as_labelled(turns, self.settings) if asked else turns
            sample = samples.from_turns("", turns, self.settings.system, has_media=True)
            self._questions[question, asked] = prepared.turn_text(sample.turns[0])
        return self._questions[question, asked]


_NO_SOURCE = dict.fromkeys(("expert", "prompt", "window"))


def _of_captions(
    rows: pa.Table, checks: _Checks, people: Mapping[str, Agreed | None], free: pa.Array
) -> pa.Table:
    """Rows of the captions table as rows of a listing; only their texts become Python values."""
    ids, clips = rows.column("caption_id").to_pylist(), rows.column("video_id")
    splits = rows.column("split").to_pylist()
    labels = pc.fill_null(rows.column("labels"), pa.scalar([], SCHEMA.field("labels").type))
    # By people, where they reviewed some of the clips.
    reviewed_labels = labels.to_pylist() if people else []
    sources = rows.column("source")
    parts = {name: pc.struct_field(sources, name).to_pylist() for name in _NO_SOURCE}
    shown = pc.fill_null(pc.greater(pc.list_value_length(rows.column("frames")), 0), False).to_pylist()
    audio = pc.fill_null(rows.column("audio"), False)
    told = zip(
        ids,
        clips.to_pylist(),
        rows.column("messages").to_pylist(),
        pc.is_in(clips, value_set=free).to_pylist(),
        shown,
        audio.to_pylist(),
        parts["expert"],
        parts["prompt"],
        strict=True,
    )
    found: dict[str, list[Any]] = {name: [] for name in ("turns", "system", "error", "error_message")}
    for place, (name, clip, text, is_free, frames, heard, expert, prompt) in enumerate(told):
        turns, system, refused = "[]", None, None
        try:
            if not is_free:
                raise RowError(NOT_FOR_TRAINING, "its manifest says that the clip may not be trained on")
            if clip in people:
                reviewed_labels[place] = _as_reviewed(splits[place], reviewed_labels[place], people[clip])
            refused = checks.of_senses(frames, heard, {"expert": expert, "prompt": prompt})
            if refused is None:
                turns, system = checks.chat(name, text, prompt)
        except RowError as error:
            refused = error
        found["turns"].append(turns)
        found["system"].append(system)
        found["error"].append(None if refused is None else refused.code)
        found["error_message"].append(None if refused is None else f"{name}: {refused.message}")
    count = rows.num_rows
    columns = {
        **{name: pa.array(values, pa.string()) for name, values in found.items()},
        "sample_id": rows.column("caption_id"),
        "split": rows.column("split"),
        "frames": rows.column("frames"),
        "window": pa.array(parts["window"], pa.string()),
        "audio": audio,
        "pictures": pa.repeat(False, count),
        "labels": pa.array(reviewed_labels, SCHEMA.field("labels").type) if people else labels,
        "weight": pa.repeat(1.0, count),
        "video_id": clips,
        "media": pa.nulls(count, pa.string()),
        "where": pa.nulls(count, pa.string()),
        "group": clips,
    }
    return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)


def _as_reviewed(split: str, labels: Sequence[str], people: Agreed | None) -> Sequence[str]:
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
