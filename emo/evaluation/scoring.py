"""judgments (or votes, or any file of predictions) + gold → metrics.

read gold and systems  →  score  →  intervals, paired test  →  text, JSON, plots

Runs in one process and writes no table: a gold set is small beside what was labelled.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from emo.errors import InputError
from emo.evaluation import metrics
from emo.evaluation.groups import by_group, read_groups
from emo.evaluation.metric import ALL_TAKE, MAX_FAILED, Evaluation, Metric, Request, argument
from emo.evaluation.page import plot_folder, write_page
from emo.evaluation.seen import warnings


def request_of(
    predicted: tuple[str, ...], gold: tuple[str, ...], kind: str, options: Mapping[str, Any]
) -> Request:
    """The request of a caller who names every option in one way, those of the metric among them.

    Raises InputError where there is no such option or no such metric.
    """
    of_metrics = {option.name for option in metrics.options(kind)}
    general = {entry.name for entry in fields(Request)} - {"options"}
    if unknown := options.keys() - of_metrics - general:
        known = ", ".join(sorted(of_metrics | general))
        raise InputError(f"there is no option {', '.join(sorted(unknown))}; expected some of: {known}")
    named = {name: value for name, value in options.items() if name in general}
    rest = {name: value for name, value in options.items() if name in of_metrics}
    return Request(predicted, gold, kind, **named, options=rest)


def run(request: Request) -> Evaluation:
    """Score what was asked for; raises InputError before any model is loaded where something is wrong."""
    metric = metrics.REGISTRY.named(request.metric)()
    _check(request, metric)
    # Before the metric asks any model: of a wrong --data-set a user is told at once.
    told = warnings(request, metric) if metric.needs_gold or request.data_set else ()
    folder = plot_folder(request.plots) if request.plots else None
    groups = read_groups(request.by, (*request.gold, *request.predicted)) if request.by else None
    evaluation = metric.score(request)
    evaluation.warnings = tuple(told)
    if groups is not None:
        evaluation.groups = by_group(evaluation.scored.per_clip, groups)
    if folder is not None:
        title = f"emo evaluate: {evaluation.scored.result.metric}"
        page = write_page(folder, title, evaluation.as_text(), evaluation.draw())
        evaluation.page = str(page)
    return evaluation


def _check(request: Request, metric: Metric[Any]) -> None:
    taken = metric.takes | ALL_TAKE | {option.name for option in metric.options}
    for name in request.asked():
        if name not in taken:
            raise InputError(f"{argument(name)} is not used by --metric {request.metric}")
    for option in metric.options:
        value = request.given(option)
        if option.choices and value not in (None, *option.choices):
            expected = " or ".join(map(str, option.choices))
            raise InputError(f"{argument(option.name)} is {value!r}; expected {expected}")
    if metric.needs_gold != bool(request.gold):
        wants = "needs --gold, the human labels" if metric.needs_gold else "uses no --gold"
        raise InputError(f"--metric {request.metric} {wants}")
    if (request.compare_expert, request.compare_sample) != (None, None) and not request.compare:
        raise InputError("--compare-expert and --compare-sample say what --compare means; it is not given")
    if not metric.several:
        for side in ("predicted", "gold", "compare"):
            if len(getattr(request, side)) > 1:
                raise InputError(f"--{side} is given twice; --metric {request.metric} takes one")
    share = request.given(MAX_FAILED)
    if share is not None and not 0 <= share <= 1:
        raise InputError(f"--max-failed-share is {share:g}; expected a share from 0 to 1")
    metric.check(request)
