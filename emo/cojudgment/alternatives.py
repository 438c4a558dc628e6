"""Either/or: a voter that cannot tell two emotions apart gives one vote for one of them, not one for each.

"An angry or excited voice" counts for the alternative that the rest of the clip's voters support. Where
nobody tells them apart, each alternative has its part of the vote.
"""

import numpy as np

from emo.arrays import distinct

_COUNT_BITS = 15
_MOST = 2**_COUNT_BITS - 1


def shares_of_labels(
    number: np.ndarray,
    row: np.ndarray,
    clip_of_row: np.ndarray,
    cluster: np.ndarray,
    family: np.ndarray,
    sign: np.ndarray,
) -> np.ndarray:
    """How much of its voter's mark each label keeps: float64, 1 where it is no alternative, 0 where another
    alternative counts.

    One entry per label. number: labels of one voter and one number above 0 are alternatives, those of 0 are
    meant by themselves; row: the voter; cluster: int64; family: int64, -1 where it is not known; sign: 1
    pleasant, -1 unpleasant, 0 neither. clip_of_row: int64, one entry per voter.

    The alternative counts that most voters meant by itself, of equals the one that more voters named at all,
    then the one whose family more voters named, then the one as pleasant or unpleasant as more voters named.
    One voter more that names an alternative adds to all four at once, so it can only help that one. Those
    that are equal in all four share the mark: each cluster has an equal part.
    """
    share = np.ones(len(number))
    guessed = np.flatnonzero(number > 0)
    if not len(guessed):
        return share
    firm = number == 0
    everything = np.ones(len(number), dtype=bool)
    support = np.zeros(len(guessed), dtype=np.int64)
    for what, meant, known in (
        (cluster, firm, everything),
        (cluster, everything, everything),
        (family, family >= 0, family >= 0),
        (sign, sign != 0, sign != 0),
    ):
        voters = _voters_of(row, clip_of_row, what, meant, guessed)
        support = (support << _COUNT_BITS) + np.where(known[guessed], np.minimum(voters, _MOST), 0)

    _, group = np.unique(row[guessed] * (int(number.max()) + 1) + number[guessed], return_inverse=True)
    most = np.zeros(int(group.max()) + 1, dtype=np.int64)
    np.maximum.at(most, group, support)
    counts = support == most[group]
    width = int(cluster.max()) + 1
    several = distinct(group[counts] * width + cluster[guessed][counts]) // width
    share[guessed] = counts / np.bincount(several, minlength=len(most))[group]
    return share


def _voters_of(
    row: np.ndarray, clip_of_row: np.ndarray, what: np.ndarray, meant: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """How many voters of its clip gave what each label in `wanted` is, in a label of `meant`: int64."""
    low, width = int(what.min()), int(what.max() - what.min()) + 1
    pairs = distinct(row[meant] * width + what[meant] - low)
    if not len(pairs):
        return np.zeros(len(wanted), dtype=np.int64)
    given, voters = np.unique(clip_of_row[pairs // width] * width + pairs % width, return_counts=True)
    asked = clip_of_row[row[wanted]] * width + what[wanted] - low
    place = np.minimum(np.searchsorted(given, asked), len(given) - 1)
    return np.where(given[place] == asked, voters[place], 0)
