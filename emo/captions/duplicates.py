"""Near-duplicates among texts, found exactly: no pair above the threshold is missed.

Two sets whose Jaccard similarity is t or more share at least t |x| elements of either set x; so, all sets
being sorted the same way, they share one of the first |x| - ceil(t |x|) + 1 of both. Sorted by rarity, few
other sets share one of these (prefix filtering: Chaudhuri, Ganti and Kaushik 2006; Bayardo, Ma and Srikant
2007).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TypeVar

_RUN = 3

Run = TypeVar("Run")


def runs(words: Sequence[str]) -> frozenset[tuple[str, ...]]:
    """The runs of three words of a text; a shorter text is one run."""
    if len(words) < _RUN:
        return frozenset([tuple(words)])
    return frozenset(tuple(words[start : start + _RUN]) for start in range(len(words) - _RUN + 1))


def similarity(one: frozenset[Run], other: frozenset[Run]) -> float:
    """The Jaccard similarity of two sets that are not both empty."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def near_duplicates(texts: Sequence[Sequence[str]], threshold: float) -> list[int]:
    """The places of the texts (each as its words) that are near-duplicates of an earlier one that stays.

    What stays has no pair of this Jaccard similarity (of runs of three words) or more.
    """
    # A number per run: tuples of text are hashed anew at every look-up, which takes most of the time.
    numbers: dict[tuple[str, ...], int] = {}
    sets = [frozenset(numbers.setdefault(run, len(numbers)) for run in runs(words)) for words in texts]
    frequency = Counter(run for each in sets for run in each)
    kept_with: dict[int, list[int]] = defaultdict(list)
    dropped = []
    for place, each in enumerate(sets):
        ordered = sorted(each, key=lambda run: (frequency[run], run))
        # Less a little, because 0.1 * 30 is above 3 in floating point, and a short prefix would miss a pair.
        shared = math.ceil(threshold * len(ordered) - 1e-9)
        prefix = ordered[: len(ordered) - shared + 1]
        earlier = {other for run in prefix for other in kept_with[run]}
        if any(similarity(each, sets[other]) >= threshold for other in earlier):
            dropped.append(place)
            continue
        for run in prefix:
            kept_with[run].append(place)
    return dropped
