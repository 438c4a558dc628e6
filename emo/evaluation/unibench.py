"""MER-UniBench (AffectGPT, arXiv 2501.16566, table 11): nine data sets, one number each, and their mean.

Basic emotions: the hit rate over the wheels. Sentiment: weighted F1 of positive against not positive, on
clips whose gold is not 0. Open vocabulary (OV-MERD+): the EW score.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emo import vocabulary
from emo.errors import InputError
from emo.evaluation.arrays import read_arrays
from emo.evaluation.bootstrap import PerClip, per_clip_f, per_clip_recall
from emo.evaluation.ew import ew, ew_mappings, ew_overlaps
from emo.evaluation.labels import read_labels
from emo.evaluation.overlap import Labels, check_ids, normalise
from emo.evaluation.wheels import WHEELS, WheelTables
from emo.sources.record import short


@dataclass(frozen=True)
class DataSet:
    """One data set of the benchmark.

    kind: hit rate, sentiment or open; corpus: the array of the label file with the test clips; classes: what
    the numbers of the label file stand for, where it holds numbers; clips: how many there are.
    """

    name: str
    kind: str
    corpus: str | None
    clips: int
    classes: tuple[str, ...] = ()
    id_has: tuple[int, str] | None = None  # the test clips are those with this character at this place


HIT_RATE, SENTIMENT, OPEN = "hit rate", "sentiment", "open"

DATA_SETS: Mapping[str, DataSet] = {
    data_set.name: data_set
    for data_set in (
        DataSet("mer2023", HIT_RATE, "test1_corpus", 411),
        DataSet("mer2024", HIT_RATE, "test1_corpus", 1169),
        DataSet(
            "meld",
            HIT_RATE,
            "test_corpus",
            2610,
            ("anger", "joy", "sadness", "neutral", "disgust", "fear", "surprise"),
        ),
        DataSet("iemocap", HIT_RATE, "whole_corpus", 1241, ("joy", "sadness", "neutral", "anger"), (4, "5")),
        DataSet("cmu-mosi", SENTIMENT, "test_corpus", 686),
        DataSet("cmu-mosei", SENTIMENT, "test_corpus", 4659),
        DataSet("ch-sims", SENTIMENT, "test_corpus", 457),
        DataSet("ch-sims-v2", SENTIMENT, "test_corpus", 1034),
        DataSet("ov-merd+", OPEN, None, 532),
    )
}

SENTIMENT_OF_LABELS = (
    "sentiment is the valence of the labels in emo's vocabulary, not a language model's answer"
)

_POLARITY = {"positive": 1.0, "negative": -1.0, "neutral": 0.0}


@dataclass(frozen=True)
class DataSetScore:
    """One data set. score: the benchmark's number, 0 to 1; others: numbers of the same predictions by other
    rules; clips: how many were scored; expected_clips: how many the benchmark has; missing_predictions:
    gold clips that were not predicted (they score 0, for sentiment they count as neutral)."""

    name: str
    metric: str
    score: float
    others: dict[str, float]
    clips: int
    expected_clips: int
    missing_predictions: int


@dataclass(frozen=True)
class UniBenchResult:
    """mean: over the nine data sets, None while some are missing; selection: which checkpoint was scored and
    how it was chosen, in the words of the caller; notes: what a reader must know."""

    metric: str
    data_sets: tuple[DataSetScore, ...]
    mean: float | None
    missing: tuple[str, ...]
    selection: str
    notes: tuple[str, ...]


def read_gold(data_set: str, path: str | Path) -> dict[str, Any]:
    """The test clips of a label file of the benchmark.

    Gives video_id -> class name (hit rate), sentiment value (sentiment), or labels (open vocabulary; CSV with
    name and openset, an empty list is the label `neutral`, as the benchmark has it). Raises InputError.
    """
    known = _known(data_set)
    if known.kind == OPEN:
        return {video_id: labels or ("neutral",) for video_id, labels in read_labels(path).items()}
    arrays = read_arrays(path)
    if known.corpus not in arrays:
        raise InputError(f"{path}: no array {known.corpus!r} ({data_set}); it has {', '.join(arrays)}")
    corpus = arrays[known.corpus].item() if arrays[known.corpus].shape == () else None
    if not isinstance(corpus, dict) or not all(isinstance(entry, dict) for entry in corpus.values()):
        raise InputError(f"{path}: {known.corpus!r} is not a table of clips by name")
    field = "val" if known.kind == SENTIMENT else "emo"
    gold: dict[str, Any] = {}
    for name, entry in corpus.items():
        if known.id_has is not None and str(name)[known.id_has[0] : known.id_has[0] + 1] != known.id_has[1]:
            continue
        if field not in entry:
            raise InputError(f"{path}: clip {short(name)} has no {field!r}")
        gold[str(name)] = _gold_value(known, entry[field], f"{path}: clip {short(name)}")
    if not gold:
        raise InputError(f"{path}: {known.corpus!r} has no test clip of {data_set}")
    return gold


def _gold_value(data_set: DataSet, value: Any, where: str) -> Any:
    try:
        if data_set.kind == SENTIMENT:
            return float(value)
        if isinstance(value, str):
            return value
        number = int(value)
    except (TypeError, ValueError, OverflowError) as error:
        expected = "sentiment" if data_set.kind == SENTIMENT else "class"
        raise InputError(f"{where} has {expected} {short(value)}; expected a number") from error
    if 0 <= number < len(data_set.classes):
        return data_set.classes[number]
    raise InputError(
        f"{where} has class {short(value)}; expected a name or a number below {len(data_set.classes)}"
    )


def _is_polarity(words: Sequence[str]) -> bool:
    return len(words) == 1 and words[0].lower() in _POLARITY


def is_sentiment(labels: Labels) -> bool:
    """Whether these are predictions of positive, neutral or negative, not of emotions."""
    return bool(labels) and all(map(_is_polarity, labels.values()))


def polarity(labels: Labels) -> dict[str, float]:
    """video_id -> 1, 0 or -1, of labels for which is_sentiment holds."""
    return {video_id: _POLARITY[words[0].lower()] for video_id, words in labels.items()}


def sentiment_of_labels(predicted: Labels) -> dict[str, float]:
    """video_id -> the mean valence of its labels in emo's vocabulary, 0 where it knows none of them.

    The benchmark lets a language model turn labels into a sentiment; this needs none, and a score made with
    it must say so (SENTIMENT_OF_LABELS).
    """
    values = {}
    for video_id, labels in predicted.items():
        known = [value for value in map(vocabulary.valence, labels) if value is not None]
        values[video_id] = sum(known) / len(known) if known else 0.0
    return values


def hit_rate(gold: Mapping[str, str], predicted: Labels, tables: WheelTables) -> tuple[float, int]:
    """The share of the clips whose one gold emotion is among the predicted nodes, averaged over the five
    wheels at level 1; and the clips scored. Clips whose gold no wheel has (`neutral`) are left out."""
    check_ids({video_id: [label] for video_id, label in gold.items()}, predicted)
    each = [
        [hit for hits in _hits(gold, predicted, tables, wheel).values() for hit in hits] for wheel in WHEELS
    ]
    for wheel, hits in zip(WHEELS, each, strict=True):
        if not hits:
            raise InputError(f"hit rate: no gold emotion is in the vocabulary of {wheel}")
    return float(np.mean([np.mean(hits) for hits in each])), max(len(hits) for hits in each)


def macro_hit_rate(gold: Mapping[str, str], predicted: Labels, tables: WheelTables) -> float:
    """The hit rate where every gold emotion counts the same, however many clips it has."""
    rates = []
    for wheel in WHEELS:
        hits = _hits(gold, predicted, tables, wheel)
        rates.append(np.mean([np.mean(of_class) for of_class in hits.values()]))
    return float(np.mean(rates))


def _hits(
    gold: Mapping[str, str], predicted: Labels, tables: WheelTables, wheel: str
) -> dict[str, list[bool]]:
    """Per gold emotion that the wheel has, whether each of its clips was hit."""
    node_of = ew_mappings(tables)[f"{wheel}/level1"]
    hits: dict[str, list[bool]] = {}
    for video_id, label in gold.items():
        wanted = node_of(normalise(label))
        if wanted is not None:
            found = {node_of(normalise(word)) for word in predicted.get(video_id, ())}
            hits.setdefault(label, []).append(wanted in found)
    return hits


def sentiment_scores(
    gold: Mapping[str, float], predicted: Mapping[str, float]
) -> tuple[dict[str, float], int]:
    """weighted_f1 (the benchmark's number), macro_f1 and accuracy; and the clips scored.

    Clips whose gold is 0 are left out; a prediction of 0, or none, counts as not positive.
    """
    clips, want, have = _signs(gold, predicted)
    f1, weight = [], []
    for positive in (False, True):
        hits = int(((want == positive) & (have == positive)).sum())
        named = int((want == positive).sum()) + int((have == positive).sum())
        f1.append(2 * hits / named if named else 0.0)
        weight.append(int((want == positive).sum()))
    present = [value for value, count in zip(f1, weight, strict=True) if count]
    return {
        "weighted_f1": float(np.average(f1, weights=weight)),
        "macro_f1": float(np.mean(present)),
        "accuracy": float((want == have).mean()),
    }, len(clips)


def _signs(
    gold: Mapping[str, float], predicted: Mapping[str, float]
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The clips whose gold is not 0, and whether gold and prediction of each are positive."""
    check_ids({video_id: [] for video_id in gold}, {video_id: [] for video_id in predicted})
    clips = [video_id for video_id, value in gold.items() if value != 0]
    if not clips:
        raise InputError("sentiment: every gold value is 0: nothing to score")
    want = np.array([gold[video_id] > 0 for video_id in clips])
    have = np.array([predicted.get(video_id, 0.0) > 0 for video_id in clips])
    return clips, want, have


def weighted_f1(signs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted F1 over clips: signs (2, n), 1 for positive, of gold and prediction; weights (..., n), how
    often each clip counts; gives (...)."""
    total = np.zeros(weights.shape[:-1])
    for want, have in (tuple(signs), tuple(1 - signs)):
        wanted, named = weights @ want, weights @ want + weights @ have
        f1 = np.divide(2 * (weights @ (want * have)), named, out=np.zeros_like(named), where=named > 0)
        total = total + wanted * f1
    return total / weights.sum(axis=-1)


def per_clip(
    data_set: str, gold: Mapping[str, Any], predicted: Mapping[str, Any], tables: WheelTables
) -> PerClip:
    """What the score of a data set is made of, clip by clip: for intervals and paired tests."""
    known = _known(data_set)
    if known.kind == OPEN:
        return per_clip_f(ew_overlaps(gold, predicted, tables))
    if known.kind == HIT_RATE:
        one_label = {video_id: [label] for video_id, label in gold.items()}
        return per_clip_recall(ew_overlaps(one_label, predicted, tables))
    clips, want, have = _signs(gold, predicted)
    return PerClip(tuple(clips), np.stack([want, have]).astype(np.float64), weighted_f1)


def score_data_set(
    data_set: str, gold: Mapping[str, Any], predicted: Mapping[str, Any], tables: WheelTables
) -> DataSetScore:
    """Score one data set; `predicted` are labels, for sentiment data sets values as of polarity."""
    known = _known(data_set)
    others: dict[str, float] = {}
    if known.kind == OPEN:
        result = ew(gold, predicted, tables)
        score, clips = result.score.f, result.score.clips
        others = {"precision": result.score.p, "recall": result.score.r, "level2": result.scores["level2"].f}
    elif known.kind == HIT_RATE:
        score, clips = hit_rate(gold, predicted, tables)
        others = {"macro_hit_rate": macro_hit_rate(gold, predicted, tables)}
        others["labels_per_clip"] = _labels_per_clip(gold, predicted)
    else:
        numbers, clips = sentiment_scores(gold, predicted)
        score = numbers.pop("weighted_f1")
        others = numbers
    return DataSetScore(
        name=known.name,
        metric={OPEN: "ew", HIT_RATE: "hit rate", SENTIMENT: "weighted F1"}[known.kind],
        score=score,
        others=others,
        clips=clips,
        expected_clips=known.clips,
        missing_predictions=sum(video_id not in predicted for video_id in gold),
    )


def unibench(
    gold: Mapping[str, Mapping[str, Any]],
    predicted: Mapping[str, Mapping[str, Any]],
    tables: WheelTables,
    selection: str = "one system, nothing selected",
) -> UniBenchResult:
    """Score the data sets that both sides have.

    gold, predicted: data set -> what score_data_set takes. selection: what was selected and how; a checkpoint
    must not be chosen on these test sets. Raises InputError where no
    data set is on both sides.
    """
    for name in [*gold, *predicted]:
        _known(name)
    shared = [name for name in DATA_SETS if name in gold and name in predicted]
    if not shared:
        raise InputError(f"unibench: no data set on both sides; expected some of {', '.join(DATA_SETS)}")
    scores = tuple(score_data_set(name, gold[name], predicted[name], tables) for name in shared)
    said = [*tables.defects]
    said += [
        f"{score.name}: gold has {len(gold[score.name])} clips, the benchmark {score.expected_clips}"
        for score in scores
        if len(gold[score.name]) != score.expected_clips
    ]
    missing = tuple(name for name in DATA_SETS if name not in shared)
    mean = None if missing else float(np.mean([score.score for score in scores]))
    return UniBenchResult("mer-unibench", scores, mean, missing, selection, tuple(said))


def _labels_per_clip(gold: Mapping[str, Any], predicted: Mapping[str, Sequence[str]]) -> float:
    """Beside a hit rate, because it costs nothing there to name everything."""
    return float(np.mean([len(predicted.get(video_id, ())) for video_id in gold]))


def _known(data_set: str) -> DataSet:
    if data_set not in DATA_SETS:
        raise InputError(f"unibench: no data set {data_set!r}; expected one of {', '.join(DATA_SETS)}")
    return DATA_SETS[data_set]
