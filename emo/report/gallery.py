"""Which clips a report shows, and everything that it shows of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo.errors import InputError
from emo.report.agreement import same_word
from emo.report.summary import GALLERY_LIMIT, Summary
from emo.store import tables
from emo.vocabulary import cluster_of

LABELLED = "labelled"
UNLABELLED = "without a label"
WAITING = "not judged yet"
FAILED = "failed"


@dataclass(frozen=True)
class Support:
    """One voter behind a label: the words it used, where they are other than the label itself."""

    expert: str
    sample: int
    words: tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """One label that was named for a clip; kept: it is one of the labels of the judgment."""

    label: str
    score: float | None
    kept: bool
    voters: tuple[Support, ...]


@dataclass(frozen=True)
class Answer:
    """What one voter wrote; read: the text that its labels were read off, where that is another one (the
    words that are said, merged in); labels: None where there is no vote; notes: of the vote; error: empty
    where nothing failed.
    """

    expert: str
    sample: int
    text: str | None
    read: str | None
    labels: tuple[str, ...] | None
    notes: tuple[str, ...]
    degraded: tuple[str, ...]
    model: str | None
    cut_off: bool
    error: str
    error_message: str


@dataclass(frozen=True)
class GalleryItem:
    """One clip of the gallery.

    state: LABELLED, UNLABELLED, WAITING or FAILED; error: empty where the clip did not fail; sizes in pixels;
    frames: JPEG, with their times in seconds; n_voters, n_from_transcript, conflict: as the judgment says;
    beside: why labels that mean nearly the same both stand, a sentence for each pair; faces: faces in the
    middle frames, where they were counted.
    """

    video_id: str
    uri: str
    state: str
    error: str
    error_message: str
    duration_s: float | None
    width: int | None
    height: int | None
    sound: bool
    frames: tuple[bytes, ...]
    frame_times: tuple[float, ...]
    transcript: str | None
    transcript_source: str | None
    language: str | None
    candidates: tuple[Candidate, ...]
    agreement: float | None
    n_voters: int | None
    n_from_transcript: int | None
    conflict: float | None
    beside: tuple[str, ...]
    description: str | None
    judge: str | None
    answers: tuple[Answer, ...]
    faces: int | None = None


def choose_gallery(summary: Summary, count: int = 60, reviewed: Sequence[str] = ()) -> list[str]:
    """The clips to show, sorted by video_id: at most `count`, all of them where there are no more.

    A sixth each for failed clips (every error), for those whose experts agree least and for the reviewed ones
    that come first, a twelfth for clips without a label, the rest over the labels in turn, the most frequent
    first. Places that one of these leaves free go to clips by hash of video_id. Raises InputError for a count
    outside 0 … 500.
    """
    if not 0 <= count <= GALLERY_LIMIT:
        raise InputError(f"a gallery of {count} clips; expected 0 to {GALLERY_LIMIT}")
    pools = summary.pools
    chosen: dict[str, None] = {}

    def take(ids: Iterable[str], share: int) -> None:
        free = min(share, count - len(chosen))
        for video_id in ids:
            if free <= 0:
                return
            if video_id not in chosen:
                chosen[video_id] = None
                free -= 1

    take(_in_turn(pools.failed), -(-count // 6))
    take(pools.disagreed, count // 6)
    take(reviewed, count // 6)
    take(pools.unlabelled, count // 12)
    take(_in_turn(pools.by_label), count)
    take(pools.any, count)
    return sorted(chosen)


def _in_turn(pools: Sequence[Sequence[str]]) -> Iterable[str]:
    for place in range(max(map(len, pools), default=0)):
        for pool in pools:
            if place < len(pool):
                yield pool[place]


def gallery_items(
    video_ids: Sequence[str],
    *,
    clips: pa.Table,
    descriptions: pa.Table,
    votes: pa.Table,
    judgments: pa.Table,
    faces: Mapping[str, int] | None = None,
) -> list[GalleryItem]:
    """Everything shown of the given clips, in their order.

    The tables hold all columns and the newest row of each key of these clips; rows of other clips are not
    looked at. A clip without a row in `clips` (a votes table from elsewhere) is shown without frames.
    faces: the faces in clips of which they were counted.
    """
    wanted = pa.array(video_ids, pa.string())
    clip_rows = {row["video_id"]: row for row in _rows(clips, wanted)}
    judgment_rows = {row["video_id"]: row for row in _rows(judgments, wanted)}
    described, voted = (
        {(row["video_id"], row["expert"], row["sample"]): row for row in _rows(table, wanted)}
        for table in (descriptions, votes)
    )
    voters: dict[str, list[tuple[str, str, int]]] = {}
    for key in sorted(described.keys() | voted.keys()):
        voters.setdefault(key[0], []).append(key)
    return [
        _item(
            video_id,
            clip_rows.get(video_id, {}),
            judgment_rows.get(video_id, {}),
            [_answer(key, described.get(key, {}), voted.get(key, {})) for key in voters.get(video_id, ())],
            (faces or {}).get(video_id),
        )
        for video_id in video_ids
    ]


def _rows(table: pa.Table, wanted: pa.Array) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.filter(
        pc.is_in(table.column("video_id").cast(pa.string()), value_set=wanted)
    ).to_pylist()
    return rows


def _answer(key: tuple[str, str, int], description: dict[str, Any], vote: dict[str, Any]) -> Answer:
    failed = next((row for row in (description, vote) if row.get("status") == tables.FAILED), {})
    labels = vote.get("labels") if vote.get("status") == tables.OK else None
    return Answer(
        expert=key[1],
        sample=key[2],
        text=description.get("text"),
        read=vote.get("merged_text"),
        notes=tuple(vote.get("notes") or ()),
        labels=None if labels is None else tuple(label for label in labels if label is not None),
        degraded=tuple(description.get("degraded") or ()),
        model=description.get("model"),
        cut_off=description.get("finish_reason") == "length",
        error=(failed.get("error") or "unknown") if failed else "",
        error_message=failed.get("error_message") or "",
    )


def _item(
    video_id: str,
    clip: dict[str, Any],
    judgment: dict[str, Any],
    answers: list[Answer],
    faces: int | None,
) -> GalleryItem:
    failed = next((row for row in (clip, judgment) if row.get("status") == tables.FAILED), {})
    # What an older file of the same name was judged to be says nothing about one that cannot be read.
    judged = {} if failed else judgment
    candidates = _candidates(judged, answers)
    if failed:
        state = FAILED
    elif not judged:
        state = WAITING
    else:
        state = LABELLED if any(candidate.kept for candidate in candidates) else UNLABELLED
    return GalleryItem(
        video_id=video_id,
        uri=clip.get("uri") or "",
        state=state,
        error=(failed.get("error") or "unknown") if failed else "",
        error_message=failed.get("error_message") or "",
        duration_s=clip.get("duration_s"),
        width=clip.get("width"),
        height=clip.get("height"),
        sound=clip.get("audio") is not None,
        frames=tuple(frame for frame in clip.get("frames") or () if frame is not None),
        frame_times=tuple(clip.get("frame_times") or ()),
        transcript=clip.get("transcript"),
        transcript_source=clip.get("transcript_source"),
        language=clip.get("language"),
        candidates=candidates,
        agreement=judged.get("agreement"),
        n_voters=judged.get("n_voters"),
        n_from_transcript=judged.get("n_from_transcript"),
        conflict=judged.get("conflict"),
        beside=_beside([one.label for one in candidates if one.kept], answers),
        description=judged.get("description"),
        judge=judged.get("judge"),
        answers=tuple(answers),
        faces=faces,
    )


def _candidates(judgment: dict[str, Any], answers: Sequence[Answer]) -> tuple[Candidate, ...]:
    labels = [label for label in judgment.get("labels") or () if label is not None]
    scores = judgment.get("scores") or [None] * len(labels)
    kept = dict(zip(labels, scores, strict=True))
    named = {(answer.expert, answer.sample): answer.labels or () for answer in answers}
    evidence = {entry["label"]: entry for entry in judgment.get("evidence") or () if entry}
    found = []
    for label in dict.fromkeys([*kept, *evidence]):
        entry = evidence.get(label, {})
        voters = sorted(map(_voter, entry.get("voters") or ()))
        found.append(
            Candidate(
                label=label,
                score=kept[label] if kept.get(label) is not None else entry.get("score"),
                kept=label in kept,
                voters=tuple(
                    Support(*voter, words=_words_for(label, named.get(voter, ()))) for voter in voters
                ),
            )
        )
    return tuple(found)


def _beside(labels: Sequence[str], answers: Sequence[Answer]) -> tuple[str, ...]:
    """Why each label stands beside a better one of its cluster: some voters gave both."""
    found = []
    for place, label in enumerate(labels):
        cluster = cluster_of(label)
        better = next((one for one in labels[:place] if cluster and cluster_of(one) == cluster), None)
        if better is None:
            continue
        both = [
            f"{answer.expert}#{answer.sample}"
            for answer in answers
            if {same_word(better), same_word(label)} <= set(map(same_word, answer.labels or ()))
        ]
        if both:
            more = f" and {len(both) - 3} more" if len(both) > 3 else ""
            voters = f"{', '.join(both[:3])}{more}"
            found.append(
                f"“{better}” and “{label}” mean nearly the same; both stand because {voters} gave both."
            )
    return tuple(found)


def _voter(text: str) -> tuple[str, int]:
    """The expert and sample of `expert#sample`."""
    expert, _, sample = text.rpartition("#")
    return (expert, int(sample)) if expert and sample.isdecimal() else (text, 0)


def _words_for(label: str, given: Sequence[str]) -> tuple[str, ...]:
    """The words with which a voter meant the label; none where it used the label itself."""
    if any(same_word(word) == same_word(label) for word in given):
        return ()
    cluster = cluster_of(label)
    return tuple(word for word in given if cluster is not None and cluster_of(word) == cluster)
