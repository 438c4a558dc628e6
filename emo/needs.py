"""What the steps of a run need where they run: asked on the machine that does the work, before it starts.

A setting is sound or not on any machine; whether a model can run is a matter of the node. A run that starts
Ray on this machine asks here, before anything starts. A run that joins a cluster asks the nodes, one task per
step with the step's own resources, because the machine that sends it may have no GPU and no model folder.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from emo.errors import InputError
from emo.experts.protocol import Resources


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
    missing = need.missing()
    return Look(missing, need.resources(), [] if missing else need.notes())


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


def overridden(method: Any, of_protocol: Any) -> bool:
    """Whether a class gives a class method of its protocol a body of its own."""
    return getattr(method, "__func__", method) is not of_protocol.__func__
