"""Which samples make a step, and how the workers share them.

A step is a list of samples that does not depend on the number of workers, and its loss is the mean over all
of its trained tokens: a run that goes on with another number of workers goes on with the same steps.
"""

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
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
    return _shuffled(range(count), f"{seed}/{epoch}")


def _shuffled(places: Iterable[int], key: str) -> list[int]:
    digest = hashlib.sha256(key.encode()).digest()
    shuffled = list(places)
    random.Random(int.from_bytes(digest[:8], "big")).shuffle(shuffled)
    return shuffled


def _groups(weights: Sequence[float]) -> dict[float, list[int]]:
    """The places of the samples of each weight."""
    found: dict[float, list[int]] = {}
    for place, weight in enumerate(weights):
        found.setdefault(float(weight), []).append(place)
    return found


def _share(weight: float, places: Sequence[int]) -> int:
    """How many samples of a group an epoch has, at least one."""
    return max(1, round(weight * len(places)))


def epoch_size(weights: Sequence[float]) -> int:
    """How many samples an epoch has; weights: how often it uses each sample, on the mean."""
    return sum(_share(weight, places) for weight, places in _groups(weights).items())


class _Epochs:
    """Which samples each epoch has, in which order.

    Samples of one weight are gone through again and again, each time in a new order, and an epoch takes the
    next ones: none is used a third time before each is used twice, whatever the weight.
    """

    def __init__(self, count: int, seed: int, weights: Sequence[float]) -> None:
        self._seed = seed
        self._groups = _groups(weights) if len(weights) else {1.0: list(range(count))}

    def places(self, epoch: int) -> list[int]:
        """The samples of one epoch."""
        chosen: list[int] = []
        for weight, places in sorted(self._groups.items()):
            size = _share(weight, places)
            first, last = epoch * size, (epoch + 1) * size
            for number in range(first // len(places), -(-last // len(places))):
                start = number * len(places)
                part = slice(max(first - start, 0), min(last - start, len(places)))
                whole = part == slice(0, len(places))
                passed = places if whole else _shuffled(places, f"{self._seed}/{weight}/pass {number}")
                chosen += passed[part]
        return [chosen[place] for place in order(len(chosen), self._seed, epoch)]


def steps_in(count: int, batch: int, epochs: int, max_steps: int | None) -> int:
    """How many steps a run has; the last step of an epoch may be smaller, no sample is left out."""
    steps = epochs * -(-count // batch)
    return steps if max_steps is None else min(steps, max_steps)


def steps(
    count: int,
    batch: int,
    epochs: int,
    seed: int,
    max_steps: int | None,
    start: Cursor,
    weights: Sequence[float] = (),
) -> Iterator[StepPlan]:
    """The steps that are left after `start`.

    count: of all samples; weights: how often an epoch uses each, on the mean; () for once.
    """
    cursor = start
    planned = _Epochs(count, seed, weights)
    count = epoch_size(weights) if len(weights) else count
    last = steps_in(count, batch, epochs, max_steps)
    while cursor.step < last:
        places = planned.places(cursor.epoch)
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


def fingerprint(parts: Iterable[Any]) -> str:
    """A hash of what a run is trained on; the order of the parts does not matter."""
    digest = hashlib.sha256()
    for text in sorted(repr(part) for part in parts):
        digest.update(f"{len(text)}:{text}".encode())
    return digest.hexdigest()[:16]
