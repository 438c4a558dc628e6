"""Which prompts go through the model together."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether memory ran out: torch has a class for it on CUDA, but a CPU and cuBLAS raise a plain error."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return any(sign in str(error) for sign in ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED"))


@dataclass
class Budget:
    """How many tokens fit: `held` in the cache at once, `prefill` in one forward pass over prompts.

    Both count padding: rows times the longest row. They only ever shrink, by halving, when memory runs out.
    """

    held: int
    prefill: int

    def after_prefill_failure(self, tried: int) -> None:
        """A forward pass over `tried` tokens did not fit."""
        self.prefill = max(1, min(self.prefill, tried) // 2)

    def after_cache_failure(self, tried: int) -> None:
        """A cache of `tried` tokens did not fit."""
        self.held = max(1, min(self.held, tried) // 2)


@dataclass(frozen=True)
class Load:
    """What a set of rows takes in the cache: rows, the longest so far, and the most that is still to come."""

    rows: int = 0
    longest: int = 0
    to_come: int = 0

    @property
    def tokens(self) -> int:
        return self.rows * (self.longest + self.to_come)

    def with_rows(self, rows: int, length: int, to_come: int) -> "Load":
        return Load(self.rows + rows, max(self.longest, length), max(self.to_come, to_come))


def next_chunk(candidates: Sequence[tuple[int, int, int]], active: Load, budget: Budget) -> int:
    """How many of the candidates, from the first on, go through the next forward pass over prompts.

    candidates: (prompt length, samples, answer limit) of each, in order; active: what the cache holds.
    The first one always goes when the cache is empty: whether a single row fits, only the device knows.
    """
    load, longest, taken = active, 0, 0
    for length, samples, limit in candidates:
        load = load.with_rows(samples, length, limit)
        longest = max(longest, length)
        alone = active.rows == 0 and taken == 0
        if not alone and (load.tokens > budget.held or (taken and (taken + 1) * longest > budget.prefill)):
            break
        taken += 1
    return taken
