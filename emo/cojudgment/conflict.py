"""How far what is seen, heard and said of a clip are apart: a flag for people, never a label.

Dubbing, a wrong subtitle and sarcasm show so: the experts that see only, hear only and read only do not see,
hear and read the same. An expert that takes several senses says nothing here, nor one whose text the words
were merged into.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# The bits of a voter's senses; whole frames, or the faces that were cut out of them, are one sense.
_BITS = {"frames": 1, "faces": 1, "audio": 2, "transcript": 4}
_SAID = _BITS["transcript"]
_UNKNOWN = 8
_SENSES = (1, 2, 4)

# How far two labels are apart: the same cluster, the same family, opposite in valence, anything else.
_SAME, _RELATED, _OPPOSITE, _OTHER = 0.0, 0.25, 1.0, 0.5


def senses_of_voters(
    place: np.ndarray, descriptions: pa.Table | None, from_transcript: np.ndarray
) -> np.ndarray:
    """The one sense that each voter rests on: 1 seen, 2 heard, 4 said, 0 several of them or not known; int64.

    place: the row of `descriptions` that the voter wrote, -1 where there is none; from_transcript: bool per
    voter, whether the words were read. What an expert wanted and did not get is none of its senses.
    """
    if descriptions is None or "modalities" not in descriptions.schema.names:
        return np.zeros(len(place), dtype=np.int64)
    bits = _bits(descriptions["modalities"])
    if "degraded" in descriptions.schema.names:
        bits &= ~_bits(descriptions["degraded"])
    of_voter = np.where(place >= 0, bits[place] if len(bits) else 0, 0)
    of_voter |= np.where(from_transcript & (of_voter > 0), _SAID, 0)
    return np.where(np.isin(of_voter, _SENSES), of_voter, 0)


def _bits(modalities: pa.ChunkedArray) -> np.ndarray:
    """The senses of each list of names together: int64; null is none."""
    lists = modalities.combine_chunks()
    found = np.zeros(len(lists), dtype=np.int64)
    names = pc.list_flatten(lists).to_pylist()
    bits = np.array([_BITS.get(name, _UNKNOWN) for name in names], dtype=np.int64)
    np.bitwise_or.at(found, pc.list_parent_indices(lists).to_numpy(), bits)
    return found


def conflicts(
    sense: np.ndarray,
    clip: np.ndarray,
    cluster: np.ndarray,
    strength: np.ndarray,
    family: np.ndarray,
    sign: np.ndarray,
    n_clips: int,
) -> np.ndarray:
    """How far the senses of each clip are apart, 0 to 1: float64, nan where fewer than two of them spoke.

    One entry per mark: sense: as of `senses_of_voters`; clip; cluster: int64; strength: float64; family:
    int64, -1 where it is not known; sign: 1 pleasant, -1 unpleasant, 0 neither.

    From each label of a sense it is so far to the nearest label of another one: 0 to the same cluster, 0.25
    within a family, 1 where all are opposite in valence, else 0.5. The average over the labels of both, each
    counted by its strength, is how far two senses are apart; of three senses the two that are farthest count.
    """
    apart = np.full(n_clips, np.nan)
    for number, one in enumerate(_SENSES):
        for other in _SENSES[number + 1 :]:
            between = _between(sense == one, sense == other, clip, cluster, strength, family, sign, n_clips)
            apart = np.fmax(apart, between)
    return apart


def _between(
    one: np.ndarray,
    other: np.ndarray,
    clip: np.ndarray,
    cluster: np.ndarray,
    strength: np.ndarray,
    family: np.ndarray,
    sign: np.ndarray,
    n_clips: int,
) -> np.ndarray:
    left, right = np.flatnonzero(one), np.flatnonzero(other)
    right = right[np.argsort(clip[right], kind="stable")]
    # Every mark of the one sense beside every mark of the other one on the same clip.
    first = np.searchsorted(clip[right], clip[left], side="left")
    beside = np.searchsorted(clip[right], clip[left], side="right") - first
    pair_left = np.repeat(np.arange(len(left)), beside)
    offset = np.arange(len(pair_left)) - np.repeat(np.cumsum(beside) - beside, beside)
    pair_right = np.repeat(first, beside) + offset
    a, b = left[pair_left], right[pair_right]
    distance = np.full(len(a), _OTHER)
    distance[sign[a] * sign[b] < 0] = _OPPOSITE
    distance[(family[a] == family[b]) & (family[a] >= 0)] = _RELATED
    distance[cluster[a] == cluster[b]] = _SAME

    total, weight = np.zeros(n_clips), np.zeros(n_clips)
    for marks, pair in ((left, pair_left), (right, pair_right)):
        nearest = np.full(len(marks), np.inf)
        np.minimum.at(nearest, pair, distance)
        met = np.isfinite(nearest)
        total += np.bincount(clip[marks[met]], (nearest * strength[marks])[met], minlength=n_clips)
        weight += np.bincount(clip[marks[met]], strength[marks[met]], minlength=n_clips)
    return np.divide(total, weight, out=np.full(n_clips, np.nan), where=weight > 0)
