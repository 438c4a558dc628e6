"""What a run will cost: from the rates of earlier runs, or from a stated assumption where there are none."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from emo.config import Prices
from emo.experts.protocol import Resources

# Seconds of one worker per row, assumed until a run has been measured. Ingest: decoding a clip of 5 s at
# 1280x720 takes a core 0.2 s. Describe: a model of 7 to 9 billion weights on one GPU of the last years writes
# a paragraph in one to three seconds; an expert without a GPU only measures. The rest is arithmetic.
ASSUMED = {"ingest": 0.25, "describe gpu": 2.0, "describe": 0.25, "extract": 0.005, "judge": 0.001}


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


def estimate(
    steps: Sequence[tuple[str, int]],
    resources: Mapping[str, Resources],
    rates: Mapping[str, tuple[float, int]],
    prices: Prices,
) -> list[Estimate]:
    """What each step, given by name and rows, will take; resources: what one worker of it holds."""
    found = []
    for step, rows in steps:
        held = resources[step]
        worker_seconds, measured = rates.get(step) or (_assumed(step, held), 0)
        hours = rows * worker_seconds / 3600
        cpu_hours, gpu_hours = hours * held.cpus, hours * held.gpus
        cost = cpu_hours * prices.cpu_hour + gpu_hours * prices.gpu_hour
        found.append(Estimate(step, rows, worker_seconds, measured, cpu_hours, gpu_hours, cost))
    return found


def _assumed(step: str, held: Resources) -> float:
    kind = step.partition(" ")[0]
    return ASSUMED[f"{kind} gpu" if f"{kind} gpu" in ASSUMED and held.gpus else kind]


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
