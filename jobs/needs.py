"""What the steps of a run need where they run: asked on the machine that does the work, before it starts.

A setting is sound or not on any machine; whether a model can run is a matter of the node. A run that starts
Ray on this machine asks here, before anything starts. A run that joins a cluster asks the nodes, one task per
step with the step's own resources, because the machine that sends it may have no GPU and no model folder.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from emo.config import GrowsTo
from emo.errors import InputError
from emo.experts.protocol import Resources
from jobs import nodes


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
class _Look:
    missing: list[str]
    resources: Resources
    notes: list[str]


def _look(need: Need) -> _Look:
    missing = need.missing()
    return _Look(missing, need.resources(), [] if missing else need.notes())


class _LookAt:
    """A look at one need, as it travels to a node."""

    def __init__(self, need: Need) -> None:
        self._need = need

    def __call__(self) -> _Look:
        return _look(self._need)


def check_here(needs: Iterable[Need], tell: Callable[[str], None]) -> None:
    """Raise InputError with everything that this machine lacks, before anything starts."""
    faults: list[str] = []
    for need in needs:
        look = _look(need)
        faults += [f"{need.what}: {line}" for line in look.missing]
        for line in look.notes:
            tell(f"{need.what}: {line}")
    if faults:
        raise InputError("; ".join(faults))


def check_on_nodes(
    needs: Sequence[Need],
    tell: Callable[[str], None],
    check: Callable[[], None],
    grows_to: GrowsTo | None = None,
) -> dict[str, Resources]:
    """Ask a node for every need, all at once; what a worker of each step takes there.

    Raises InputError with everything that is missing, each line with the node's name. tell: says what is
    waited for; check: called every second, raises to end the wait; grows_to: the most that the cluster may
    become.
    """
    if beyond := [line for need in needs if (line := nodes.beyond(need.what, need.resources(), grows_to))]:
        raise InputError("; ".join(beyond))
    questions = [nodes.Question(need.what, need.resources(), _LookAt(need)) for need in needs]
    faults: list[str] = []
    found: dict[str, Resources] = {}
    for need, reply in zip(needs, nodes.ask(questions, tell, check, grows_to is not None), strict=True):
        if isinstance(reply, str):
            faults.append(reply)
            continue
        faults += [f"{need.what}: on node {reply.node}: {line}" for line in reply.answer.missing]
        found[need.step] = reply.answer.resources
        for line in reply.answer.notes:
            tell(f"{need.what}: on node {reply.node}: {line}")
    if faults:
        raise InputError("; ".join(faults))
    return found


def overridden(method: Any, of_protocol: Any) -> bool:
    """Whether a class gives a class method of its protocol a body of its own."""
    return getattr(method, "__func__", method) is not of_protocol.__func__
