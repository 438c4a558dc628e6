"""The samples that a run is asked to train on, before their media are read: from the table, or from files."""

import hashlib
import posixpath
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from emo.captions import messages
from emo.captions.chat_files import files_of, read_chats
from emo.captions.messages import Sample, Turn
from emo.captions.prompts import load_caption_prompt, of_whole_person
from emo.captions.published import read_published, to_sample
from emo.captions.splits import split_of
from emo.errors import InputError, RowError
from emo.experts.in_process import finetunable
from emo.experts.protocol import AUDIO, FRAMES
from emo.finetuning import samples, senses
from emo.finetuning.captioned import rows_of_table
from emo.finetuning.listed import Listed, Listing, tables_of
from emo.finetuning.prepared import HELD_OUT, TEST, TRAIN, Entry
from emo.finetuning.questions import as_labelled
from emo.finetuning.settings import Finetune, Source
from emo.sources.folders import read_through
from emo.sources.lookup import VIDEO_SUFFIXES
from emo.sources.records import is_table
from emo.store.s3 import S3Settings
from emo.store.storage import Storage, storage_of
from emo.store.tables import CAPTIONS
from emo.terminal.progress import say


def list_samples(out: Storage, settings: Finetune) -> tuple[Listing, str]:
    """All samples, refused ones with their error, and the fingerprint of the data.

    The rows are read, checked and written to this machine's disk in parts: a million of them are no more in
    memory than some thousand. Raises InputError where a source holds no sample to train on, or files hold
    the same samples.
    """
    listing = Listing()
    files: dict[str, int] = {}
    for source in settings.sources:
        for rows in _of_source(source, out, settings, files):
            listing.add(rows)
    return listing, listing.fingerprint()


def _of_source(source: Source, out: Storage, settings: Finetune, files: dict[str, int]) -> Iterator[pa.Table]:
    """files: how many samples each file had that was read so far, by the hash of its content."""
    if source.data == "captions":
        what = f"{out.full(CAPTIONS.name)}"
        found = rows_of_table(out, settings)
    else:
        what = source.data
        found = tables_of(_from_files(source, out, settings, files))
    counts: Counter[tuple[str, str | None]] = Counter()
    example = None
    for rows in found:
        counts.update(zip(rows.column("split").to_pylist(), rows.column("error").to_pylist(), strict=True))
        if example is None:
            example = next(filter(None, rows.column("error_message").to_pylist()), None)
        if source.weight != 1.0:
            place = rows.schema.get_field_index("weight")
            rows = rows.set_column(place, "weight", pa.repeat(source.weight, rows.num_rows))
        yield rows
    if not counts[TRAIN, None]:
        refused: Counter[str] = Counter()
        for (_, error), count in counts.items():
            if error is not None:
                refused[error] += count
        codes = ", ".join(f"{code} {count}" for code, count in refused.most_common())
        more = f", refused as: {codes}; for example: {example}" if refused else ""
        raise InputError(f"{what} holds no sample that can be trained on ({counts.total()} in all){more}")
    if settings.data == "captions" and settings.validation.samples:
        _check_held_out({split for split, _ in counts}, what)


def _from_files(source: Source, out: Storage, settings: Finetune, known: dict[str, int]) -> Iterator[Listed]:
    files = _files(source.data, out.s3)
    share = 0.0 if source.held_out is not None or HELD_OUT in files else settings.held_out_share
    if source.held_out is not None:
        files[HELD_OUT] = _files(source.held_out, out.s3)[TRAIN]
    for split in (TRAIN, HELD_OUT, TEST):
        for path in files.get(split, []):
            for one in _from_file(path, split, source, settings, out.s3, known):
                yield _on_its_side(one, share) if share and split == TRAIN else one


def _check_held_out(splits: Collection[str], what: str) -> None:
    if HELD_OUT not in splits:
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


def _from_file(
    path: str, split: str, source: Source, settings: Finetune, s3: S3Settings, known: dict[str, int]
) -> Iterator[Listed]:
    folder, name = storage_of(path, s3)
    try:
        data = folder.read(name)
    except FileNotFoundError:
        raise InputError(f"finetune.data: {path} does not exist") from None
    digest = hashlib.sha256(data).hexdigest()[:12]
    if digest in known:
        # Files name their samples by what they hold: one file behind two names would be two of each.
        raise InputError(
            f"finetune.data: {known[digest]} samples are there twice, such as {_name(digest, 1)!r}: two of "
            "the files are the same; name each once and give it a weight"
        )
    chats = read_chats(data, path, folder.url)
    unused: Counter[str] = Counter()
    found: Iterable[_Found]
    if chats is None:
        found = _published(data, path, source, settings, s3)
    else:
        found = ((sample, None, _shown(sample)) for sample in _counted(chats, unused))
    family = finetunable(settings.family).family
    number = 0
    for number, (sample, labels, spoken_of) in enumerate(found, start=1):
        entry = Entry(_name(digest, number), split, (), labels=labels)
        if isinstance(sample, RowError):
            yield Listed(replace(entry, error=sample.code, error_message=sample.message))
            continue
        media = {kind: getattr(sample, kind) for kind in messages.TAGS}
        entry = replace(entry, pictures=bool(sample.images) and FRAMES in family.senses)
        try:
            senses.check(settings, spoken_of, "it is about")
            entry = _with_turns(entry, sample.turns, settings, has_media=any(media.values()))
        except RowError as error:
            entry = replace(entry, error=error.code, error_message=f"{sample.where}: {error.message}")
        yield Listed(entry, **media, frame_times=sample.frame_times, where=sample.where)
    known[digest] = number
    if unused:
        keys = ", ".join(f"{key} ({count} rows)" for key, count in unused.most_common())
        say(f"finetune: {path}: these keys say nothing to emo: {keys}")


def _name(digest: str, number: int) -> str:
    return f"{digest}-{number:06d}"


def _counted(chats: Iterable[Sample | RowError], unused: Counter[str]) -> Iterator[Sample | RowError]:
    """The same chats; their keys that say nothing are counted."""
    for one in chats:
        if isinstance(one, Sample):
            unused.update(one.unused)
        yield one


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
    for name in folder.names() if folder.on_s3 else sorted(read_through(folder.url).files):
        stem, suffix = posixpath.splitext(posixpath.basename(name))
        if suffix.lower() in VIDEO_SUFFIXES:
            by_stem.setdefault(stem, []).append(folder.full(name))
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
                    turns = as_labelled(sample.turns, f"{caption.video_id}\0{caption.text}", settings)
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


def _with_turns(entry: Entry, turns: Sequence[Turn], settings: Finetune, has_media: bool) -> Entry:
    sample = samples.from_turns(entry.sample_id, turns, settings.system, has_media, entry.pictures)
    return replace(entry, turns=sample.turns, system=sample.system)
