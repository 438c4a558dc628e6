"""MER-UniBench: nine data sets, each by its own rule."""

from collections.abc import Sequence
from typing import Any

from emo.errors import InputError
from emo.evaluation.benchmark_files import data_set_paths
from emo.evaluation.metric import WHEELS_FOLDER, Evaluation, Metric, Option, Request, Scored, finish
from emo.evaluation.systems import read_system
from emo.evaluation.text import table
from emo.evaluation.unibench import (
    DATA_SETS,
    SENTIMENT,
    SENTIMENT_OF_LABELS,
    DataSetScore,
    UniBenchResult,
    is_sentiment,
    per_clip,
    polarity,
    read_gold,
    sentiment_of_labels,
    unibench,
)
from emo.evaluation.wheels import load_wheels
from emo.pages import charts

SELECTION = Option(
    "selection", "which checkpoint was scored and how it was chosen, for the result", "TEXT", str
)


class UniBenchMetric(Metric[UniBenchResult]):
    """The mean over nine data sets, and the score of each."""

    summary = "the nine data sets of MER-UniBench and their mean; needs --wheels."
    details = (
        "--gold, --predicted and --compare are one folder each, or NAME=PATH once for each data set "
        "(mer2023, mer2024, meld, iemocap, cmu-mosi, cmu-mosei, ch-sims, ch-sims-v2, ov-merd+; also the "
        "names of the benchmark's code, such as IEMOCAPFour, CMUMOSI, SIMSv2, OVMERDPlus). In a folder, "
        "what is named after a data set is taken: a file (sims.npz), or a folder (sims, sims-process, "
        "results-sims). Gold is the benchmark's own label file, as in mer2023-dataset- "
        "process/label-6way.npz or meld-process/label.npz, and a CSV (name, openset) for ov-merd+. A "
        "folder with several predictions is refused: a checkpoint must not be chosen on the test set. "
        "Predictions for the four sentiment data sets are positive, neutral or negative; from label lists "
        "the sentiment is the valence of the labels in emo's vocabulary, and the result says so."
    )
    takes = frozenset()
    options = (WHEELS_FOLDER, SELECTION)
    several = True

    def check(self, request: Request) -> None:
        if request.given(WHEELS_FOLDER) is None:
            raise InputError(
                "--metric unibench needs --wheels, the folder with the benchmark's emotion wheels"
            )

    def score(self, request: Request) -> Evaluation:
        folder = request.given(WHEELS_FOLDER)
        assert folder is not None
        wheels = load_wheels(folder)
        places = data_set_paths(request.gold, "gold")
        gold = {name: read_gold(name, path) for name, path in places.items()}
        selection = request.given(SELECTION) or "not stated; nothing was selected here"

        def score(given: Sequence[str], side: str) -> Scored:
            notes, labels = [], {}
            for name, path in data_set_paths(given, side).items():
                system = read_system(path)
                notes += [f"{name}: {note}" for note in system.notes]
                labels[name], of_labels = _as_predicted(name, system.values)
                if of_labels:
                    notes.append(f"{name}: {SENTIMENT_OF_LABELS}")
            result = unibench(gold, labels, wheels, selection)
            shared = [entry.name for entry in result.data_sets]
            made_of = {name: [per_clip(name, gold[name], labels[name], wheels)] for name in shared}
            if result.mean is not None:
                made_of["mean"] = [made_of[name][0] for name in shared]
            unused = [name for name in labels if name not in gold]
            if unused:
                notes.append(f"predictions without gold, not used: {', '.join(unused)}")
            return Scored(", ".join(given), result, made_of, tuple(notes))

        other = score(request.compare, "compare") if request.compare else None
        return finish(self, request, score(request.predicted, "predicted"), other)

    def lines(self, result: UniBenchResult) -> list[str]:
        rows = [
            [score.name, score.metric, score.score, score.clips, score.missing_predictions, _others(score)]
            for score in result.data_sets
        ]
        mean = "-" if result.mean is None else f"{100 * result.mean:.2f}"
        return [
            f"{result.metric}; selection: {result.selection}",
            table(["data set", "metric", "score", "clips", "not predicted", "beside it"], rows),
            f"mean: {mean}" + (f" (missing: {', '.join(result.missing)})" if result.missing else ""),
            *result.notes,
        ]

    def headline(self, result: UniBenchResult) -> tuple[str, int]:
        clips = sum(score.clips for score in result.data_sets)
        if result.mean is None:
            return f"{len(result.data_sets)} of {len(DATA_SETS)} data sets, so no mean", clips
        return f"mean {100 * result.mean:.2f}", clips

    def plots(self, result: UniBenchResult) -> dict[str, str]:
        rows = [(score.name, score.score, score.metric) for score in result.data_sets]
        return {"scores": charts.bars(rows, "Score of each data set")}


def _as_predicted(data_set: str, labels: Any) -> tuple[Any, bool]:
    """Predictions as score_data_set takes them, and whether a sentiment had to be read from labels."""
    if DATA_SETS[data_set].kind != SENTIMENT:
        return labels, False
    if is_sentiment(labels):
        return polarity(labels), False
    return sentiment_of_labels(labels), True


def _others(score: DataSetScore) -> str:
    """Shares in percent; the number of labels per clip as it is."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value if name == 'labels_per_clip' else 100 * value:.2f}"
        for name, value in score.others.items()
    )
