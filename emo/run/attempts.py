"""How often each shard was started, counted in a process of its own.

This file imports nothing but the standard library: the process that counts is on the way of every command.
"""

import functools
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Protocol

# A shard is started at most this often, and then again each of its rows: the engine itself would restart a
# worker and repeat its task for ever (batch pools default to unlimited restarts).
ATTEMPTS = 2


@functools.cache
def attempts_of_connection() -> Any:
    """One for all passes of a connection, because a process takes seconds to start.

    Held until the connection ends: between two passes nobody else would, and Ray then ends it.
    """
    import ray

    lasting = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Attempts)
    return lasting.options(name="emo attempts", get_if_exists=True).remote()


class Watch(Protocol):
    """What a worker tells of itself while it works."""

    def arrive(self, of_pass: str) -> None:
        """It has started."""

    def load(self, of_pass: str) -> None:
        """It is ready for rows."""

    def start(self, of_pass: str, shard: str) -> bool:
        """Whether it is to do the shard."""

    def finish(self, of_pass: str, shard: str) -> None:
        """It is done with the shard."""


@dataclass(frozen=True)
class ByActor:
    """Tells a process of Ray that counts."""

    attempts: Any

    def arrive(self, of_pass: str) -> None:
        import ray

        # A worker that is started again keeps its id. One that shares its process has the process's.
        here = ray.get_runtime_context()
        self.attempts.arrive.remote(of_pass, here.get_actor_id() or here.get_worker_id())

    def load(self, of_pass: str) -> None:
        self.attempts.load.remote(of_pass)

    def start(self, of_pass: str, shard: str) -> bool:
        import ray

        go: bool = ray.get(self.attempts.start.remote(of_pass, shard))
        return go

    def finish(self, of_pass: str, shard: str) -> None:
        import ray

        ray.get(self.attempts.finish.remote(of_pass, shard))


class Unwatched:
    """Tells nobody: whoever gave out the shard counts."""

    def arrive(self, of_pass: str) -> None: ...

    def load(self, of_pass: str) -> None: ...

    def start(self, of_pass: str, shard: str) -> bool:
        return True

    def finish(self, of_pass: str, shard: str) -> None: ...


class Attempts:
    """Counts how often a shard of a pass was started, outside of the workers that may die of it."""

    def __init__(self) -> None:
        self._passes: defaultdict[str, _Shards] = defaultdict(_Shards)

    def start(self, of_pass: str, shard: str) -> bool:
        """Whether to do the shard: not once it was started too often, nor after the end."""
        shards = self._passes[of_pass]
        shards.started[shard] += 1
        go = not shards.ended and shards.started[shard] <= ATTEMPTS
        # A shard whose worker died comes here again, so one that ends nowhere else ends here.
        (shards.under_way.add if go else shards.under_way.discard)(shard)
        return go

    def arrive(self, of_pass: str, worker: str) -> None:
        self._passes[of_pass].workers.add(worker)

    def load(self, of_pass: str) -> None:
        self._passes[of_pass].loaded += 1

    def workers(self, of_pass: str) -> tuple[int, int]:
        """How many workers have started, and how many of them are ready for rows."""
        return len(self._passes[of_pass].workers), self._passes[of_pass].loaded

    def finish(self, of_pass: str, shard: str) -> None:
        self._passes[of_pass].under_way.discard(shard)
        self._passes[of_pass].finished.add(shard)

    def end(self, of_pass: str) -> tuple[int, int]:
        """From now on no shard is started; how many are under way, and how many have been finished."""
        shards = self._passes[of_pass]
        shards.ended = True
        return len(shards.under_way), len(shards.finished)

    def close(self, of_pass: str) -> None:
        """Keep nothing of a pass but that it is over, for workers that are still there."""
        self._passes[of_pass] = _Shards(ended=True)


@dataclass
class _Shards:
    started: Counter[str] = field(default_factory=Counter)
    under_way: set[str] = field(default_factory=set)
    finished: set[str] = field(default_factory=set)
    ended: bool = False
    workers: set[str] = field(default_factory=set)
    loaded: int = 0
