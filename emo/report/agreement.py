"""How far experts agree: the mean Jaccard index of their label sets, over the clips that both labelled.

For two experts the index of a clip is the mean over all pairs of their samples, so an expert that was
sampled often weighs no more than one sampled once. A voter with no labels is silent: it is left out of the
comparison instead of counting as disagreement, or as agreement with another silent one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo.arrays import distinct
from emo.report.pieces import label_rows
from emo.vocabulary import cluster_of, normalise

# Pairs of voters times clips that are compared; about 0.4 microseconds each; 17 voters fit 36,000 clips.
COMPARISONS = 5_000_000
FINAL = "final labels"  # the row of the judgments


@dataclass(frozen=True)
class Heatmap:
    """Pairwise agreement: `mean[i][j]` in [0, 1], None where nothing was compared; `clips[i][j]`: how many.

    The diagonal compares the samples of one expert with each other (None for an expert with one sample).
    """

    names: tuple[str, ...]
    mean: tuple[tuple[float | None, ...], ...]
    clips: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class _LabelSets:
    """The label sets of one voter: sorted unique `clip * n_labels + label`, and the set size of each clip."""

    keys: np.ndarray  # int64
    sizes: np.ndarray  # int64, one per clip


def clips_compared(available: int, voters: int) -> int:
    """How many clips are compared so that the work stays bounded with many voters."""
    pairs = max(1, voters * (voters - 1) // 2)
    return min(available, max(1, COMPARISONS // pairs))


def heatmap(names: Sequence[str], voters: pa.Table, n_clips: int) -> Heatmap:
    """The heat map of the given experts.

    voters: one row per label of a voter, columns clip (int64, 0 … n_clips - 1), expert (int64, a place in
    names), sample (int64), label (int64, equal numbers mean the same label). Rows may come in any order and
    more than once.
    """
    columns = {name: voters.column(name).to_numpy() for name in ("clip", "expert", "sample", "label")}
    n_labels = int(columns["label"].max()) + 1 if len(voters) else 1
    samples: list[list[_LabelSets]] = []
    for expert in range(len(names)):
        of_expert = columns["expert"] == expert
        samples.append(
            [
                _label_sets(columns, of_expert & (columns["sample"] == sample), n_labels, n_clips)
                for sample in distinct(columns["sample"][of_expert])
            ]
        )
    size = len(names)
    mean: list[list[float | None]] = [[None] * size for _ in range(size)]
    clips = [[0] * size for _ in range(size)]
    for i in range(size):
        for j in range(i, size):
            pairs = combinations(samples[i], 2) if i == j else product(samples[i], samples[j])
            mean[i][j], clips[i][j] = _mean_jaccard(pairs, n_labels, n_clips)
            mean[j][i], clips[j][i] = mean[i][j], clips[i][j]
    return Heatmap(tuple(names), tuple(map(tuple, mean)), tuple(map(tuple, clips)))


def _label_sets(columns: dict[str, np.ndarray], rows: np.ndarray, n_labels: int, n_clips: int) -> _LabelSets:
    keys = distinct(columns["clip"][rows] * n_labels + columns["label"][rows])
    return _LabelSets(keys, np.bincount(keys // n_labels, minlength=n_clips))


def _mean_jaccard(pairs, n_labels: int, n_clips: int) -> tuple[float | None, int]:  # type: ignore[no-untyped-def]
    total = np.zeros(n_clips)
    compared = np.zeros(n_clips, np.int64)
    for one, other in pairs:
        common = np.intersect1d(one.keys, other.keys, assume_unique=True)
        both = np.bincount(common // n_labels, minlength=n_clips)
        spoke = (one.sizes > 0) & (other.sizes > 0)
        either = np.where(spoke, one.sizes + other.sizes - both, 1)
        total += np.where(spoke, both / either, 0.0)
        compared += spoke
    clips = int(np.count_nonzero(compared))
    if not clips:
        return None, 0
    return float((total[compared > 0] / compared[compared > 0]).mean()), clips


class Voters:
    """The labels of every voter for the clips that are compared, as numbers."""

    def __init__(self, clips: pa.ChunkedArray) -> None:
        self._clips = clips
        self._experts: dict[str, int] = {}
        self._words: dict[str, int] = {}
        self._voters: set[tuple[int, int]] = set()
        self._parts: list[np.ndarray] = []  # each (4, labels): clip, expert, sample, word
        self._final: list[np.ndarray] = []
        self._n_clips = len(clips)

    def add_final(self, judged: pa.Table) -> None:
        if len(judged):
            clip, labels = label_rows(judged.column("labels").combine_chunks())
            zeros = np.zeros_like(clip)
            self._final.append(np.stack([clip, zeros, zeros, self._codes(self._words, labels, same_word)]))
            self._voters.add((-1, 0))

    def add(self, votes: pa.Table) -> None:
        """Votes that did not fail; those of clips that are not compared are left out."""
        if not len(votes):
            return
        expert = self._codes(self._experts, votes.column("expert").combine_chunks(), str)
        sample = votes.column("sample").to_numpy().astype(np.int64)
        samples = int(sample.max()) + 1
        self._voters.update(divmod(voter, samples) for voter in distinct(expert * samples + sample).tolist())
        self._compare_fewer_clips()
        place = pc.index_in(votes.column("video_id"), value_set=self._clips).fill_null(-1).to_numpy()
        near = (place >= 0) & (place < self._n_clips)
        row, labels = label_rows(votes.column("labels").filter(pa.array(near)).combine_chunks())
        word = self._codes(self._words, labels, same_word)
        self._parts.append(np.stack([place[near][row], expert[near][row], sample[near][row], word]))

    def _compare_fewer_clips(self) -> None:
        n_clips = clips_compared(len(self._clips), len(self._voters))
        if n_clips < self._n_clips:
            self._n_clips = n_clips
            for parts in (self._parts, self._final):
                parts[:] = [part[:, part[0] < n_clips] for part in parts]

    @staticmethod
    def _codes(known: dict[str, int], values: pa.Array, name: Callable[[str], str]) -> np.ndarray:
        """A number for each value; equal for values with the same name."""
        encoded = values.dictionary_encode()
        codes = [known.setdefault(name(value), len(known)) for value in encoded.dictionary.to_pylist()]
        return np.array(codes, np.int64)[encoded.indices.to_numpy(zero_copy_only=False)]

    def heatmaps(self) -> tuple[Heatmap, Heatmap, int]:
        """By word and by cluster, and the number of clips compared: the first ones by hash."""
        names = sorted(self._experts)
        order = np.zeros(len(names), np.int64)
        order[[self._experts[name] for name in names]] = np.arange(len(names))
        rows = np.concatenate([np.zeros((4, 0), np.int64), *self._parts], axis=1)
        rows[1] = order[rows[1]]
        if names and self._final:
            final = np.concatenate(self._final, axis=1)
            final[1] = len(names)
            names = [*names, FINAL]
            rows = np.concatenate([rows, final], axis=1)
        words = pa.table(dict(zip(("clip", "expert", "sample", "label"), rows, strict=True)))
        clusters = words.set_column(3, "label", pa.array(self._cluster_codes()[rows[3]]))
        return (
            heatmap(names, words, self._n_clips),
            heatmap(names, clusters, self._n_clips),
            self._n_clips,
        )

    def _cluster_codes(self) -> np.ndarray:
        """The number of the cluster of each word; a word outside the vocabulary is a cluster of its own."""
        known: dict[tuple[str, str], int] = {}
        codes = np.zeros(len(self._words), np.int64)
        for word, code in self._words.items():
            cluster = cluster_of(word)
            name = ("word", word) if cluster is None else ("cluster", cluster)
            codes[code] = known.setdefault(name, len(known))
        return codes


def same_word(label: str) -> str:
    """Labels with the same result are the same word."""
    return normalise(label) or label
