"""The nodes of the Ray cluster: what they hold, whether more can come, and asking one of them something."""

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from emo.errors import EmoError
from emo.experts.protocol import Resources
from emo.run.settings import GrowsTo
from emo.terminal.progress import duration

Answer = TypeVar("Answer")

GIB = 1024**3
LOOK_S = 1.0
# Ray needs some seconds to start a process. Who waits this long waits for a place or for a node.
TELL_AFTER_S = 15.0
# As Ray calls one that is started for a program alone.
LOCAL = "local"
TELL_EVERY_S = 300.0
# For so long the autoscaler must call a demand hopeless. It looks every few seconds.
HOPELESS_S = 8.0


def joined(address: str | None) -> bool:
    """Whether a run of this configuration joins a cluster, rather than starting one on this machine."""
    return cluster_address(address) not in (None, LOCAL)


def cluster_address(address: str | None) -> str | None:
    """Where the Ray of a run of this configuration is; None: on this machine, if it is needed at all."""
    return address or os.environ.get("RAY_ADDRESS") or None


def alive() -> list[Mapping[str, float]]:
    """What each node of the cluster has."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def needed(resources: Resources, nodes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What a worker holds on these nodes: CPU, GPU, and memory in bytes.

    CPUs are counted for preparing inputs beside the model. With fewer the work is slower and not impossible,
    so a worker takes as many as the largest node has that fits it otherwise. Where no node fits, it asks for
    all.
    """
    held = {"GPU": resources.gpus, "memory": resources.memory_gib * GIB}
    fitting = [
        node.get("CPU", 0.0)
        for node in nodes
        if all(node.get(name, 0.0) >= amount for name, amount in held.items())
    ]
    most = max(fitting, default=0.0)
    return {"CPU": min(resources.cpus, most) if most else resources.cpus, **held}


def options(held: Mapping[str, float]) -> dict[str, float]:
    """What Ray is told of a task or worker that holds this."""
    memory = {"memory": held["memory"]} if held["memory"] else {}
    return {"num_cpus": held["CPU"], "num_gpus": held["GPU"], **memory}


def in_words(held: Mapping[str, float]) -> str:
    """What a worker needs, for a person."""
    words = f"{held['CPU']:g} CPUs and {held['GPU']:g} GPUs"
    return f"{words} and {held['memory'] / GIB:.1f} GiB of memory" if held["memory"] else words


def fits(held: Mapping[str, float], nodes: Sequence[Mapping[str, float]]) -> bool:
    """Whether one of the nodes holds it, when nothing else runs there."""
    asked = {name: amount for name, amount in held.items() if amount > 0}
    return any(all(node.get(name, 0.0) >= amount for name, amount in asked.items()) for node in nodes)


def bound(grows_to: GrowsTo) -> Mapping[str, float]:
    """What the cluster may become, as one node: the shapes of its nodes only the autoscaler knows."""
    return {"CPU": float(grows_to.cpus), "GPU": float(grows_to.gpus), "memory": float("inf")}


def beyond(what: str, resources: Resources, grows_to: GrowsTo | None) -> str | None:
    """That a worker needs more than the cluster may become, for a person; None where it does not."""
    if grows_to is None:
        return None
    most = bound(grows_to)
    held = needed(resources, [most])
    if fits(held, [most]):
        return None
    return (
        f"{what}: a worker needs {in_words(held)}; ray.grows_to allows {grows_to.cpus} CPUs and "
        f"{grows_to.gpus} GPUs"
    )


@dataclass(frozen=True)
class Autoscaler:
    """What the cluster's autoscaler reported last.

    hopeless: the demands that no node that it may add would meet.
    """

    hopeless: tuple[Mapping[str, float], ...] = ()

    def gives_up(self, held: Mapping[str, float]) -> bool:
        """Whether it can add no node for a worker that holds this."""
        asked = {name: amount for name, amount in held.items() if amount > 0}
        return any(
            all(
                abs(demand.get(name, 0.0) - amount) < 1e-6 * max(amount, 1.0)
                for name, amount in asked.items()
            )
            for demand in self.hopeless
        )


def autoscaler() -> Autoscaler | None:
    """The autoscaler of the cluster; None where nobody adds nodes to it."""
    import ray
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply

    reply = GetClusterStatusReply()
    try:
        address = ray.get_runtime_context().gcs_address
        reply.ParseFromString(GcsClient(address).get_cluster_status(timeout_s=10))
    except ray.exceptions.RpcError:
        return None
    state = reply.autoscaling_state
    if not state.autoscaler_state_version:
        return None
    demands = tuple(dict(one.resources_bundle) for one in state.infeasible_resource_requests)
    return Autoscaler(demands)


@dataclass(frozen=True)
class Question(Generic[Answer]):
    """Something that a node is asked.

    what: names it for a person, such as `expert internvl`; resources: of the
    node that answers; ask: runs there; it must be possible to pickle it.
    """

    what: str
    resources: Resources
    ask: Callable[[], Answer]


@dataclass(frozen=True)
class Reply(Generic[Answer]):
    """What a node answered, and its name. held: what the question held there."""

    node: str
    answer: Answer
    held: Mapping[str, float]


def ask(
    questions: Sequence[Question[Answer]],
    tell: Callable[[str], None],
    check: Callable[[], None],
    joining: bool = False,
) -> list[Reply[Answer] | str]:
    """Ask all questions at once, each on a node that has the resources for it; aligned with `questions`.

    A question that no node can ever be asked gives a line that says why. tell: says what is waited for;
    check: called every second, raises to end the wait; joining: nodes may come without an autoscaler. Where
    one is there, the demand brings nodes.
    """
    import ray

    waiting = {place: _Waiting(question) for place, question in enumerate(questions)}
    replies: dict[int, Reply[Answer] | str] = {}
    began, told = time.monotonic(), time.monotonic() - TELL_EVERY_S + TELL_AFTER_S
    try:
        for one in waiting.values():
            one.submit()
        while waiting:
            check()
            by_reference = {one.reference: place for place, one in waiting.items()}
            for reference in ray.wait(list(by_reference), num_returns=len(waiting), timeout=LOOK_S)[0]:
                place = by_reference[reference]
                replies[place] = waiting.pop(place).reply()
            nodes, scaler = alive(), autoscaler()
            for place, one in list(waiting.items()):
                if line := one.never(nodes, scaler, joining):
                    replies[place] = line
                    waiting.pop(place).cancel()
            if waiting and time.monotonic() - told >= TELL_EVERY_S:
                told = time.monotonic()
                tell(_wait_line(list(waiting.values()), nodes, scaler, told - began))
    finally:
        for one in waiting.values():
            one.cancel()
    return [replies[place] for place in range(len(questions))]


class _Waiting(Generic[Answer]):
    """A question that was not answered yet."""

    def __init__(self, question: Question[Answer]) -> None:
        self.question = question
        self.held: dict[str, float] = {}
        self.reference: Any = None
        self._given_up: float | None = None

    def submit(self, cpus: float | None = None) -> None:
        """Send it; cpus: with fewer than the question asks for."""
        import ray

        self.held = needed(self.question.resources, alive())
        if cpus is not None:
            self.held["CPU"] = cpus
        asked = ray.remote(max_retries=3, **options(self.held))(_here)
        self.reference = asked.options(name=f"emo asks for {self.question.what}").remote(self.question.ask)
        self._given_up = None

    def reply(self) -> Reply[Answer] | str:
        """What came back; a line where nothing did."""
        import ray

        try:
            node, answer = ray.get(self.reference)
        except ray.exceptions.RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return f"{self.question.what}: could not be asked for: {lines[-1] if lines else error}"
        return Reply(node, answer, self.held)

    def never(
        self, nodes: Sequence[Mapping[str, float]], scaler: Autoscaler | None, joining: bool
    ) -> str | None:
        """Why no node can ever be asked; None where one may."""
        if fits(self.held, nodes):
            self._given_up = None
            return None
        if scaler is None and joining:
            return None
        if scaler is not None:
            if not scaler.gives_up(self.held):
                self._given_up = None
                return None
            now = time.monotonic()
            self._given_up = self._given_up or now
            if now - self._given_up < HOPELESS_S:
                return None
            if self.held["CPU"] > 1:
                # With one CPU the work is slower and not impossible.
                self.cancel()
                self.submit(cpus=1.0)
                return None
        return f"{self.question.what}: {no_place(self.held, nodes, scaler)}"

    def cancel(self) -> None:
        """Withdraw it."""
        import ray

        ray.cancel(self.reference, force=True)


def _here(question: Callable[[], Answer]) -> tuple[str, Answer]:
    """Runs on the node that is asked."""
    return socket.gethostname(), question()


def no_place(
    held: Mapping[str, float], nodes: Sequence[Mapping[str, float]], scaler: Autoscaler | None
) -> str:
    """That no node has what a worker needs, for a person."""
    total = {name: sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU")}
    has = f"the cluster has {total['CPU']:g} CPUs and {total['GPU']:g} GPUs on {len(nodes)} nodes"
    grows = "; its autoscaler can add no node that has them" if scaler else ""
    return f"a worker needs {in_words(held)} on one node; {has}{grows}"


def _wait_line(
    waiting: Sequence[_Waiting[Any]],
    nodes: Sequence[Mapping[str, float]],
    scaler: Autoscaler | None,
    seconds: float,
) -> str:
    wanted = "; ".join(
        f"{one.question.what} needs {in_words(one.held)} on one node"
        f"{'' if fits(one.held, nodes) else ', which no node has yet'}"
        for one in waiting
    )
    whom = "the autoscaler to add nodes" if scaler else "a place in the cluster"
    return f"waiting {duration(seconds)} for {whom}: {wanted}"


def await_node(
    what: str,
    resources: Resources,
    tell: Callable[[str], None],
    check: Callable[[], None],
    joining: bool = False,
) -> Mapping[str, float]:
    """Wait until a node can hold a worker, and bring one where an autoscaler is there; what it holds there.

    joining: as of `ask`.

    Raises EmoError where no node ever can.
    """
    [reply] = ask([Question(what, resources, _nothing)], tell, check, joining)
    if isinstance(reply, str):
        raise EmoError(reply)
    return reply.held


def _nothing() -> None:
    """A question whose only point is that a node can be asked."""
