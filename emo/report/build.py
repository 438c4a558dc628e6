"""The report's page, from plain values; `emo.pages.rendering` says how data is kept from becoming markup."""

import re
import shlex
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from emo import vocabulary
from emo.pages import rendering as pages
from emo.report import recordings as strips
from emo.report.agreement import FINAL, Heatmap
from emo.report.gallery import FAILED, LABELLED, UNLABELLED, WAITING, Answer, Candidate, GalleryItem
from emo.report.people import OfClip, Reviewed
from emo.report.recordings import Recordings
from emo.report.rounds import RoundsReport
from emo.report.summary import BINS, Count, Summary
from emo.report.thumbnails import contact_strip

LABELS_SHOWN = 24
LABELS_CHANGED = 12
ERRORS_SHOWN = 40
RUNS_SHOWN = 20
ANSWERS_SHOWN = 40
CANDIDATES_SHOWN = 30
LABEL_LENGTH = 80
# Characters of the whole page, shared by the clips of the gallery.
_IMAGE_BUDGET, _IMAGES_OF_CLIP = 6_500_000, 160_000
_TEXT_BUDGET, _TEXT_OF_CLIP = 1_500_000, 40_000

_STATES = (LABELLED, UNLABELLED, WAITING, FAILED)
_STEPS = {
    "clips": "Reading the clip",
    "descriptions": "Describing",
    "votes": "Extracting labels",
    "judgments": "Judging",
}
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")


def render(
    summary: Summary,
    items: Sequence[GalleryItem],
    runs: Sequence[dict[str, Any]],
    out: str,
    *,
    people: Reviewed | None = None,
    rounds: RoundsReport | None = None,
    recordings: Recordings | None = None,
    long_clips: int = 0,
) -> str:
    """The report as one HTML page; the same input gives the same text.

    items: the clips of the gallery; runs: the run files of OUT in any order, as `emo.store.runs` writes
    them; a key that is missing shows as unknown; out: OUT, for the commands that the page names; people: what
    reviews say; rounds: what they came to, None: nothing was asked in rounds; recordings: None where no clip
    is a part of its file; long_clips: clips that had better be split.
    """
    people = people or Reviewed()
    cards = sorted(map(_Card(len(items), people).view, items), key=lambda card: _STATES.index(card["state"]))
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
        "seconds": _seconds,
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


def _seconds(value: Any) -> str:
    if not isinstance(value, int | float):
        return "–"
    if value < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


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
            "name": _short(count.name, LABEL_LENGTH),
            "clips": count.clips,
            "share": _percent(count.clips, whole),
            "width": f"{100 * count.clips / most:.2f}" if most else "0",
            "tone": _tone(valence(count.name)),
        }
        for count in counts
    ]


def _tone(valence: float | None) -> str:
    if valence is None or abs(valence) < 0.25:
        return "neither"
    return "pleasant" if valence > 0 else "unpleasant"


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
            "error": _short(group.error, LABEL_LENGTH),
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


def _positive(value: Any) -> float:
    return max(float(value), 0.0) if isinstance(value, int | float) else 0.0


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


class _Card:
    """Clips as the template shows them, within the share of the page that one of `clips` clips may fill."""

    def __init__(self, clips: int, people: Reviewed) -> None:
        self._people = people
        self._images = min(_IMAGES_OF_CLIP, _IMAGE_BUDGET // max(clips, 1))
        self._text = min(_TEXT_OF_CLIP, _TEXT_BUDGET // max(clips, 1))

    def view(self, item: GalleryItem) -> dict[str, Any]:
        strip = contact_strip(item.frames, item.frame_times, self._images)
        answers = item.answers[:ANSWERS_SHOWN]
        length = max(200, min(4000, self._text // (len(answers) + 1)))
        samples = _samples(item.answers)
        closest = _closest(item)
        candidates = [_candidate(candidate, samples) for candidate in item.candidates]
        kept = [view for view, candidate in zip(candidates, item.candidates, strict=True) if candidate.kept]
        others = [
            view for view, candidate in zip(candidates, item.candidates, strict=True) if not candidate.kept
        ]
        return {
            "video_id": item.video_id,
            "faces": item.faces,
            "name": _short(item.video_id, 300),
            "uri": _short(item.uri, 300) if item.uri != item.video_id else "",
            "state": item.state,
            "error": item.error,
            "error_message": _short(item.error_message, 600),
            "facts": _facts(item),
            "agreement": item.agreement,
            "n_voters": item.n_voters,
            "n_from_transcript": item.n_from_transcript,
            "conflict": item.conflict,
            "beside": [_short(sentence, 300) for sentence in item.beside],
            "judge": item.judge,
            "thumbnails": strip.thumbnails,
            "broken": strip.broken,
            "portrait": bool(strip.thumbnails) and strip.thumbnails[0].height > strip.thumbnails[0].width,
            "transcript": _excerpt(item.transcript, length),
            "transcript_source": item.transcript_source,
            "language": _language(item.language),
            "people": _said(self._people.of(item.video_id)),
            "kept": kept[:CANDIDATES_SHOWN],
            "kept_left_out": max(len(kept) - CANDIDATES_SHOWN, 0),
            "others": others[:CANDIDATES_SHOWN],
            "others_left_out": max(len(others) - CANDIDATES_SHOWN, 0),
            "experts": _by_expert(
                [_answer(answer, samples, length, answer is closest) for answer in answers]
            ),
            "answers_left_out": len(item.answers) - len(answers),
            "description": _excerpt(None if closest else item.description, length),
        }


def _said(people: OfClip | None) -> dict[str, Any] | None:
    """What people say of a clip; `labels` of nobody in particular are those that count."""
    if people is None:
        return None
    counts = people.counts
    return {
        "agree": counts is not None,
        "changed": people.changed,
        "labels": None if counts is None else _chips(counts.labels),
        "said": [
            {"name": name, "labels": _chips(labels), "comment": _short(comment or "", 600)}
            for name, labels, comment in people.said
        ],
    }


def _chips(labels: Sequence[str] | None) -> list[dict[str, Any]] | None:
    """Labels with their colour; None: unusable."""
    if labels is None:
        return None
    return [
        {"label": _short(label, LABEL_LENGTH), "tone": _tone(vocabulary.valence(label))}
        for label in labels[:CANDIDATES_SHOWN]
    ]


def _excerpt(text: str | None, length: int) -> dict[str, Any] | None:
    if text is None or not text.strip():
        return None
    return {"text": _short(text.strip(), length), "cut": len(text.strip()) > length}


def _samples(answers: Sequence[Answer]) -> dict[str, int]:
    samples: dict[str, int] = {}
    for answer in answers:
        samples[answer.expert] = samples.get(answer.expert, 0) + 1
    return samples


def _closest(item: GalleryItem) -> Answer | None:
    """The answer whose text the judgment took as the description of the clip."""
    if not item.description:
        return None
    return next((answer for answer in item.answers if (answer.read or answer.text) == item.description), None)


def _facts(item: GalleryItem) -> list[str]:
    facts = []
    if item.duration_s is not None:
        facts.append(_seconds(item.duration_s))
    if item.width and item.height:
        facts.append(f"{item.width} × {item.height}")
    if item.frames:
        facts.append("with sound" if item.sound else "no sound")
    elif item.sound:
        facts.append("sound alone")
    if item.language:
        facts.append(_short(item.language, 20))
    return facts


def _language(code: str | None) -> str:
    return code if code and _LANGUAGE.fullmatch(code) else ""


def _candidate(candidate: Candidate, samples: dict[str, int]) -> dict[str, Any]:
    by_expert: dict[str, list[tuple[str, ...]]] = {}
    for voter in candidate.voters:
        by_expert.setdefault(voter.expert, []).append(voter.words)
    return {
        "label": _short(candidate.label, LABEL_LENGTH),
        "score": candidate.score,
        "width": "0" if candidate.score is None else f"{100 * min(max(candidate.score, 0.0), 1.0):.1f}",
        "tone": _tone(vocabulary.valence(candidate.label)),
        "voters": [
            {
                "expert": expert,
                "times": len(words),
                "samples": samples.get(expert, 0),
                "words": [
                    _short(word, LABEL_LENGTH) for word in dict.fromkeys(w for given in words for w in given)
                ][:8],
            }
            for expert, words in by_expert.items()
        ][:ANSWERS_SHOWN],
    }


def _by_expert(answers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry per expert: the answer shown first (the one closest to the consensus, else the first)."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for answer in answers:
        groups.setdefault(answer["expert"], []).append(answer)
    experts = []
    for name, group in groups.items():
        first, *others = sorted(group, key=lambda answer: not answer["closest"])
        experts.append({"name": name, "first": first, "others": others})
    return experts


def _answer(answer: Answer, samples: dict[str, int], length: int, closest: bool) -> dict[str, Any]:
    return {
        "expert": answer.expert,
        "sample": answer.sample if samples[answer.expert] > 1 else None,
        "model": answer.model,
        "text": _excerpt(answer.read or answer.text, length),
        "before_words": _excerpt(answer.text if answer.read else None, length),
        "notes": [_short(note, 300) for note in answer.notes],
        "labels": _chips(answer.labels),
        "degraded": answer.degraded,
        "cut_off": answer.cut_off,
        "error": answer.error,
        "error_message": _short(answer.error_message, 600),
        "closest": closest,
    }
