"""How the workers of a training tell the command what they do, and why all of them have to stop."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from emo.errors import EmoError
from emo.finetuning.live import Live

_LOOK_EVERY_S = 0.5


class Monitor:
    """Where workers leave their records for the command, and why all of them have to stop."""

    def __init__(self) -> None:
        self._records: list[dict[str, Any]] = []
        self._reason: str | None = None

    def add(self, record: dict[str, Any]) -> None:
        self._records.append(record)

    def take(self) -> list[dict[str, Any]]:
        taken, self._records = self._records, []
        return taken

    def stop(self, reason: str) -> None:
        self._reason = self._reason or reason

    def stopped(self) -> str | None:
        return self._reason


@contextmanager
def started_monitor() -> Iterator[Any]:
    """The handle of a Monitor, on the node of the command, where it cannot be lost without the command.

    Where its process dies all the same it starts again, and with it the calls that it did not answer. It ends
    with the context: a Python program may stay connected to the cluster for many trainings.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
    monitor = ray.remote(Monitor).options(**options).remote()
    try:
        yield monitor
    finally:
        # Where the cluster is gone, so is the monitor.
        with suppress(ray.exceptions.RayError):
            ray.kill(monitor)


def reason_to_stop(monitor: Any) -> str | None:
    """Why all workers have to stop; None where nobody said so, or the monitor is gone with what it knew."""
    import ray

    with suppress(ray.exceptions.RayActorError):
        found: str | None = ray.get(monitor.stopped.remote())
        return found
    return None


@contextmanager
def watched(monitor: Any, live: Live, go_on: Callable[[], None]) -> Iterator[None]:
    """Show the records of a monitor as they come; where `go_on` raises EmoError, all workers stop for it."""
    import ray

    ended = threading.Event()

    def watch() -> None:
        while True:
            last = ended.wait(_LOOK_EVERY_S)
            with suppress(ray.exceptions.RayError):
                for record in ray.get(monitor.take.remote()):
                    live.add(record)
                try:
                    go_on()
                except EmoError as error:
                    ray.get(monitor.stop.remote(str(error)))
            if last:
                return

    thread = threading.Thread(target=watch, name="emo-finetune-live", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def telling_line(error: BaseException) -> str:
    """The last line that says something; Ray's errors carry whole tracebacks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line and not line.startswith(("File ", "raise "))]
    return (telling or lines or [type(error).__name__])[-1]
