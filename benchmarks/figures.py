"""What every benchmark does with its figures: it shows them, and writes them where asked, with the machine
that they are from.
"""

import argparse
import json
import os
import platform
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
