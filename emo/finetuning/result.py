"""What a run leaves: the folders of the best and the last checkpoint, the curve, the page."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emo.finetuning import adapter
from emo.finetuning.held_out import BASE_ANSWERS, answers_of, read_answers
from emo.finetuning.page import page
from emo.finetuning.record import as_json
from emo.finetuning.state import read_state
from emo.finetuning.task import Task
from emo.store.storage import Storage

RESULT = "adapter"
# What worker 0 writes when it begins: the layers, and a sample as the model sees it.
TRAINED = "trained.json"
# Among the figures of a checkpoint: why its answers are not.
NOT_ANSWERED = "not_answered"


@dataclass(frozen=True)
class Outcome:
    """What a run came to: `metrics` of the best checkpoint, `already` where there was nothing left to do."""

    name: str
    best: str
    page: str
    steps: int
    metrics: dict[str, Any]
    counts: dict[str, Any]
    seconds: float
    already: bool = False


@dataclass(frozen=True)
class Kept:
    """A checkpoint that was kept. metrics: what was measured; folder: opens a local folder with its files."""

    metrics: dict[str, Any]
    folder: Callable[[], AbstractContextManager[str]]


def finish(
    task: Task,
    last: Kept,
    kept: Sequence[Kept],
    tested: Callable[[str], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Keep best and last as folders, and write the page; the fields of the Outcome but for its seconds.

    kept: the checkpoints that the best one is among; tested: what more is measured of the folder of the best.
    """
    place = task.place
    best = max(kept, key=lambda one: _rank(one.metrics))
    history: list[dict[str, Any]] = []
    metrics: dict[str, Any] = {}
    for where, one in (("last", last), ("best", best)):
        figures = _with_answers(place, one.metrics)
        with one.folder() as path:
            _keep(place, Path(path) / RESULT, where, figures)
            if where == "last":
                history = read_state(Path(path)).history
            else:
                metrics = figures
    if tested is not None and (more := tested(place.full("best"))):
        metrics = {**metrics, **more}
        _note_figures(place, "best", metrics)
    place.write("curve.json", as_json(history))
    before = read_answers(place, BASE_ANSWERS)
    after = read_answers(place, answers_of(int(metrics["step"])))
    trained = json.loads(place.read(TRAINED)) if place.has(TRAINED) else {}
    settings = task.settings.model_dump(mode="json")
    text = page(task.name, settings, task.data, history, metrics, before, after, trained)
    place.write("index.html", text.encode())
    return {
        "name": task.name,
        "best": place.full("best"),
        "page": place.full("index.html"),
        "steps": task.steps,
        "metrics": metrics,
        "counts": task.data,
    }


def _rank(metrics: dict[str, Any]) -> tuple[float, float, float]:
    """Best last: by label F1, then by held-out loss, then the later one."""
    return (
        metrics.get("f1", -1.0),
        -metrics.get("held_out_loss", float("inf")),
        metrics.get("step", 0),
    )


def _with_answers(place: Storage, figures: dict[str, Any]) -> dict[str, Any]:
    answers = read_answers(place, answers_of(int(figures["step"])))
    return figures if answers is None else {**figures, **answers["metrics"]}


def _note_figures(place: Storage, where: str, metrics: dict[str, Any]) -> None:
    """Write figures into the manifest and the card of a result that was kept."""
    about = {**json.loads(place.read(f"{where}/{adapter.MANIFEST}")), "metrics": metrics}
    place.write(f"{where}/README.md", adapter.card(about).encode())
    place.write(f"{where}/{adapter.MANIFEST}", as_json(about))


def _keep(place: Storage, folder: Path, where: str, metrics: dict[str, Any]) -> None:
    """Copy a result with its figures into its manifest and card; the manifest comes last."""
    about = {**adapter.read_manifest(folder), "metrics": metrics}
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
    files["README.md"] = adapter.card(about).encode()
    files.pop(adapter.MANIFEST)
    for name, data in files.items():
        place.write(f"{where}/{name}", data)
    place.write(f"{where}/{adapter.MANIFEST}", as_json(about))
