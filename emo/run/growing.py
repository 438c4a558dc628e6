"""Nodes for a pool that could use more workers than there are.

The engine asks an autoscaler too, but for twice what is there and in one piece: an autoscaler that cannot
give all of it gives nothing. A pool would stop at eight nodes of fifteen.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from emo.run import nodes

LOOK_S = 5.0


@contextmanager
def growing(
    held: Mapping[str, float], workers: Callable[[], Any], more: Callable[[int, float], int]
) -> Iterator[None]:
    """Ask for places beside the block, as many as more workers could use.

    held: what each worker holds; workers: asks, as a Ray reference, how many workers have started; more: is
    told how many those are and how many seconds have gone by since it was told last, and says how many more
    could work. Both are called in a thread.
    """
    over = threading.Event()
    asking = threading.Thread(target=_ask, args=(over, held, workers, more), daemon=True)
    asking.start()
    try:
        yield
    finally:
        over.set()
        # One that still asks Ray when the connection has been closed ends the whole process.
        asking.join()


def _ask(
    over: threading.Event,
    held: Mapping[str, float],
    workers: Callable[[], Any],
    more: Callable[[int, float], int],
) -> None:
    import ray

    # One that finds no place brings a node, and ends there at once.
    place = ray.remote(max_retries=0, **nodes.options(held))(_nothing)
    waiting: list[Any] = []
    before = time.monotonic()
    while not over.wait(LOOK_S):
        # Whoever waits for the results learns what is wrong with the cluster.
        with suppress(ray.exceptions.RayError):
            started, _ = ray.get(workers(), timeout=5)
            now = time.monotonic()
            wanted = max(0, more(started, now - before))
            before = now
            if waiting:
                waiting = ray.wait(waiting, num_returns=len(waiting), timeout=0)[1]
            for one in waiting[wanted:]:
                ray.cancel(one, force=True)
            waiting = waiting[:wanted] + [place.remote() for _ in range(wanted - len(waiting))]
    with suppress(ray.exceptions.RayError):
        for one in waiting:
            ray.cancel(one, force=True)


def _nothing() -> None:
    """That it can run is all that is asked."""
