"""judgments (or votes, or any file of predictions) + gold → metrics.

read gold and systems  →  score  →  intervals, paired test  →  text, JSON, plots

Runs in one process and writes no table: a gold set is small beside what was labelled.
"""

from dataclasses import asdict
from typing import Any

from emo.errors import InputError
from emo.evaluation.groups import by_group, read_groups
from emo.evaluation.metric import ALL_TAKE, Evaluation, Metric, Request
from emo.evaluation.metrics import REGISTRY
from emo.evaluation.page import plot_folder, write_page
from emo.evaluation.seen import warnings


def run(request: Request) -> Evaluation:
    """Score what was asked for; raises InputError before any model is loaded where something is wrong."""
    metric = REGISTRY.named(request.metric)()
    _check(request, metric)
    # Before the metric asks any model: of a wrong --data-set a user is told at once.
    told = warnings(request) if metric.needs_gold or request.data_set else ()
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
    for name, value in asdict(request).items():
        if value not in (None, ()) and name not in metric.takes | ALL_TAKE:
            raise InputError(f"--{name.replace('_', '-')} is not used by --metric {request.metric}")
    if metric.needs_gold != bool(request.gold):
        wants = "needs --gold, the human labels" if metric.needs_gold else "uses no --gold"
        raise InputError(f"--metric {request.metric} {wants}")
    if (request.compare_expert, request.compare_sample) != (None, None) and not request.compare:
        raise InputError("--compare-expert and --compare-sample say what --compare means; it is not given")
    if not metric.several:
        for side in ("predicted", "gold", "compare"):
            if len(getattr(request, side)) > 1:
                raise InputError(f"--{side} is given twice; --metric {request.metric} takes one")
    if request.max_failed_share is not None and not 0 <= request.max_failed_share <= 1:
        raise InputError(f"--max-failed-share is {request.max_failed_share:g}; expected a share from 0 to 1")
    metric.check(request)
