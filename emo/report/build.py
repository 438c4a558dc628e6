"""The report's page, from plain values; `emo.pages.rendering` says how data is kept from becoming markup."""

import shlex
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from markupsafe import Markup

from emo import vocabulary
from emo.evaluation.reliability import Reliability
from emo.finetuning.page import curve
from emo.pages import rendering as pages
from emo.report import recordings as strips
from emo.report.agreement import FINAL, Heatmap
from emo.report.cards import LABEL_LENGTH, Card, seconds, short, tone
from emo.report.gallery import FAILED, LABELLED, UNLABELLED, WAITING, GalleryItem
from emo.report.people import Reviewed
from emo.report.recordings import Recordings
from emo.report.rounds import RoundsReport
from emo.report.summary import BINS, Count, Summary
from emo.report.trainings import Training
from emo.terminal.progress import figures

LABELS_SHOWN = 24
LABELS_CHANGED = 12
ERRORS_SHOWN = 40
RUNS_SHOWN = 20
_STATES = (LABELLED, UNLABELLED, WAITING, FAILED)
_STEPS = {
    "clips": "Reading the clip",
    "descriptions": "Describing",
    "votes": "Extracting labels",
    "judgments": "Judging",
}


def render(
    summary: Summary,
    items: Sequence[GalleryItem],
    runs: Sequence[dict[str, Any]],
    out: str,
    *,
    people: Reviewed | None = None,
    right: Reliability | None = None,
    rounds: RoundsReport | None = None,
    recordings: Recordings | None = None,
    long_clips: int = 0,
    trainings: Sequence[Training] = (),
) -> str:
    """The report as one HTML page; the same input gives the same text.

    items: the clips of the gallery; runs: the run files of OUT in any order, as `emo.store.runs` writes
    them; a key that is missing shows as unknown; out: OUT, for the commands that the page names; people: what
    reviews say; right: how often labels are right by the agreement of their voters, None: too few reviews
    tell; rounds: what they came to, None: nothing was asked in rounds; recordings: None where no clip
    is a part of its file; long_clips: clips that had better be split; trainings: the newest first.
    """
    people = people or Reviewed()
    cards = sorted(map(Card(len(items), people).view, items), key=lambda card: _STATES.index(card["state"]))
    shown_labels = sorted({kept["label"] for card in cards for kept in card["kept"]})
    shown_experts = sorted({expert["name"] for card in cards for expert in card["experts"]})
    places = {card["video_id"]: f"#clip-{number}" for number, card in enumerate(cards, 1)}
    values = {
        "recordings": None if recordings is None else strips.view(recordings, places),
        "long_clips": long_clips,
        "summary": summary,
        "headline": _headline(summary),
        "shares": _shares(summary),
        "runs": _runs(runs),
        "trainings": [_training(one) for one in trainings],
        "runs_left_out": max(len(runs) - RUNS_SHOWN, 0),
        "labels": _bars(summary.labels[:LABELS_SHOWN], summary.labelled, vocabulary.valence),
        "labels_left_out": max(len(summary.labels) - LABELS_SHOWN, 0),
        "families": _bars(summary.families, summary.labelled, _family_valence),
        "outside": _bars(
            [Count("outside the vocabulary", summary.outside)], summary.labelled, lambda _: None
        ),
        "agreement": _histogram(summary),
        "rounds": rounds,
        "heatmaps": [
            ("By word", "Two labels match when they are the same word.", _cells(summary.words)),
            (
                "By cluster",
                "Two labels match when they are near-synonyms, such as happy and glad.",
                _cells(summary.clusters),
            ),
        ],
        "failures": _failures(summary),
        "errors_left_out": max(len(summary.failures) - ERRORS_SHOWN, 0),
        "failed_rows": sum(group.rows for group in summary.failures),
        "failures_command": f"emo failures --out {shlex.quote(out)}",
        "people": people,
        "right": right,
        "taken": _bars(people.taken[:LABELS_CHANGED], len(people.by_clip or ()), vocabulary.valence),
        "added": _bars(people.added[:LABELS_CHANGED], len(people.by_clip or ()), vocabulary.valence),
        "cards": cards,
        "states": [state for state in _STATES if any(card["state"] == state for card in cards)],
        "shown_labels": shown_labels,
        "shown_experts": shown_experts,
    }
    filters: dict[str, Callable[..., Any]] = {
        "number": _number,
        "percent": _percent,
        "seconds": seconds,
        "decimals": _decimals,
    }
    return pages.render(
        "emo.report", "page.html", values, style="page.css", script="page.js", filters=filters
    )


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "–" if value is None else str(value)


def _decimals(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _percent(part: int, whole: int) -> str:
    if not whole:
        return "–"
    share = 100 * part / whole
    if part and share < 1:
        return "< 1 %"
    return "> 99 %" if part < whole and share > 99 else f"{share:.0f} %"


def _headline(summary: Summary) -> str:
    if not summary.clips:
        return "No clips yet"
    clips = "clip" if summary.clips == 1 else "clips"
    return f"{summary.labelled:,} of {summary.clips:,} {clips} labelled"


def _shares(summary: Summary) -> list[dict[str, Any]]:
    """The parts of all clips, with their place on a bar of 100 units."""
    counts = (summary.labelled, summary.unlabelled, summary.waiting, summary.failed)
    start, shares = 0.0, []
    for state, count in zip(_STATES, counts, strict=True):
        width = 100 * count / summary.clips if summary.clips else 0.0
        shares.append({"state": state, "count": count, "start": f"{start:.3f}", "width": f"{width:.3f}"})
        start += width
    return shares


def _bars(counts: Sequence[Count], whole: int, valence: Any) -> list[dict[str, Any]]:
    most = max((count.clips for count in counts), default=0)
    return [
        {
            "name": short(count.name, LABEL_LENGTH),
            "clips": count.clips,
            "share": _percent(count.clips, whole),
            "width": f"{100 * count.clips / most:.2f}" if most else "0",
            "tone": tone(valence(count.name)),
        }
        for count in counts
    ]


@cache
def _family_valence(family: str) -> float | None:
    found = [word.valence for word in vocabulary.words().values() if word.family == family]
    return sum(found) / len(found) if found else None


def _histogram(summary: Summary) -> list[dict[str, Any]]:
    most = max(summary.agreement, default=0)
    known = sum(summary.agreement)
    return [
        {
            "name": f"{place / BINS:.1f} to {(place + 1) / BINS:.1f}",
            "clips": clips,
            "share": _percent(clips, known),
            "width": f"{100 * clips / most:.2f}" if most else "0",
            "tone": "plain",
        }
        for place, clips in enumerate(summary.agreement)
    ]


def _cells(heatmap: Heatmap) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "final": name == FINAL and row == len(heatmap.names) - 1,
            "cells": [
                {
                    "mean": None if mean is None else f"{mean:.2f}",
                    "level": 0 if mean is None else round(10 * mean),
                    "clips": clips,
                    "same": row == column,
                }
                for column, (mean, clips) in enumerate(
                    zip(heatmap.mean[row], heatmap.clips[row], strict=True)
                )
            ],
        }
        for row, name in enumerate(heatmap.names)
    ]


def _failures(summary: Summary) -> list[dict[str, Any]]:
    return [
        {
            "step": _STEPS[group.step],
            "expert": group.expert,
            "error": short(group.error, LABEL_LENGTH),
            "rows": group.rows,
            "files": group.files,
            "left_out": group.rows - len(group.files),
            # Most files of one error have one message: said once.
            "message": group.files[0].message if len({file.message for file in group.files}) == 1 else "",
        }
        for group in summary.failures[:ERRORS_SHOWN]
    ]


def _runs(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The newest runs, the newest first."""
    newest = sorted(runs, key=lambda run: str(run.get("run_id") or ""), reverse=True)[:RUNS_SHOWN]
    return [_run(run) for run in newest]


def _run(run: dict[str, Any]) -> dict[str, Any]:
    steps = [step for step in run.get("steps") or () if isinstance(step, dict)]
    times = [step["seconds"] for step in steps if isinstance(step.get("seconds"), int | float)]
    started, finished = _moment(run.get("started")), _moment(run.get("finished"))
    longest = max(times, default=0) or 1
    return {
        "command": run.get("command") or "unknown command",
        "source": run.get("source"),
        "run_id": run.get("run_id") or "unknown",
        "version": run.get("emo_version"),
        "outcome": run.get("outcome") or "unknown",
        "error": run.get("error"),
        "started": f"{started:%d %B %Y, %H:%M} UTC" if started else run.get("started") or "unknown time",
        "seconds": (finished - started).total_seconds() if started and finished else sum(times),
        "steps": [
            {
                "name": str(step.get("name") or "unknown").replace(":", ": "),
                **{name: step.get(name) for name in ("rows", "ok", "failed", "skipped", "seconds")},
                "width": f"{100 * _positive(step.get('seconds')) / longest:.2f}",
            }
            for step in steps
        ],
    }


def _training(one: Training) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for step in one.run["steps"]:
        shown |= step.get("figures") or {}
    history = [dict(zip(("step", "loss", "held_out_loss"), point, strict=True)) for point in one.curve]
    return {
        "name": one.name,
        "run": _run(one.run),
        "goes_on": one.goes_on,
        "figures": ", ".join(figures(shown)),
        "curve": Markup(curve(history)),
    }


def _positive(value: Any) -> float:
    return max(float(value), 0.0) if isinstance(value, int | float) else 0.0


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
