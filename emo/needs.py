"""What the steps of a run need where they run: asked on the machine that does the work, before it starts.

A setting is sound or not on any machine; whether a model can run is a matter of the node. A run that starts
Ray on this machine asks here, before anything starts. A run that joins a cluster asks the nodes, one task per
step with the step's own resources, because the machine that sends it may have no GPU and no model folder.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from emo.errors import InputError
from emo.experts.protocol import Resources
from emo.registry import Registry


@dataclass(frozen=True)
class Need:
    """What one step needs of the machine that it runs on. Its functions run there and can be pickled.

    step: the step's name; what: the part of the configuration, for a person; missing: what keeps it from
    running, one line each; resources: of a worker, as that machine sees the model; notes: what a person
    should know.
    """

    step: str
    what: str
    missing: Callable[[], list[str]]
    resources: Callable[[], Resources]
    notes: Callable[[], list[str]] = list


@dataclass(frozen=True)
class Look:
    """What a look at a need found on one machine."""

    missing: list[str]
    resources: Resources
    notes: list[str]


def look(need: Need) -> Look:
    """Look at a need on this machine."""
    if missing := need.missing():
        return Look(missing, Resources(), [])
    return Look([], need.resources(), need.notes())


def check_here(needs: Iterable[Need], tell: Callable[[str], None]) -> None:
    """Raise InputError with everything that this machine lacks, before anything starts."""
    faults: list[str] = []
    for need in needs:
        found = look(need)
        faults += [f"{need.what}: {line}" for line in found.missing]
        for line in found.notes:
            tell(f"{need.what}: {line}")
    if faults:
        raise InputError("; ".join(faults))


def of_kind(
    registry: Registry[Any],
    step: str,
    what: str,
    settings: Any,
    notes: Callable[[], list[str]] = list,
) -> list[Need]:
    """The needs of a step whose worker holds an expert or an extractor of these settings.

    There are none where nothing can be missing. A class from outside emo may be missing itself, so it is
    looked up by its name on the machine that is asked.
    """
    kind = settings.kind
    # As plain values: the class of the settings may not be there where they arrive.
    entry = settings.model_dump()
    method, of_protocol = registry.named(kind).missing, registry.protocol.missing  # type: ignore[attr-defined]
    if kind in registry.own and getattr(method, "__func__", method) is of_protocol.__func__:
        return []
    return [Need(step, what, partial(_missing, registry, entry), partial(_held, registry, entry), notes)]


def _missing(registry: Registry[Any], entry: Mapping[str, Any]) -> list[str]:
    try:
        cls: Any = registry.named(entry["kind"])
    except InputError as error:
        return [str(error)]
    found: list[str] = cls.missing(registry.settings(entry))
    return found


def _held(registry: Registry[Any], entry: Mapping[str, Any]) -> Resources:
    cls: Any = registry.named(entry["kind"])
    held: Resources = cls.resources(registry.settings(entry))
    return held
