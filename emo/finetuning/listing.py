"""The samples that a run is asked to train on, before their media are read: from the table, or from files."""

import hashlib
import posixpath
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from emo.captions import messages
from emo.captions.chat_files import files_of, read_chats, read_lines
from emo.captions.messages import Sample, Turn, read_line
from emo.captions.prompts import load_caption_prompt, of_whole_person
from emo.captions.published import read_published, to_sample
from emo.captions.splits import split_of
from emo.errors import InputError, RowError
from emo.experts.in_process import finetunable
from emo.experts.protocol import AUDIO, FRAMES
from emo.finetuning import samples, senses
from emo.finetuning.captioned import rows_of_table
from emo.finetuning.lines import tables_of_lines
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
        found = _from_files(source, out, settings, files)
    counts: Counter[tuple[str, str | None]] = Counter()
    example = None
    for rows in found:
        _count(rows, counts)
        if example is None:
            example = next(filter(None, rows.column("error_message").drop_null().to_pylist()), None)
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


def _count(rows: pa.Table, counts: Counter[tuple[str, str | None]]) -> None:
    """Add how many rows there are of each split and error."""
    splits, errors = rows.column("split"), rows.column("error")
    good = pc.is_null(errors)
    for one in pc.value_counts(splits.filter(good)).to_pylist():
        counts[one["values"], None] += one["counts"]
    bad = pc.invert(good)
    counts.update(zip(splits.filter(bad).to_pylist(), errors.filter(bad).to_pylist(), strict=True))


def _from_files(
    source: Source, out: Storage, settings: Finetune, known: dict[str, int]
) -> Iterator[pa.Table]:
    files = _files(source.data, out.s3)
    share = 0.0 if source.held_out is not None or HELD_OUT in files else settings.held_out_share
    if source.held_out is not None:
        files[HELD_OUT] = _files(source.held_out, out.s3)[TRAIN]
    for split in (TRAIN, HELD_OUT, TEST):
        for path in files.get(split, []):
            yield from _from_file(
                path, split, source, settings, out.s3, known, share if split == TRAIN else 0.0
            )


def _check_held_out(splits: Collection[str], what: str) -> None:
    if HELD_OUT not in splits:
        raise InputError(
            f"{what} holds no caption of the split {HELD_OUT}, and without one no F1 says whether an adapter "
            "is any good. Split otherwise (caption.split_by, caption.video_of, caption.splits), or set "
            "finetune.validation.samples=0"
        )


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
    path: str,
    split: str,
    source: Source,
    settings: Finetune,
    s3: S3Settings,
    known: dict[str, int],
    share: float,
) -> Iterator[pa.Table]:
    """The samples of one file; share: how much of it is held out."""
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
    file = _File(path, folder.url, digest, split, share, settings)
    if (lines := read_lines(data, path)) is not None:
        tables = tables_of_lines(lines, path, digest, file.line, file.alike)
    elif (chats := read_chats(data, path, folder.url)) is not None:
        tables = tables_of(file.chat(number, one) for number, one in enumerate(chats, start=1))
    else:
        published = _published(data, path, source, settings, s3)
        tables = tables_of(file.listed(number, *one) for number, one in enumerate(published, start=1))
    count = 0
    for rows in tables:
        count += rows.num_rows
        yield rows
    known[digest] = count
    if file.unused:
        keys = ", ".join(f"{key} ({count} rows)" for key, count in file.unused.most_common())
        say(f"finetune: {path}: these keys say nothing to emo: {keys}")


class _File:
    """Makes what is listed of the samples of one file; unused: keys that say nothing, with their rows."""

    def __init__(
        self, path: str, folder: str, digest: str, split: str, share: float, settings: Finetune
    ) -> None:
        self.unused: Counter[str] = Counter()
        self._path, self._folder = path, folder
        self._digest, self._split, self._share = digest, split, share
        self._settings = settings
        self._sees = FRAMES in finetunable(settings.family).family.senses

    def line(self, number: int, at: int, line: bytes) -> Listed:
        """The sample of a line, the `number`th of the file."""
        return self.chat(number, read_line(line, at, self._path, self._folder))

    def alike(self, line: bytes) -> Listed | None:
        """What a line has that differs from others in its answer; None where these are listed one by one."""
        sample = read_line(line, 0, self._path, self._folder)
        return None if isinstance(sample, RowError) or sample.unused else self.chat(0, sample)

    def chat(self, number: int, sample: Sample | RowError) -> Listed:
        """The sample of a chat, which may speak of the media that stand beside it."""
        if isinstance(sample, RowError):
            return self.listed(number, sample, None, set())
        self.unused.update(sample.unused)
        shown = senses.of_files(sample.images, sample.videos, sample.audios)
        return self.listed(number, sample, None, shown)

    def listed(
        self, number: int, sample: Sample | RowError, labels: tuple[str, ...] | None, spoken_of: set[str]
    ) -> Listed:
        """Any sample, or why it is none, with its labels where the file has them."""
        entry = Entry(_name(self._digest, number), self._split, (), labels=labels)
        if isinstance(sample, RowError):
            return self._on_its_side(Listed(replace(entry, error=sample.code, error_message=sample.message)))
        media = {kind: getattr(sample, kind) for kind in messages.TAGS}
        entry = replace(entry, pictures=bool(sample.images) and self._sees)
        try:
            senses.check(self._settings, spoken_of, "it is about")
            entry = _with_turns(entry, sample.turns, self._settings, has_media=any(media.values()))
        except RowError as error:
            entry = replace(entry, error=error.code, error_message=f"{sample.where}: {error.message}")
        return self._on_its_side(Listed(entry, **media, frame_times=sample.frame_times, where=sample.where))

    def _on_its_side(self, one: Listed) -> Listed:
        """The sample in the split that its medium belongs to, whatever other samples there are."""
        if not self._share:
            return one
        media = (*one.images, *one.videos, *one.audios)
        first = media[0] if media else one.entry.sample_id
        # Windows of a clip show other frames of one folder.
        pictures = one.images[1:] or not isinstance(first, str)
        shown = first if isinstance(first, str) else first[0]
        group = posixpath.dirname(shown) if pictures else shown
        split = split_of(group, {TRAIN: 1 - self._share, HELD_OUT: self._share, "test": 0.0})
        return replace(one, entry=replace(one.entry, split=split))


def _name(digest: str, number: int) -> str:
    return f"{digest}-{number:06d}"


# A sample or why it is none, its labels where the file holds them, the senses that it may speak of.
_Found = tuple[Sample | RowError, tuple[str, ...] | None, set[str]]


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
