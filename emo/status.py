"""What is in an OUT and what a run would do there: answers without starting anything."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo import estimates
from emo.errors import DamagedError
from emo.estimates import Planned, Prices
from emo.review import figures
from emo.review.consensus import read_reviews
from emo.step import Step
from emo.store import committed, planning
from emo.store.runs import FOLDER, load_runs
from emo.store.storage import Storage
from emo.store.tables import JUDGMENTS, TABLES

RUNS_SHOWN = 10
# Rates are taken from so many of the newest runs.
RUNS_MEASURED = 20


def state(storage: Storage) -> dict[str, Any]:
    """Rows per table, by status, what the reviews say of the labels (None: there are none), the last runs."""
    tables = []
    for table in TABLES.values():
        rows = committed.read_newest(storage, committed.folder(table), table, ["status"])
        failed = planning.failed_rows(rows).num_rows
        tables.append({"table": table.name, "rows": rows.num_rows, "failed": failed})
    reviews = read_reviews(storage)
    quality = figures.quality(reviews) if reviews else None
    runs = load_runs(storage, last=RUNS_SHOWN) + load_runs(storage, last=RUNS_SHOWN, trainings=True)
    newest = sorted(runs, key=lambda run: run["run_id"])[-RUNS_SHOWN:]
    return {"tables": tables, "reviews": quality, "runs": newest}


def failed_judgments(storage: Storage) -> int:
    """Clips that have no judgment because a step failed."""
    judged = committed.read_newest(storage, committed.folder(JUDGMENTS), JUDGMENTS, ["status"])
    return planning.failed_rows(judged).num_rows


def show(state: dict[str, Any], prices: Prices) -> None:
    """Print a state for a person."""
    for table in state["tables"]:
        print(f"{table['table']:<16}{table['rows']:>12} rows{table['failed']:>12} failed")
    if state["reviews"]:
        print("\n".join(figures.lines(state["reviews"])))
    for run in state["runs"]:
        did = ", ".join(_did(step) for step in run["steps"] if step["rows"])
        # Of a run that stopped: why, on the same line.
        stopped = f"  {' '.join(run['error'].split())}" if run["error"] else ""
        what = f"{did or 'nothing to do'}{_spent(run, prices)}{stopped}"
        print(f"{run['run_id']}  {run['command']:<10}{run['outcome']:<10}{what}")


def _did(step: dict[str, Any]) -> str:
    failed = f" ({step['failed']} failed)" if step["failed"] else ""
    loss = f" (loss {step['figures']['loss']:.4f})" if step.get("figures") else ""
    return f"{step['name']} {step['ok']}{failed}{loss}"


def _spent(run: dict[str, Any], prices: Prices) -> str:
    spent = estimates.spent(run["steps"], prices)
    hours = [
        f"{spent[f'{kind}_hours']:.2f} {kind.upper()}-hours"
        for kind in ("cpu", "gpu")
        if spent[f"{kind}_hours"]
    ]
    money = [f"{spent['cost']:.2f} {prices.currency}"] if spent["cost"] else []
    return f"  [{', '.join([*hours, *money])}]" if hours else ""


@dataclass(frozen=True)
class Plan:
    """steps: what each would do; bytes: the size of the files that ingest would read."""

    steps: list[Planned]
    bytes: int


def plan(storage: Storage, steps: Sequence[Step]) -> Plan:
    """What a run of these steps would do, ingest first. The steps after it also do what it is about to add,
    taken for clips that can all be decoded.
    """
    rates = estimates.measured_rates(load_runs(storage, last=RUNS_MEASURED))
    coming: pa.Table | None = None
    to_read = 0
    planned: dict[str, int] = {}
    found = []
    for step in steps:
        given = step.given(storage)
        left = step.left(storage, given)
        if coming is None:
            # Of the first step: what is new or changed, and on its way through all the others.
            coming = left
            to_read = pc.sum(left.column("size")).as_py() or 0
        else:
            given, left = (planning.not_in(rows, coming, ("video_id",)) for rows in (given, left))
        likely = step.expected(storage, planned)
        planned[step.name] = left.num_rows + step.arriving(storage, planned) + (likely.rows if likely else 0)
        rate = step.rate(storage, left, rates.get(step.name))
        done = given.num_rows - left.num_rows
        found.append(Planned(step.name, planned[step.name], done, step.resources(), *rate, likely))
    return Plan(found, to_read)


def set_aside_runs(storage: Storage) -> list[tuple[str, str]]:
    """Move every run file that tells of no run to OUT/set-aside; where each went, and why.

    Needs no lease: the file of a run that goes on is always whole.
    """
    moved = []
    for path in [entry.path for entry in storage.entries(FOLDER) if entry.path.endswith(".json")]:
        try:
            run = json.loads(storage.read(path))
        except (ValueError, RecursionError):
            run = None
        if not isinstance(run, dict) or not isinstance(run.get("config"), dict):
            moved.append((_move_aside(storage, path), f"{storage.full(path)} is not a run file"))
    return moved


def set_aside(storage: Storage) -> list[tuple[str, str]]:
    """Move every Parquet file that is not of its table to OUT/set-aside; where each went, and why.

    For the holder of the lease. Raises StorageError where the place does not answer: its files may be good.
    """
    moved = []
    for table in TABLES.values():
        for path in committed.files(storage, table.name):
            try:
                committed.read_file(storage, table, path)
            except DamagedError as error:
                moved.append((_move_aside(storage, path), str(error)))
    return moved


def _move_aside(storage: Storage, path: str) -> str:
    """Copy a file to OUT/set-aside, then delete it, so that none is lost on the way; where it went."""
    target = f"set-aside/{path}"
    storage.write(target, storage.read(path))
    storage.delete(path)
    return storage.full(target)
