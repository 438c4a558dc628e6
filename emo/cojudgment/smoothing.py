"""Smoothing: the scores of a clip take a share of those of its neighbours, the turns of its speaker.

s' = (1 - factor) * s + factor * m, for each cluster that a voter of the clip itself gave; m is the mean of
its scores in the neighbours in which a voter gave a label, where a cluster that none gave counts 0. A clip
without such a neighbour stays as it is. No clip gets a label that none of its own voters gave.
"""

import numpy as np

from emo.cojudgment.ballot import Marks


def smoothed(
    marks: Marks, score: np.ndarray, pairs: np.ndarray, speaks: np.ndarray, factor: float
) -> np.ndarray:
    """The scores of the groups of `marks`, smoothed: float64 per group.

    score: float64 per group; pairs: int64 (2, n), clips and a neighbour of each; speaks: bool per clip,
    whether any of its voters gave a label.
    """
    clip, other = pairs[:, speaks[pairs[1]]]
    order = np.lexsort((other, clip))
    clip, other = clip[order], other[order]
    # Every group beside every neighbour of its clip.
    first = np.searchsorted(clip, marks.group_clip, side="left")
    count = np.searchsorted(clip, marks.group_clip, side="right") - first
    group = np.repeat(np.arange(len(score)), count)
    within = np.arange(len(group)) - np.repeat(np.cumsum(count) - count, count)
    wanted = other[np.repeat(first, count) + within] * marks.n_what + marks.group_what[group]
    keys = marks.group_clip * marks.n_what + marks.group_what
    place = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    found = keys[place] == wanted if len(keys) else np.zeros(0, dtype=bool)
    total = np.bincount(group[found], weights=score[place[found]], minlength=len(score))
    mean = np.divide(total, count, out=score.copy(), where=count > 0)
    return np.asarray((1 - factor) * score + factor * mean)
