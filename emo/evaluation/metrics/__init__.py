"""The metrics: one file each, and the registry that names them.

The name of a file is that of its metric: `mer_fg.py` holds `MerFgMetric`, the metric `mer-fg`.
"""

from dataclasses import fields
from typing import Any

from emo.errors import InputError
from emo.evaluation.metric import Metric, Option, Request
from emo.registry import Registry, by_file

REGISTRY = Registry[Metric[Any]]("metric", Metric, by_file(__package__, "Metric"))


def options(kind: str | None = None) -> dict[Option[Any], list[str]]:
    """Every option of a metric of emo, and which of them take it; with a kind those of that metric too.

    Raises InputError where there is no such metric, or where an option of it means another thing elsewhere.
    """
    found: dict[Option[Any], list[str]] = {}
    meant: dict[str, Option[Any] | None] = {entry.name: None for entry in fields(Request)}
    asked = [] if kind is None or kind in REGISTRY.own else [kind]
    for name in [*REGISTRY.own, *asked]:
        for option in REGISTRY.named(name).options:
            if meant.setdefault(option.name, option) != option:
                raise InputError(f"metric kind {name!r}: another option is called {option.name!r} already")
            found.setdefault(option, []).append(name)
    return found
