"""Asking the nodes of a cluster whether they can run what a run needs, before its first pass."""

from collections.abc import Callable, Sequence
from functools import partial

from emo.errors import InputError
from emo.experts.protocol import Resources
from emo.needs import Need, check_here, look
from emo.run import nodes
from emo.run.settings import GrowsTo


def check_before(address: str | None, needs: Sequence[Need], tell: Callable[[str], None]) -> list[Need]:
    """Ask this machine, before anything starts, where a run starts Ray here; what is left to ask of nodes.

    address: of the cluster, as configured. Raises InputError with everything that this machine lacks.
    """
    if nodes.joined(address):
        return list(needs)
    check_here(needs, tell)
    return []


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
    questions = [nodes.Question(need.what, need.resources(), partial(look, need)) for need in needs]
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
