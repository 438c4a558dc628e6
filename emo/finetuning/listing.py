"""The samples that a run is asked to train on, before their media are read: from the table, or from files."""

import hashlib
import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emo import uses
from emo.captions import messages
from emo.captions.chat_files import files_of, read_chats
from emo.captions.messages import Sample, Turn, Video
from emo.captions.prompts import load_caption_prompt, of_whole_person
from emo.captions.published import read_published, to_sample
from emo.captions.splits import split_of
from emo.errors import InputError, RowError
from emo.experts.in_process import finetunable
from emo.experts.prompts import load_prompt
from emo.experts.protocol import AUDIO, FRAMES
from emo.finetuning import batching, samples, senses
from emo.finetuning.prepared import HELD_OUT, NOT_FOR_TRAINING, TRAIN, Entry
from emo.finetuning.settings import Finetune, Source
from emo.review.consensus import Agreed, reviewed
from emo.sources.folders import read_through
from emo.sources.lookup import VIDEO_SUFFIXES
from emo.sources.records import is_table
from emo.store import committed, planning
from emo.store.s3 import S3Settings
from emo.store.storage import Storage, storage_of
from emo.store.tables import CAPTIONS
from emo.terminal.progress import say
from emo.vocabulary.meaning import meaning

# Rows of the captions table that are Python values at one time.
_READ_ROWS = 4096


@dataclass(frozen=True)
class Listed:
    """A sample before its media were read: `media` names them, `where` a person finds it."""

    entry: Entry
    clip: str | None = None  # video_id in the clips table
    images: tuple[str, ...] = ()
    videos: tuple[Video, ...] = ()
    audios: tuple[str, ...] = ()
    frame_times: tuple[tuple[float, ...], ...] = ()
    where: str | None = None


def list_samples(out: Storage, settings: Finetune) -> tuple[list[Listed], str]:
    """All samples, refused ones with their error, and the fingerprint of the data."""
    listed = [one for source in settings.sources for one in _of_source(source, out, settings)]
    _check_names(listed)
    return listed, batching.fingerprint(_identity(one) for one in listed)


def _of_source(source: Source, out: Storage, settings: Finetune) -> list[Listed]:
    if source.data == "captions":
        listed = _from_table(out, settings)
        what = f"{out.full(CAPTIONS.name)}"
    else:
        what = source.data
        files = _files(what, out.s3)
        listed = [one for path in files[TRAIN] for one in _from_file(path, TRAIN, source, settings, out.s3)]
        if source.held_out is not None:
            files[HELD_OUT] = _files(source.held_out, out.s3)[TRAIN]
        elif settings.held_out_share and HELD_OUT not in files:
            listed = [_on_its_side(one, settings.held_out_share) for one in listed]
        for path in files.get(HELD_OUT, []):
            listed += _from_file(path, HELD_OUT, source, settings, out.s3)
    good = [one for one in listed if one.entry.error is None and one.entry.split == TRAIN]
    if not good:
        bad = [one.entry for one in listed if one.entry.error is not None]
        codes = ", ".join(f"{code} {count}" for code, count in Counter(e.error for e in bad).most_common())
        more = f", refused as: {codes}; for example: {bad[0].error_message}" if bad else ""
        raise InputError(f"{what} holds no sample that can be trained on ({len(listed)} in all){more}")
    if settings.data == "captions" and settings.validation.samples:
        _check_held_out(listed, what)
    if source.weight == 1.0:
        return listed
    return [replace(one, entry=replace(one.entry, weight=source.weight)) for one in listed]


def _check_names(listed: Sequence[Listed]) -> None:
    """Files name their samples by what they hold: one file behind two names would be two of each."""
    counts = Counter(one.entry.sample_id for one in listed)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise InputError(
            f"finetune.data: {len(twice)} samples are there twice, such as {twice[0]!r}: two of the files "
            "are the same; name each once and give it a weight"
        )


def _check_held_out(listed: Sequence[Listed], what: str) -> None:
    if not any(one.entry.split == HELD_OUT for one in listed):
        raise InputError(
            f"{what} holds no caption of the split {HELD_OUT}, and without one no F1 says whether an adapter "
            "is any good. Split otherwise (caption.split_by, caption.video_of, caption.splits), or set "
            "finetune.validation.samples=0"
        )


def _on_its_side(one: Listed, share: float) -> Listed:
    """The sample in the split that its medium belongs to, whatever other samples there are."""
    media = (*one.images, *one.videos, *one.audios)
    first = media[0] if media else one.entry.sample_id
    # Windows of a clip show other frames of one folder.
    pictures = one.images[1:] or not isinstance(first, str)
    shown = first if isinstance(first, str) else first[0]
    group = posixpath.dirname(shown) if pictures else shown
    split = split_of(group, {TRAIN: 1 - share, HELD_OUT: share, "test": 0.0})
    return replace(one, entry=replace(one.entry, split=split))


def _identity(one: Listed) -> Any:
    entry = one.entry
    times = one.frame_times
    weight = [] if entry.weight == 1.0 else [entry.weight]
    return (entry, one.clip, one.images, one.videos, one.audios, *([times] if times else []), *weight)


def _from_table(out: Storage, settings: Finetune) -> list[Listed]:
    columns = ["video_id", "split", "messages", "frames", "audio", "labels", "source", "status", "filters"]
    rows = committed.read_newest(out, committed.folder(CAPTIONS), CAPTIONS, columns)
    rows = planning.well(rows)
    people = reviewed(out)
    free = set(uses.allowed(out, rows, training=True).column("video_id").to_pylist())
    listed = []
    # Captions of one prompt have one question: a million of them would be a gigabyte of the same texts.
    questions: dict[str, str] = {}
    for row in (row for part in rows.to_batches(_READ_ROWS) for row in part.to_pylist()):
        if row["split"] not in (TRAIN, HELD_OUT):
            continue
        entry = Entry(
            row["caption_id"],
            row["split"],
            (),
            frames=None if row["frames"] is None else tuple(row["frames"]),
            window=(row["source"] or {}).get("window"),
            audio=bool(row["audio"]),
            labels=tuple(row["labels"] or ()),
        )
        try:
            if row["video_id"] not in free:
                raise RowError(NOT_FOR_TRAINING, "its manifest says that the clip may not be trained on")
            entry = _as_reviewed(entry, people.get(row["video_id"]))
            drafter = (row["source"] or {}).get("expert")
            senses.check(settings, senses.of_caption(row), f"{drafter or 'its expert'} wrote it about")
            turns: Sequence[messages.Turn] = messages.turns_of(row["messages"])
            if of_whole_person((row["source"] or {}).get("prompt") or ""):
                turns = _as_labelled(turns, entry.sample_id, settings)
            entry = _with_turns(entry, turns, settings, has_media=True)
            entry = replace(entry, turns=tuple(_kept_once(turn, questions) for turn in entry.turns))
        except RowError as error:
            entry = replace(entry, error=error.code, error_message=f"{row['caption_id']}: {error.message}")
        listed.append(Listed(entry, clip=row["video_id"]))
    return listed


def _kept_once(turn: Turn, known: dict[str, str]) -> Turn:
    if turn.role == "assistant":
        return turn
    return replace(turn, content=known.setdefault(turn.content, turn.content))


def _as_reviewed(entry: Entry, people: Agreed | None) -> Entry:
    """The caption as people who reviewed its clip let it stand; raises RowError where they do not.

    One to train on must name a meaning that they agree on. One that is held out is scored by their labels.
    """
    if people is None:
        return entry
    if people.labels is None:
        raise RowError("unusable", "people who reviewed the clip call it unusable")
    if entry.split == HELD_OUT:
        return replace(entry, labels=people.labels)
    both = entry.labels and people.labels
    if both and not {*map(meaning, people.labels)} & {*map(meaning, entry.labels or ())}:
        raise RowError("against_review", f"people agree on {', '.join(people.labels)}; the caption on none")
    return entry


def _files(path: str, s3: S3Settings) -> dict[str, list[str]]:
    """The files at a path, by split: itself, or those of a data set's folder."""
    if is_table(path):
        return {TRAIN: [path]}
    folder = Storage(path, s3)
    is_file = not folder.on_s3 and Path(path).is_file()
    if is_file or not folder.names():
        raise InputError(
            f"finetune.data: {path} is not there, or of no known kind; expected a file (.jsonl, .json, .csv, "
            ".parquet) or a folder of them, on this machine or on S3; a data set of a hub is downloaded first"
        )
    return {split: [folder.full(name) for name in names] for split, names in files_of(folder).items()}


def _from_file(path: str, split: str, source: Source, settings: Finetune, s3: S3Settings) -> list[Listed]:
    folder, name = storage_of(path, s3)
    try:
        data = folder.read(name)
    except FileNotFoundError:
        raise InputError(f"finetune.data: {path} does not exist") from None
    chats = read_chats(data, path, folder.url)
    if chats is None:
        found = _published(data, path, source, settings, s3)
    else:
        found = [(sample, None, _shown(sample)) for sample in chats]
        _tell_unused(path, chats)
    digest = hashlib.sha256(data).hexdigest()[:12]
    family = finetunable(settings.family).family
    listed = []
    for number, (sample, labels, spoken_of) in enumerate(found, start=1):
        entry = Entry(f"{digest}-{number:06d}", split, (), labels=labels)
        if isinstance(sample, RowError):
            listed.append(Listed(replace(entry, error=sample.code, error_message=sample.message)))
            continue
        media = {kind: getattr(sample, kind) for kind in messages.TAGS}
        entry = replace(entry, pictures=bool(sample.images) and FRAMES in family.senses)
        try:
            senses.check(settings, spoken_of, "it is about")
            entry = _with_turns(entry, sample.turns, settings, has_media=any(media.values()))
        except RowError as error:
            entry = replace(entry, error=error.code, error_message=f"{sample.where}: {error.message}")
        listed.append(Listed(entry, **media, frame_times=sample.frame_times, where=sample.where))
    return listed


def _tell_unused(path: str, chats: Sequence[Sample | RowError]) -> None:
    unused = Counter(key for one in chats if isinstance(one, Sample) for key in one.unused)
    if unused:
        keys = ", ".join(f"{key} ({count} rows)" for key, count in unused.most_common())
        say(f"finetune: {path}: these keys say nothing to emo: {keys}")


# A sample or why it is none, its labels where the file holds them, the senses that it may speak of.
_Found = tuple[Sample | RowError, tuple[str, ...] | None, set[str]]


def _shown(sample: Sample | RowError) -> set[str]:
    if isinstance(sample, RowError):
        return set()
    return senses.of_files(sample.images, sample.videos, sample.audios)


def _published(data: bytes, path: str, source: Source, settings: Finetune, s3: S3Settings) -> list[_Found]:
    """Captions that others published, each with its video.

    Their authors saw and heard the clips; a set of labels speaks of neither.
    """
    if source.videos is None:
        raise InputError(
            f"{path} names its clips by the stems of their videos; set finetune.videos to the folder of these"
        )
    prompt = load_caption_prompt(source.prompt or "person")
    folder = Storage(source.videos, s3)
    by_stem: dict[str, list[str]] = {}
    # As `emo label` lists the same folder, links included.
    for entry in folder.entries() if folder.on_s3 else read_through(folder.url).entries:
        stem, suffix = posixpath.splitext(posixpath.basename(entry.path))
        if suffix.lower() in VIDEO_SUFFIXES:
            by_stem.setdefault(stem, []).append(folder.full(entry.path))
    if not by_stem:
        raise InputError(f"finetune.videos: {source.videos} holds no video")
    found: list[_Found] = []
    for caption in read_published(data, path):
        if isinstance(caption, RowError):
            found.append((caption, None, set()))
            continue
        videos = by_stem.get(caption.video_id, [])
        if len(videos) == 1:
            try:
                sample = to_sample(caption, prompt.question, videos=tuple(videos))
                if caption.described and of_whole_person(prompt.name):
                    turns = _as_labelled(sample.turns, f"{caption.video_id}\0{caption.text}", settings)
                    sample = replace(sample, turns=tuple(turns))
                found.append(
                    (sample, caption.labels or None, {FRAMES, AUDIO} if caption.described else set())
                )
            except RowError as error:
                found.append((RowError(error.code, f"{caption.where}: {error.message}"), None, set()))
            continue
        expected = f"expected one video {caption.video_id!r} below {source.videos}"
        there = f"{len(videos)} are there: {', '.join(videos)}" if videos else "none is there"
        found.append((RowError("media", f"{caption.where}: {expected}, {there}"), None, set()))
    return found


def _as_labelled(turns: Sequence[Turn], name: str, settings: Finetune) -> list[Turn]:
    """A chat about the whole person, in some samples with the question that `emo label` asks of the family.

    name: of the sample, which decides. An adapter that never met that question is asked it all the same.
    """
    digest = hashlib.sha256(f"question\0{name}".encode()).digest()
    if int.from_bytes(digest[:8], "big") / 2**64 >= settings.label_question:
        return list(turns)
    asked = load_prompt(f"{finetunable(settings.family).family.prompts}-description").text
    users = [number for number, turn in enumerate(turns) if turn.role == "user"]
    if len(users) != 1:
        return list(turns)
    changed = list(turns)
    shown = "".join(tag * turns[users[0]].content.count(tag) for tag in messages.TAGS.values())
    changed[users[0]] = replace(turns[users[0]], content=f"{shown}\n{asked}")
    return changed


def _with_turns(entry: Entry, turns: Sequence[Turn], settings: Finetune, has_media: bool) -> Entry:
    sample = samples.from_turns(entry.sample_id, turns, settings.system, has_media, entry.pictures)
    return replace(entry, turns=sample.turns, system=sample.system)
