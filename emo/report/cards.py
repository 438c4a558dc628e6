"""Clips as the template of the report shows them: one card each, within its share of the page."""

import re
from collections.abc import Sequence
from typing import Any

from emo import vocabulary
from emo.report.gallery import Answer, Candidate, GalleryItem
from emo.report.people import OfClip, Reviewed
from emo.report.thumbnails import contact_strip

ANSWERS_SHOWN = 40
CANDIDATES_SHOWN = 30
LABEL_LENGTH = 80
# Characters of the whole page, shared by the clips of the gallery.
_IMAGE_BUDGET, _IMAGES_OF_CLIP = 6_500_000, 160_000
_TEXT_BUDGET, _TEXT_OF_CLIP = 1_500_000, 40_000

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")


class Card:
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
            "name": short(item.video_id, 300),
            "uri": short(item.uri, 300) if item.uri != item.video_id else "",
            "state": item.state,
            "error": item.error,
            "error_message": short(item.error_message, 600),
            "facts": _facts(item),
            "agreement": item.agreement,
            "n_voters": item.n_voters,
            "n_from_transcript": item.n_from_transcript,
            "conflict": item.conflict,
            "beside": [short(sentence, 300) for sentence in item.beside],
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
            {"name": name, "labels": _chips(labels), "comment": short(comment or "", 600)}
            for name, labels, comment in people.said
        ],
    }


def _chips(labels: Sequence[str] | None) -> list[dict[str, Any]] | None:
    """Labels with their colour; None: unusable."""
    if labels is None:
        return None
    return [
        {"label": short(label, LABEL_LENGTH), "tone": tone(vocabulary.valence(label))}
        for label in labels[:CANDIDATES_SHOWN]
    ]


def _excerpt(text: str | None, length: int) -> dict[str, Any] | None:
    if text is None or not text.strip():
        return None
    return {"text": short(text.strip(), length), "cut": len(text.strip()) > length}


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
        facts.append(seconds(item.duration_s))
    if item.width and item.height:
        facts.append(f"{item.width} × {item.height}")
    if item.frames:
        facts.append("with sound" if item.sound else "no sound")
    elif item.sound:
        facts.append("sound alone")
    if item.language:
        facts.append(short(item.language, 20))
    return facts


def _language(code: str | None) -> str:
    return code if code and _LANGUAGE.fullmatch(code) else ""


def _candidate(candidate: Candidate, samples: dict[str, int]) -> dict[str, Any]:
    by_expert: dict[str, list[tuple[str, ...]]] = {}
    for voter in candidate.voters:
        by_expert.setdefault(voter.expert, []).append(voter.words)
    return {
        "label": short(candidate.label, LABEL_LENGTH),
        "score": candidate.score,
        "width": "0" if candidate.score is None else f"{100 * min(max(candidate.score, 0.0), 1.0):.1f}",
        "tone": tone(vocabulary.valence(candidate.label)),
        "voters": [
            {
                "expert": expert,
                "times": len(words),
                "samples": samples.get(expert, 0),
                "words": [
                    short(word, LABEL_LENGTH) for word in dict.fromkeys(w for given in words for w in given)
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
        "notes": [short(note, 300) for note in answer.notes],
        "labels": _chips(answer.labels),
        "degraded": answer.degraded,
        "cut_off": answer.cut_off,
        "error": answer.error,
        "error_message": short(answer.error_message, 600),
        "closest": closest,
    }


def short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def tone(valence: float | None) -> str:
    if valence is None or abs(valence) < 0.25:
        return "neither"
    return "pleasant" if valence > 0 else "unpleasant"


def seconds(value: Any) -> str:
    if not isinstance(value, int | float):
        return "–"
    if value < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
