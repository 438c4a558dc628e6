"""What is in an OUT and what a run would do there: answers without starting anything."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo import committed, estimates, experts, extraction, planning
from emo.config import Config, Prices
from emo.errors import StorageError
from emo.estimates import Estimate
from emo.experts.protocol import Resources
from emo.runs import FOLDER, load_runs
from emo.storage import Storage
from emo.tables import CLIPS, DESCRIPTIONS, FAILED, JUDGMENTS, TABLES, VOTES, Table
from jobs import describe, extract, ingest, judge

RUNS_SHOWN = 10
# Rates are taken from so many of the newest runs.
RUNS_MEASURED = 20


def state(storage: Storage) -> dict[str, Any]:
    """Rows per table, by status, and the last runs."""
    tables = []
    for table in TABLES.values():
        rows = committed.read_newest(storage, committed.folder(table), table, ["status"])
        failed = planning.failed_rows(rows).num_rows
        tables.append({"table": table.name, "rows": rows.num_rows, "failed": failed})
    return {"tables": tables, "runs": load_runs(storage, last=RUNS_SHOWN)}


def failed_judgments(storage: Storage) -> int:
    """Clips that have no judgment because a step failed."""
    judged = committed.read_newest(storage, committed.folder(JUDGMENTS), JUDGMENTS, ["status"])
    return planning.failed_rows(judged).num_rows


def show(state: dict[str, Any], prices: Prices) -> None:
    """Print a state for a person."""
    for table in state["tables"]:
        print(f"{table['table']:<16}{table['rows']:>12} rows{table['failed']:>12} failed")
    for run in state["runs"]:
        did = ", ".join(_did(step) for step in run["steps"] if step["rows"])
        # Of a run that stopped: why, on the same line.
        stopped = f"  {' '.join(run['error'].split())}" if run["error"] else ""
        what = f"{did or 'nothing to do'}{_spent(run, prices)}{stopped}"
        print(f"{run['run_id']}  {run['command']:<10}{run['outcome']:<10}{what}")


def _did(step: dict[str, Any]) -> str:
    failed = f" ({step['failed']} failed)" if step["failed"] else ""
    return f"{step['name']} {step['ok']}{failed}"


def _spent(run: dict[str, Any], prices: Prices) -> str:
    spent = estimates.spent(run["steps"], prices)
    hours = [
        f"{spent[f'{kind}_hours']:.2f} {kind.upper()}-hours"
        for kind in ("cpu", "gpu")
        if spent[f"{kind}_hours"]
    ]
    money = [f"{spent['cost']:.2f} {prices.currency}"] if spent["cost"] else []
    return f"  [{', '.join([*hours, *money])}]" if hours else ""


def failures(storage: Storage, experts: list[str]) -> list[dict[str, str]]:
    """The rows that failed, by the step in which they did."""
    found = [_failed(storage, "ingest", CLIPS, None, pa.table({"video_id": pa.array([], pa.string())}))]
    for expert in experts:
        described = _failed(storage, f"describe {expert}", DESCRIPTIONS, expert, found[0])
        found += [described, _failed(storage, f"extract {expert}", VOTES, expert, described)]
    found.append(_failed(storage, "judge", JUDGMENTS, None, found[0]))
    return [row for part in found for row in part.to_pylist()]


def _failed(storage: Storage, step: str, table: Table, expert: str | None, earlier: pa.Table) -> pa.Table:
    """One row per clip; a failure that an earlier step handed on is not told twice."""
    where = committed.folder(table, expert)
    rows = committed.read_newest(storage, where, table, ["status", "error", "error_message"])
    rows = rows.filter(pc.equal(rows.column("status"), FAILED))
    rows = planning.not_in(committed.newest(rows, ("video_id",)), earlier, ("video_id",))
    return rows.select(["video_id", "error", "error_message"]).append_column(
        "step", pa.array([step] * rows.num_rows, pa.string())
    )


def plan(storage: Storage, config: Config, manifest: pa.Table) -> dict[str, Any]:
    """Rows that each step would do for a source, and the bytes that ingest would read.

    Steps after ingest also do what ingest is about to add, taken for clips that can all be decoded.
    """
    names = [expert["name"] for expert in config.experts]
    rows = ingest.left_to_do(storage, manifest)
    clips = planning.not_in(describe.ingested(storage), rows, CLIPS.key)
    steps = [{"step": "ingest", "rows": rows.num_rows, "done": manifest.num_rows - rows.num_rows}]
    answers = 0
    for expert in config.experts:
        todo = describe.left_to_do(storage, clips, expert["name"]).num_rows
        answers += (rows.num_rows + todo) * expert["samples"]
        steps.append(
            {
                "step": f"describe {expert['name']}",
                "rows": rows.num_rows + todo,
                "done": clips.num_rows - todo,
            }
        )
    texts = planning.not_in(extract.described(storage, names), rows, CLIPS.key)
    waiting = extract.left_to_do(storage, texts).num_rows
    steps.append({"step": "extract", "rows": answers + waiting, "done": texts.num_rows - waiting})
    found = judge.inputs(storage, names, config.judge)
    known = planning.not_in(found.rows, rows, CLIPS.key)
    waiting = planning.in_both(judge.left_to_do(storage, found), known, CLIPS.key).num_rows
    steps.append({"step": "judge", "rows": rows.num_rows + waiting, "done": known.num_rows - waiting})
    return {"steps": steps, "bytes": pc.sum(rows.column("size")).as_py() or 0}


def estimate(storage: Storage, config: Config, plan: dict[str, Any]) -> list[Estimate]:
    """What the steps of a plan will take, by the rates of earlier runs of this OUT."""
    held = {"ingest": Resources(cpus=1), "judge": Resources(cpus=1)}
    extractor = extraction.extractor_class(config.extract["kind"])
    held["extract"] = extractor.resources(extractor.Settings(**config.extract))
    for settings in config.experts:
        cls = experts.expert_class(settings["kind"])
        held[f"describe {settings['name']}"] = cls.resources(cls.Settings(**settings))
    rates = estimates.measured_rates(load_runs(storage, last=RUNS_MEASURED))
    rows = [(step["step"], step["rows"]) for step in plan["steps"]]
    return estimates.estimate(rows, held, rates, config.prices)


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

    For the holder of the lease.
    """
    moved = []
    for table in TABLES.values():
        for path in committed.files(storage, table.name):
            try:
                committed.read_file(storage, table, path)
            except StorageError as error:
                moved.append((_move_aside(storage, path), str(error)))
    return moved


def _move_aside(storage: Storage, path: str) -> str:
    """Copy a file to OUT/set-aside, then delete it, so that none is lost on the way; where it went."""
    target = f"set-aside/{path}"
    storage.write(target, storage.read(path))
    storage.delete(path)
    return storage.full(target)
