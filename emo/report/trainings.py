"""The trainings of an OUT as its report shows them: how each stands, and its loss by step."""

from dataclasses import dataclass
from typing import Any

from emo.store.lease import read_lease
from emo.store.runs import load_runs, training_of, training_place
from emo.store.storage import Storage

RUNS_READ = 50


@dataclass(frozen=True)
class Training:
    """run: its newest run file; curve: [step, loss, held-out loss or None] of all its runs; goes_on: whether
    somebody works on it.
    """

    name: str
    run: dict[str, Any]
    curve: list[list[float | None]]
    goes_on: bool


def trainings(storage: Storage) -> list[Training]:
    """The trainings of the newest run files, the one that began last first."""
    found: dict[str, Training] = {}
    for run in load_runs(storage, last=RUNS_READ, trainings=True):
        name = training_of(run["run_id"]) or ""
        before = found.pop(name, None)
        own = [point for step in run["steps"] for point in step.get("curve", ())]
        # A training that goes on repeats the steps after its last checkpoint.
        kept = [point for point in before.curve if not own or point[0] < own[0][0]] if before else []
        found[name] = Training(name, run, kept + own, _goes_on(storage, name, run))
    return list(reversed(found.values()))


def _goes_on(storage: Storage, name: str, run: dict[str, Any]) -> bool:
    if run["outcome"] != "running":
        return False
    held = read_lease(training_place(storage, name))
    return held is not None and bool(held.lives())
