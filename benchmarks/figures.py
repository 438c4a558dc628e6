"""What every benchmark does with its figures: it shows them, says which became worse since they were last
committed, and writes them where asked, with the machine that they are from.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """The option --json PATH."""
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures here")


def show(figures: dict[str, Any]) -> None:
    """Print one figure per line; those of a part are named `part.figure`."""
    for name, value in _flat(figures):
        shown = f"{value:.3g}" if isinstance(value, float) and abs(value) < 100 else value
        shown = f"{shown:.0f}" if isinstance(shown, float) else shown
        print(f"{name:<44}{shown!s:>14}")


RESULTS = Path(__file__).parent / "results"
# A figure that is worse than the committed one by more than this share is told.
WORSE = 0.1


def compare(
    path: Path | None, figures: dict[str, Any], lower: tuple[str, ...], higher: tuple[str, ...] = ()
) -> None:
    """Say on standard error which ratios are worse by more than a tenth than those last committed.

    path: where they are committed, or a file named as one in results/; None: that of the script that runs.
    lower, higher: parts of the names of the ratios that are better when they are lower, or higher. Only
    ratios of one run are compared: seconds are those of a machine and of an hour.
    """
    name = path.name if path else f"{Path(sys.argv[0]).stem}.json"
    for line in slower(committed(path) or committed(RESULTS / name), figures, lower, higher):
        print(line, file=sys.stderr)


def committed(path: Path | None) -> dict[str, Any]:
    """The figures of a file of results as they were last committed; empty where there are none."""
    if path is None:
        return {}
    where = path.absolute()
    shown = ["git", "-C", str(where.parent), "show", f"HEAD:./{where.name}"]
    done = (
        subprocess.run(shown, capture_output=True, text=True, check=False) if where.parent.is_dir() else None
    )
    found = json.loads(done.stdout) if done and done.returncode == 0 else {}
    return found.get("figures", {}) if isinstance(found, dict) else {}


def slower(
    before: dict[str, Any], now: dict[str, Any], lower: tuple[str, ...], higher: tuple[str, ...] = ()
) -> list[str]:
    """A line for each ratio that is worse by more than a tenth than before."""
    old = dict(_flat(before))
    lines = []
    for name, value in _flat(now):
        was = old.get(name)
        if not (isinstance(was, int | float) and isinstance(value, int | float) and was > 0):
            continue
        figure = name.rpartition(".")[2]
        worse = any(part in figure for part in lower) and value > was * (1 + WORSE)
        worse = worse or (any(part in figure for part in higher) and value < was * (1 - WORSE))
        if worse:
            lines.append(f"{name}: {value:.3g}, and {was:.3g} when it was last committed")
    return lines


def write(path: Path | None, figures: Any) -> None:
    """Write the figures as JSON, where a path was given."""
    if path is None:
        return
    machine = {
        "processor": _processor(),
        "cpus_used": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "figures": figures}, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _flat(figures: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in figures.items():
        inner = isinstance(value, dict)
        found += _flat(value, f"{before}{name}.") if inner else [(f"{before}{name}", value)]
    return found
