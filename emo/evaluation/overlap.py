"""Overlap of two label sets per clip, and the F of the averages over clips.

The arithmetic that the emotion-wheel metric (MER-UniBench, arXiv 2501.16566; OV-MER, arXiv 2410.01495) and
emo's own cluster metric share. What differs between them is only how a label becomes a node.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emo.errors import InputError
from emo.sources.cut_names import cut_names

Labels = Mapping[str, Sequence[str]]
"""video_id -> labels"""

NodeOf = Callable[[str], str | None]
"""label in lower case without outer spaces -> the node that it counts as; None: not in the vocabulary"""


@dataclass(frozen=True)
class Score:
    """F of the average precision and the average recall, and the number of clips that were averaged."""

    f: float
    p: float
    r: float
    clips: int


@dataclass(frozen=True)
class Overlaps:
    """Per-clip precision and recall under several mappings.

    video_ids: n; names: m mappings; precision, recall: float64 (m, n), 0 where not counted; counted: bool
    (m, n), false where no gold label of the clip is in the vocabulary of the mapping.
    """

    video_ids: tuple[str, ...]
    names: tuple[str, ...]
    precision: np.ndarray
    recall: np.ndarray
    counted: np.ndarray

    def f_of_means(self, weights: np.ndarray | None = None) -> np.ndarray:
        """F, precision and recall of each mapping: float64 (3, ..., m).

        weights: float64 (..., n), how often each clip counts (a bootstrap draw); None: once each. A mapping
        under which no clip is counted gives nan.
        """
        if weights is None:
            weights = np.ones(len(self.video_ids))
        clips = weights @ self.counted.T.astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            precision = weights @ self.precision.T / clips
            recall = weights @ self.recall.T / clips
            total = precision + recall
            f = np.where(total == 0, 0.0, 2 * precision * recall / total)
        return np.stack([f, precision, recall])

    def select(self, names: Sequence[str]) -> "Overlaps":
        """The same with only these mappings."""
        rows = [self.names.index(name) for name in names]
        return Overlaps(
            self.video_ids, tuple(names), self.precision[rows], self.recall[rows], self.counted[rows]
        )

    def scores(self) -> dict[str, Score]:
        """The score of each mapping; raises InputError where no gold label is in its vocabulary."""
        values = self.f_of_means()
        clips = self.counted.sum(axis=1)
        for name, count in zip(self.names, clips, strict=True):
            if not count:
                raise InputError(f"no clip has a gold label in the vocabulary of {name}: nothing to score")
        return {
            name: Score(float(values[0, row]), float(values[1, row]), float(values[2, row]), int(clips[row]))
            for row, name in enumerate(self.names)
        }


def mean_score(scores: Sequence[Score]) -> Score:
    """The average over mappings (five wheels) of F, of precision and of recall, each on its own.

    clips: the most that any of them counted.
    """
    return Score(
        f=float(np.mean([score.f for score in scores])),
        p=float(np.mean([score.p for score in scores])),
        r=float(np.mean([score.r for score in scores])),
        clips=max(score.clips for score in scores),
    )


def normalise(label: str) -> str:
    """A label as the metrics compare it: lower case, no outer spaces."""
    return label.lower().strip()


def overlaps(
    gold: Labels, predicted: Labels, mappings: Mapping[str, NodeOf], unknown_counts: bool = False
) -> Overlaps:
    """Per-clip precision and recall of `predicted` against `gold`, for the clips of `gold`.

    Labels that a mapping does not know are left out of both sets; with `unknown_counts` such predicted labels
    count as wrong instead. An empty prediction, or none at all, scores 0 and 0. A clip none of whose gold
    labels is known is not counted. Raises InputError where the two sides share no clip.
    """
    check_ids(gold, predicted)
    video_ids = tuple(gold)
    shape = (len(mappings), len(video_ids))
    precision, recall = np.zeros(shape), np.zeros(shape)
    counted = np.zeros(shape, dtype=bool)
    gold_sets = [{normalise(label) for label in gold[video_id]} for video_id in video_ids]
    predicted_sets = [{normalise(label) for label in predicted.get(video_id, ())} for video_id in video_ids]
    words = set().union(*gold_sets, *predicted_sets)
    for row, node_of in enumerate(mappings.values()):
        nodes = {word: node_of(word) for word in words}
        for column, (gold_words, predicted_words) in enumerate(zip(gold_sets, predicted_sets, strict=True)):
            wanted = {nodes[word] for word in gold_words} - {None}
            if not wanted:
                continue
            counted[row, column] = True
            found = {nodes[word] for word in predicted_words} - {None}
            size = len(found)
            if unknown_counts:
                size += sum(nodes[word] is None for word in predicted_words)
            hits = len(wanted & found)
            if size:
                precision[row, column] = hits / size
            recall[row, column] = hits / len(wanted)
    return Overlaps(video_ids, tuple(mappings), precision, recall, counted)


@dataclass(frozen=True)
class NodeScore:
    """One label (or cluster, or node of a wheel): how often gold has it, how often it was predicted, how
    often both, and the shares that follow; None where there is nothing to take a share of."""

    name: str
    gold: int
    predicted: int
    both: int
    precision: float | None
    recall: float | None


def by_node(gold: Labels, predicted: Labels, node_of: NodeOf) -> list[NodeScore]:
    """The score of each node over the clips of `gold`, those most frequent in gold first."""
    check_ids(gold, predicted)
    counts: dict[str, list[int]] = {}
    for video_id, labels in gold.items():
        wanted = {node_of(normalise(label)) for label in labels} - {None}
        found = {node_of(normalise(label)) for label in predicted.get(video_id, ())} - {None}
        for node in wanted | found:
            count = counts.setdefault(str(node), [0, 0, 0])
            count[0] += node in wanted
            count[1] += node in found
            count[2] += node in wanted and node in found
    return [
        NodeScore(
            name,
            gold=in_gold,
            predicted=in_predicted,
            both=both,
            precision=both / in_predicted if in_predicted else None,
            recall=both / in_gold if in_gold else None,
        )
        for name, (in_gold, in_predicted, both) in sorted(
            counts.items(), key=lambda item: (-item[1][0], -item[1][1], item[0])
        )
    ]


def check_ids(gold: Labels, predicted: Labels) -> None:
    """Raises InputError where there is no gold clip, none of them is among the predicted ones, or a
    spreadsheet has cut ids of one side (1 for 0001): such clips would count as not predicted."""
    if not gold:
        raise InputError("the gold set is empty: it needs at least one clip")
    if cut := cut_names(predicted, gold):
        first = min(cut)
        raise InputError(
            f"{len(cut)} ids differ in zeros alone, as of a spreadsheet: predicted has {first!r}, gold has "
            f"{cut[first]!r}; write the ids of both sides alike"
        )
    if gold.keys().isdisjoint(predicted.keys()):
        raise InputError(
            f"no video_id of the gold set is among the predicted ones: gold has {_some(gold)}, "
            f"predicted has {_some(predicted)}"
        )


def _some(labels: Labels) -> str:
    names = [repr(name) for name in sorted(labels)[:2]]
    return (
        " and ".join(names) + (f" and {len(labels) - 2} more" if len(labels) > 2 else "") if names else "none"
    )


@dataclass(frozen=True)
class Side:
    """One side's labels: how many there are (per clip, repetitions within a clip once), and how many of them
    no table of the vocabulary knows; `unknown` is `unknown_labels` by word, most frequent first."""

    labels: int
    unknown_labels: int
    unknown: dict[str, int]


@dataclass(frozen=True)
class Coverage:
    """What the score does not show.

    dropped: for each mapping, the gold clips that it cannot count; unmapped_gold, unmapped_predicted: for
    each mapping, the share of labels that it leaves out (0 to 1); empty_predictions: gold clips with an empty
    predicted set; missing_predictions: gold clips that were not predicted at all; both score 0.
    extra_predictions: predicted clips that have no gold and were not used.
    """

    clips: int
    gold: Side
    predicted: Side
    dropped: dict[str, int]
    unmapped_gold: dict[str, float]
    unmapped_predicted: dict[str, float]
    empty_gold: int
    empty_predictions: int
    missing_predictions: int
    extra_predictions: int


def coverage(
    gold: Labels, predicted: Labels, mappings: Mapping[str, NodeOf], known: Callable[[str], bool]
) -> Coverage:
    """What part of both sides the mappings see; `known`: whether any table has the word."""
    gold_words = [word for labels in gold.values() for word in {normalise(label) for label in labels}]
    predicted_words = [
        word for video_id in gold for word in {normalise(label) for label in predicted.get(video_id, ())}
    ]

    def side(words: list[str]) -> Side:
        unknown: dict[str, int] = {}
        for word in words:
            if not known(word):
                unknown[word] = unknown.get(word, 0) + 1
        ordered = dict(sorted(unknown.items(), key=lambda item: (-item[1], item[0])))
        return Side(len(words), sum(unknown.values()), ordered)

    def unmapped(words: list[str], node_of: NodeOf) -> float:
        return sum(node_of(word) is None for word in words) / len(words) if words else 0.0

    return Coverage(
        clips=len(gold),
        gold=side(gold_words),
        predicted=side(predicted_words),
        dropped={
            name: sum(all(node_of(normalise(label)) is None for label in labels) for labels in gold.values())
            for name, node_of in mappings.items()
        },
        unmapped_gold={name: unmapped(gold_words, node_of) for name, node_of in mappings.items()},
        unmapped_predicted={name: unmapped(predicted_words, node_of) for name, node_of in mappings.items()},
        empty_gold=sum(not labels for labels in gold.values()),
        empty_predictions=sum(video_id in predicted and not predicted[video_id] for video_id in gold),
        missing_predictions=sum(video_id not in predicted for video_id in gold),
        extra_predictions=sum(video_id not in gold for video_id in predicted),
    )
