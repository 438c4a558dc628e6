"""What a person is told while a pass has no result yet: that no worker has started, or what they load."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from emo.run import nodes
from emo.terminal.progress import Progress, duration

LOOK_S = 1.0
# Ray needs some seconds to start a process; who waits this long waits for a place in the cluster.
NO_WORKER_S = 30.0


@contextmanager
def told(
    progress: Progress, what: str, held: Mapping[str, float], workers: Callable[[], Any]
) -> Iterator[threading.Event]:
    """Watch a pass beside the block that waits for its results; it sets the event with the first one.

    what: that is loaded; held: what each worker holds; workers: asks, as a Ray reference, how many workers
    have started and how many of them have loaded.
    """
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(over, progress, what, held, workers), daemon=True)
    watcher.start()
    try:
        yield over
    finally:
        over.set()
        # One that still asks Ray when the connection has been closed ends the whole process.
        watcher.join()


def _watch(
    over: threading.Event,
    progress: Progress,
    what: str,
    held: Mapping[str, float],
    workers: Callable[[], Any],
) -> None:
    import ray

    began = time.monotonic()
    first_seen: float | None = None
    ready = said = False
    while not over.wait(LOOK_S):
        now = time.monotonic()
        try:
            started, loaded = ray.get(workers(), timeout=5)
            if over.is_set():
                return
            if started and first_seen is None:
                first_seen = now
            ready = ready or loaded > 0
            if first_seen is not None:
                waited = duration(now - first_seen)
                progress.doing("first rows are under way" if ready else f"loading {what} for {waited}")
            elif not said and now - began >= NO_WORKER_S:
                progress.note(_no_worker(now - began, held))
                said = True
        except ray.exceptions.RayError:
            # Whoever waits for the results learns what is wrong with the cluster.
            continue


def _no_worker(seconds: float, held: Mapping[str, float]) -> str:
    import ray

    there, free = ray.cluster_resources(), ray.available_resources()
    left = ", ".join(f"{free.get(kind, 0):g} of {there.get(kind, 0):g} {kind}s" for kind in ("CPU", "GPU"))
    return (
        f"no worker has started in {duration(seconds)}: each needs {nodes.in_words(held)} on one node, "
        f"free in the cluster are {left}; waiting for a place"
    )
