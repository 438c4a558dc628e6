"""What a run will cost: from the rates of earlier runs, or from a stated assumption where there are none."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import Field

from emo.experts.protocol import Resources
from emo.section import Section


class Prices(Section):
    """What computing costs, for estimates and summaries."""

    gpu_hour: float = Field(0.0, ge=0)
    """The price of one hour of one GPU. With 0 it is not counted."""
    cpu_hour: float = Field(0.0, ge=0)
    """The price of one hour of one CPU. With 0 it is not counted."""
    currency: str = "USD"
    """The currency of the prices."""


@dataclass(frozen=True)
class Expected:
    """Rows that are likely to come to a step: `share` of those that could, as `clips` clips show (0: none
    does, and it is assumed).
    """

    rows: int
    share: float
    clips: int


@dataclass(frozen=True)
class Planned:
    """What one step has to do: rows, those done before, what a worker holds, and its seconds per row,
    `measured` on so many rows (0: assumed); expected: how many of the rows are likely to come, and by what.
    """

    step: str
    rows: int
    done: int
    held: Resources
    worker_seconds: float
    measured: int
    expected: Expected | None = None


@dataclass(frozen=True)
class Estimate:
    """One step: worker_seconds per row, `measured` on so many rows (0: assumed), and what follows from it."""

    step: str
    rows: int
    worker_seconds: float
    measured: int
    cpu_hours: float
    gpu_hours: float
    cost: float


def measured_rates(runs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, int]]:
    """Per step: seconds of one worker per row, and the rows that this was measured on.

    Start-up is part of the seconds, so short runs look slow: all given runs count by their rows.
    """
    seconds: dict[str, float] = {}
    rows: dict[str, int] = {}
    for run in runs:
        for step in run["steps"]:
            done = step["ok"] + step["failed"]
            # Run files of before workers were counted tell no rate.
            if done and step.get("workers"):
                name = step["name"]
                seconds[name] = seconds.get(name, 0.0) + step["seconds"] * step["workers"]
                rows[name] = rows.get(name, 0) + done
    return {name: (seconds[name] / rows[name], rows[name]) for name in rows}


def estimate(plan: Sequence[Planned], prices: Prices) -> list[Estimate]:
    """What each step of a plan will take."""
    found = []
    for one in plan:
        hours = one.rows * one.worker_seconds / 3600
        cpu_hours, gpu_hours = hours * one.held.cpus, hours * one.held.gpus
        cost = cpu_hours * prices.cpu_hour + gpu_hours * prices.gpu_hour
        found.append(
            Estimate(one.step, one.rows, one.worker_seconds, one.measured, cpu_hours, gpu_hours, cost)
        )
    return found


def total(estimates: Sequence[Estimate]) -> dict[str, float]:
    """Hours and money of all steps."""
    return {name: sum(getattr(one, name) for one in estimates) for name in ("cpu_hours", "gpu_hours", "cost")}


def spent(steps: Sequence[Mapping[str, Any]], prices: Prices) -> dict[str, float]:
    """Hours and money that the steps of a run file took."""
    cpu_hours = sum(step["seconds"] * step.get("cpus", 0) for step in steps) / 3600
    gpu_hours = sum(step["seconds"] * step.get("gpus", 0) for step in steps) / 3600
    cost = cpu_hours * prices.cpu_hour + gpu_hours * prices.gpu_hour
    return {"cpu_hours": cpu_hours, "gpu_hours": gpu_hours, "cost": cost}


def as_rows(estimates: Sequence[Estimate]) -> list[dict[str, Any]]:
    """Estimates as plain values."""
    return [asdict(one) for one in estimates]
