"""Inputs prepared on the CPU ahead of the device."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch

from emo.aligned import row_failure
from emo.errors import RowError

Task = TypeVar("Task")
Ready = TypeVar("Ready")


class Feed(Generic[Task, Ready]):
    """Runs `prepare` over tasks in order, in threads, at most `ahead` of them before they are taken.

    Decoding and scaling pictures leaves the interpreter lock, so threads are enough, and the tensors need
    no copy between processes. waited_s: how long the taker stood still because nothing was ready.
    """

    def __init__(
        self, prepare: Callable[[Task], Ready], tasks: Iterable[Task], workers: int, ahead: int = 64
    ) -> None:
        self._prepare = prepare
        self._waiting: deque[Task] = deque(tasks)
        self._pending: deque[tuple[Task, Future[Ready | RowError]]] = deque()
        self._threads = ThreadPoolExecutor(workers, "emo-prepare", _one_thread_per_operation)
        self._ahead = ahead
        self.waited_s = 0.0
        self._refill()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._pending)

    def ready(self) -> int:
        """How many tasks can be taken, in order, without waiting."""
        count = 0
        for _, future in self._pending:
            if not future.done():
                break
            count += 1
        return count

    def peek(self, place: int) -> tuple[Task, Ready | RowError] | None:
        """The task at `place` with what was prepared for it, waiting for it; None past the look-ahead."""
        if place >= len(self._pending):
            return None
        task, future = self._pending[place]
        started = time.perf_counter()
        result = future.result()
        self.waited_s += time.perf_counter() - started
        return task, result

    def drop(self, place: int) -> None:
        """Take the task at `place` out; what comes next is prepared in its stead."""
        del self._pending[place]
        self._refill()

    def put_back(self, tasks: Iterable[Task]) -> None:
        """Give tasks back to be prepared again, before all others."""
        for task in tasks:
            self._pending.appendleft((task, self._threads.submit(self._attempt, task)))

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _refill(self) -> None:
        while self._waiting and len(self._pending) < self._ahead:
            task = self._waiting.popleft()
            self._pending.append((task, self._threads.submit(self._attempt, task)))

    def _attempt(self, task: Task) -> Ready | RowError:
        try:
            return self._prepare(task)
        except BaseException as error:  # one odd row must not end the rows beside it
            return row_failure(error, "not_prepared")


def _one_thread_per_operation() -> None:
    # The setting belongs to the calling thread. Without it every worker starts a pool of its own for each
    # small operation, and they fight with the model for the cores.
    torch.set_num_threads(1)
