"""Clips that are to be forgotten, in what finetuning runs keep of them in OUT."""

import io
import json
from collections.abc import Collection, Mapping
from typing import Any

import pyarrow.parquet as pq

from emo.errors import DamagedError
from emo.finetuning import prepared
from emo.finetuning.adapters import PROMOTED, states
from emo.finetuning.held_out import BASE_ANSWERS, answers_of, read_answers
from emo.finetuning.page import page
from emo.finetuning.record import RUN, as_json
from emo.finetuning.result import TRAINED
from emo.store.lease import Lease
from emo.store.runs import training_place
from emo.store.storage import Storage


def forget(out: Storage, clips: Mapping[str, str | None]) -> list[str]:
    """Remove what runs keep of these clips (video_id -> address of the file): the prepared copies of all of
    a run's clips, answers about them, and the sample that its page shows. What was trained stays: a line for
    each such adapter.
    """
    names = {*clips, *filter(None, clips.values())}
    told = []
    for state in states(out):
        place = training_place(out, state["name"])
        if _samples(place, names) is None:
            continue
        # A training that goes on reads them.
        with Lease(place, "forget"):
            _remove(place, names, state["name"])
        if state["best"]:
            also = f" and {out.full(PROMOTED)}/{state['name']}" if state["promoted"] else ""
            told.append(
                f"the adapter {state['best']}{also} was trained with these clips among others; remove it, or "
                "train it anew under another name"
            )
    return told


def _remove(place: Storage, names: Collection[str], run: str) -> None:
    samples = _samples(place, names) or set()
    _answers(place, samples)
    _page(place, run)
    # After the rest, for a removal that is cut short finds the samples by them.
    for path in reversed(place.names(prepared.FOLDER)):
        place.delete(path)


def _samples(place: Storage, names: Collection[str]) -> set[str] | None:
    """The ids of the samples of these clips that a run has prepared; None where it holds none of them."""
    held: set[tuple[str, int]] = set()
    for path in place.names(prepared.FOLDER):
        if path == prepared.SAMPLES:
            continue
        try:
            ids = pq.read_table(io.BytesIO(place.read(path)), columns=["video_id"]).column("video_id")
        except (OSError, ValueError) as error:
            raise DamagedError(f"{place.full(path)} cannot be read: {error}; delete it") from None
        held |= {(path, number) for number, one in enumerate(ids.to_pylist()) if one in names}
    if not place.has(prepared.SAMPLES):
        return set() if held else None
    entries = prepared.read_entries(place)
    # A refused sample has no clip; its id begins with that of the clip.
    found = {
        one.sample_id
        for one in entries
        if (one.file, one.place) in held or any(one.sample_id.startswith(f"{name}:") for name in names)
    }
    return found or (set() if held else None)


def _answers(place: Storage, samples: Collection[str]) -> None:
    for path in place.names("answers"):
        told = json.loads(place.read(path))
        rows = [row for row in told["rows"] if row["sample"] not in samples]
        if len(rows) != len(told["rows"]):
            place.write(path, as_json({**told, "rows": rows}))


def _page(place: Storage, name: str) -> None:
    """Write what the page shows of a sample away, and the page anew; figures stay as they were measured."""
    trained: dict[str, Any] = json.loads(place.read(TRAINED)) if place.has(TRAINED) else {}
    if trained.get("sample"):
        trained["sample"] = ""
        place.write(TRAINED, as_json(trained))
    if not place.has("index.html"):
        return
    record = json.loads(place.read(RUN))
    result = record.get("result")
    if result is None:
        # Of a training that stopped; its figures are in curve.json.
        place.delete("index.html")
        return
    history = json.loads(place.read("curve.json"))
    after = read_answers(place, answers_of(int(result["metrics"]["step"])))
    before = read_answers(place, BASE_ANSWERS)
    text = page(
        name, record["settings"], result["counts"], history, result["metrics"], before, after, trained
    )
    place.write("index.html", text.encode())
