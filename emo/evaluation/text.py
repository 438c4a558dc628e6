"""Results for machines (JSON) and for people (a table)."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from emo.evaluation.bootstrap import Comparison, Interval
from emo.evaluation.clues import OverlapJudgement
from emo.evaluation.ew import SetResult
from emo.evaluation.mer2024 import GroupedResult
from emo.evaluation.unibench import DataSetScore, UniBenchResult

Result = SetResult | GroupedResult | UniBenchResult | OverlapJudgement | Interval | Comparison


def to_json(result: Result) -> dict[str, Any]:
    """The result as plain values; what is not a number (nan) becomes null."""
    return json.loads(json.dumps(_plain(asdict(result))))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns of equal width; numbers to the right, floats as percent with two decimals."""
    cells = [[str(entry) for entry in header], *[[_cell(entry) for entry in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    right = [
        all(isinstance(row[column], int | float) or row[column] is None for row in rows)
        for column in range(len(header))
    ]
    return "\n".join(
        "  ".join(
            entry.rjust(width) if to_right else entry.ljust(width)
            for entry, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    )


def _cell(entry: object) -> str:
    if entry is None:
        return "-"
    return f"{100 * entry:.2f}" if isinstance(entry, float) else str(entry)


def as_text(
    result: SetResult | GroupedResult | UniBenchResult | OverlapJudgement, interval: Interval | None = None
) -> str:
    """The result as lines for a person, in percent."""
    if isinstance(result, SetResult):
        return _set_text(result, interval)
    if isinstance(result, GroupedResult):
        lines = [
            f"{result.metric}, judge: {result.judge}, {result.clips} clips",
            table(["accuracy", "recall", "average"], [[result.accuracy, result.recall, result.avg]]),
        ]
        if result.spread is not None:
            lines.append(f"{result.runs} runs of the judge, standard deviation {100 * result.spread:.2f}")
        if result.ungrouped:
            lines.append(f"{result.ungrouped} words were in no group and stand for themselves")
        return "\n".join(lines + _missing(result.missing_predictions))
    if isinstance(result, UniBenchResult):
        rows = [
            [score.name, score.metric, score.score, score.clips, score.missing_predictions, _others(score)]
            for score in result.data_sets
        ]
        lines = [f"{result.metric}; selection: {result.selection}"]
        lines.append(table(["data set", "metric", "score", "clips", "not predicted", "beside it"], rows))
        mean = "-" if result.mean is None else f"{100 * result.mean:.2f}"
        lines.append(f"mean: {mean}" + (f" (missing: {', '.join(result.missing)})" if result.missing else ""))
        return "\n".join([*lines, *result.notes])
    lines = [f"{result.metric}, judge: {result.judge}, {result.clips} clips, 1 to 10"]
    for name, value, unread in (
        ("clues", result.clue, result.unread_clue),
        ("labels", result.label, result.unread_label),
    ):
        shown = "-" if value is None else f"{value:.2f}"
        lines.append(f"{name}: {shown}" + (f" ({unread} answers could not be read)" if unread else ""))
    return "\n".join(lines + _missing(result.missing_predictions))


def _others(score: DataSetScore) -> str:
    """Shares in percent; the number of labels per clip as it is."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value if name == 'labels_per_clip' else 100 * value:.2f}"
        for name, value in score.others.items()
    )


def _set_text(result: SetResult, interval: Interval | None) -> str:
    seen = result.coverage
    lines = [f"{result.metric}: F {100 * result.score.f:.2f}, {seen.clips} clips"]
    if interval is not None:
        lines.append(
            f"{interval.level:.0%} interval {100 * interval.low:.2f} to {100 * interval.high:.2f}, "
            f"standard error {100 * interval.standard_error:.2f} ({interval.draws} draws of the clips)"
        )
    rows: list[list[object]] = [
        [name, score.f, score.p, score.r, score.clips] for name, score in result.scores.items()
    ]
    lines.append(table(["", "F", "precision", "recall", "clips"], rows))
    for name, side in (("gold", seen.gold), ("predicted", seen.predicted)):
        words = ", ".join(list(side.unknown)[:5])
        share = side.unknown_labels / side.labels if side.labels else 0.0
        lines.append(
            f"{name}: {side.unknown_labels} of {side.labels} labels ({share:.1%}) are outside the vocabulary"
            + (f", such as {words}" if words else "")
        )
    dropped = max(seen.dropped.values())
    if dropped:
        lines.append(f"clips without a known gold label, not scored: up to {dropped} per mapping")
    if seen.empty_predictions:
        lines.append(f"empty predictions, scored 0: {seen.empty_predictions}")
    lines += _missing(seen.missing_predictions)
    if seen.extra_predictions:
        lines.append(f"predictions without gold, not used: {seen.extra_predictions}")
    return "\n".join([*lines, *result.notes])


def _missing(count: int) -> list[str]:
    return [f"gold clips without a prediction: {count}"] if count else []
