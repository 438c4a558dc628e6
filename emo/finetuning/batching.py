"""Which samples make a step, and how the workers share them.

A step is a set of samples that does not depend on the number of workers, and its loss is the mean over all of
its trained tokens: a run that goes on with another number of workers goes on with the same steps.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Cursor:
    """How far a run is: `step` steps are done, `epoch` is on, and of it `consumed` samples are used."""

    step: int = 0
    epoch: int = 0
    consumed: int = 0

    def as_dict(self) -> dict[str, int]:
        """For the checkpoint."""
        return asdict(self)


@dataclass(frozen=True)
class StepPlan:
    """One optimizer step: places of its samples in the list of all, and the cursor once it is done."""

    samples: tuple[int, ...]
    after: Cursor


def order(count: int, seed: int, epoch: int) -> list[int]:
    """The order of the samples in one epoch: a permutation that seed and epoch decide."""
    digest = hashlib.sha256(f"{seed}/{epoch}".encode()).digest()
    places = list(range(count))
    random.Random(int.from_bytes(digest[:8], "big")).shuffle(places)
    return places


def steps_in(count: int, batch: int, epochs: int, max_steps: int | None) -> int:
    """How many steps a run has; the last step of an epoch may be smaller, no sample is left out."""
    steps = epochs * -(-count // batch)
    return steps if max_steps is None else min(steps, max_steps)


def steps(
    count: int, batch: int, epochs: int, seed: int, max_steps: int | None, start: Cursor
) -> Iterator[StepPlan]:
    """The steps that are left after `start`."""
    cursor = start
    last = steps_in(count, batch, epochs, max_steps)
    while cursor.step < last:
        places = order(count, seed, cursor.epoch)
        while cursor.consumed < count and cursor.step < last:
            chosen = tuple(places[cursor.consumed : cursor.consumed + batch])
            cursor = Cursor(cursor.step + 1, cursor.epoch, cursor.consumed + len(chosen))
            if cursor.consumed == count:
                cursor = Cursor(cursor.step, cursor.epoch + 1, 0)
            yield StepPlan(chosen, cursor)
            if cursor.consumed == 0:
                break


def micro_batches(
    samples: Sequence[int], lengths: Sequence[int], workers: int, budget: int
) -> list[list[list[int]]]:
    """The samples of a step for each worker as batches of at most `budget` tokens, padding counted.

    lengths: tokens of every sample of the run, by its place. All workers get the same number of batches, an
    empty one where there are too few samples; a sample longer than the budget goes alone. Samples of like
    lengths go together, and the longest batches go to different workers.
    """
    ordered = sorted(samples, key=lambda place: (-lengths[place], place))
    batches: list[list[int]] = []
    for place in ordered:
        # Sorted from the longest: the first of a batch decides its width.
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= budget:
            batches[-1].append(place)
        else:
            batches.append([place])
    # More batches than the budget asks for where that lets every worker have as many as the others.
    while len(batches) % workers and any(len(batch) > 1 for batch in batches):
        widest = max(range(len(batches)), key=lambda number: len(batches[number]))
        batch = batches.pop(widest)
        half = len(batch) // 2
        batches += [batch[:half], batch[half:]]
    batches += [[] for _ in range(-len(batches) % workers)]
    batches.sort(key=lambda batch: -len(batch) * (lengths[batch[0]] if batch else 0))
    return [batches[rank::workers] for rank in range(workers)]


def fingerprint(parts: Sequence[Any]) -> str:
    """A hash of what a run is trained on; the order of the parts does not matter."""
    digest = hashlib.sha256()
    for text in sorted(repr(part) for part in parts):
        digest.update(f"{len(text)}:{text}".encode())
    return digest.hexdigest()[:16]
