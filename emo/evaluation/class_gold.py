"""Gold of closed sets, in the files in which the benchmarks hand it out.

| form | columns |
|---|---|
| MER-Cross, others | `name` (or `video_id`, `video`, …), `discrete` (or `label`, `class`) |
| MELD | `Dialogue_ID`, `Utterance_ID`, `Emotion`; the clip is `diaD_uttU`, as its file is called |
| EmoBench-M, questions | `video`, `conversations`: the class is what the last turn answers |
| EmoBench-M, results | `video`, `expected_value` (and `predicted_value`, which is a prediction) |
| MME-Emotion | `video_id`, `label`, `label_set`: every clip has a set of its own |
| RAVDESS | its folder: the third number in the name of a file is its class |
"""

import ast
import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import pyarrow as pa
import yaml

from emo.errors import InputError
from emo.evaluation.labels import LABELS, Kind
from emo.sources.labelsets import as_labels
from emo.sources.lookup import VIDEO_SUFFIXES
from emo.sources.record import Record, check_text, is_missing, short
from emo.sources.records import is_table, load, tables_at
from emo.store.storage import Storage

IDS = ("video_id", "name", "names", "video", "video_name", "filename", "modal_path")
_LABEL = ("discrete", "label", "expected_value", "emotion", "Emotion", "class")
# Modality, channel, emotion, intensity, statement, repetition, actor.
_RAVDESS = re.compile(r"\d\d-\d\d-(0[1-8])-\d\d-\d\d-\d\d-\d\d\.(?:mp4|wav)")
_MELD = ("Dialogue_ID", "Utterance_ID")
_WANTED = (*IDS, *_LABEL, *_MELD, "conversations", "label_set")


@dataclass(frozen=True)
class ClassGold:
    """labels: video_id -> its class, or several where the set allows that; sets: video_id -> the classes that
    it could have; classes: all of them, in the order in which they are told."""

    labels: dict[str, tuple[str, ...]]
    sets: dict[str, tuple[str, ...]]
    classes: tuple[str, ...]

    def one(self, where: str) -> dict[str, str]:
        """video_id -> its only class; raises InputError where a clip has several."""
        for video_id, labels in self.labels.items():
            if len(labels) != 1:
                raise InputError(
                    f"{where}: {video_id} has {len(labels)} classes ({', '.join(labels)}); this metric takes "
                    "one for each clip"
                )
        return {video_id: labels[0] for video_id, labels in self.labels.items()}


def records_at(path: str, wanted: Collection[str]) -> Iterator[Record]:
    """The rows of a table from outside; raises InputError where there is none."""
    storage, names = tables_at(path)
    if not names:
        raise InputError(f"{path}: has no table")
    for name in names:
        yield from load(storage, name, wanted).sound()


def id_of(value: Any, where: str) -> str:
    """A clip as emo names it: the path without the extension of a video; raises InputError for no name."""
    if is_missing(value):
        raise InputError(f"{where}: the clip has no name")
    name = str(value)
    check_text(name, where, "the name of the clip")
    stem, suffix = posixpath.splitext(name)
    return stem if suffix.lower() in VIDEO_SUFFIXES else name


def of_gold(predicted: Mapping[str, Any], gold: Collection[str]) -> dict[str, Any]:
    """The predictions under the names that gold has.

    A clip is the same where the paths are the same without an extension, or where its file name occurs once
    on both sides: benchmarks name the same clip with and without its folder.
    """
    plain = {id_of(name, "predicted"): value for name, value in predicted.items()}
    if len(plain) < len(predicted):
        raise InputError("predicted: two clips differ in the extension of the file alone")
    short_gold, short_plain = _by_file_name(gold), _by_file_name(plain)
    renamed = {}
    for name, value in plain.items():
        file_name = posixpath.basename(name)
        only = short_gold.get(file_name), short_plain.get(file_name)
        renamed[only[0] if name not in gold and only[0] and only[1] else name] = value
    return renamed


def _by_file_name(names: Collection[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in names:
        file_name = posixpath.basename(name)
        found[file_name] = None if file_name in found else name
    return found


@cache
def _named_sets() -> dict[str, Any]:
    text = (resources.files(__package__) / "class_sets.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def read_classes(text: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """`--classes`: a named set, `happy,sad` or `1=happy,2=sad`; the classes, and what numbers stand for."""
    known = _named_sets().get(text)
    if isinstance(known, list):
        return tuple(known), {}
    if isinstance(known, dict):
        return tuple(known.values()), {str(code): name for code, name in known.items()}
    parts = [part.strip() for part in text.split(",")]
    codes = {}
    if any("=" in part for part in parts):
        for part in parts:
            code, given, name = (piece.strip() for piece in part.partition("="))
            if not (code and given and name) or code in codes:
                raise InputError(f"--classes: {part!r}; expected NUMBER=CLASS, each number once")
            codes[_code(code)] = name
        parts = list(codes.values())
    if len(parts) < 2 or not all(parts) or len(set(parts)) < len(parts):
        raise InputError(
            f"--classes: {text!r}; expected two classes or more, as in happy,sad, or one of: "
            f"{', '.join(_named_sets())}"
        )
    return tuple(parts), codes


def read_class_gold(path: str, classes: str | None = None) -> ClassGold:
    """The gold at `path`; classes: as of --classes, by default those that occur in gold.

    Raises InputError that names the row: no clip, no class, a class outside the set, a clip twice, a number
    for which nothing says what it stands for.
    """
    given, codes = read_classes(classes) if classes is not None else ((), {})
    if classes == "ravdess" and (named := _in_file_names(path, codes)):
        return ClassGold(named, dict.fromkeys(named, given), given)
    found: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    for record in records_at(path, _WANTED):
        video_id, labels, of_row = _gold_row(record)
        if video_id in found:
            raise InputError(f"{record.where}: {video_id} is there twice")
        if not labels:
            raise InputError(f"{record.where}: {video_id} has no class")
        known = of_row or given
        found[video_id] = (tuple(_class(label, codes, known, record.where) for label in labels), of_row)
    if not found:
        raise InputError(f"{path}: has no rows")
    occurring = given or tuple(sorted({label for labels, _ in found.values() for label in labels}))
    sets = {video_id: of_row or occurring for video_id, (_, of_row) in found.items()}
    of_clips = {video_id: names for video_id, (names, _) in found.items()}
    for video_id, names in of_clips.items():
        if outside := set(names) - set(sets[video_id]):
            raise InputError(
                f"{path}: {video_id} has the class {sorted(outside)[0]!r}; expected one of "
                f"{', '.join(sets[video_id])}"
            )
    every = tuple(dict.fromkeys(name for of_clip in sets.values() for name in of_clip))
    return ClassGold(of_clips, sets, every)


def _in_file_names(path: str, codes: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The classes of the files of RAVDESS in a folder; none where `path` is no folder of such files."""
    if is_table(path):
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for name in Storage(path).names():
        if match := _RAVDESS.fullmatch(posixpath.basename(name)):
            found[posixpath.splitext(name)[0]] = (codes[_code(match[1])],)
    return found


def _gold_row(record: Record) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """The clip, its classes as they are written, and the set of the row (empty: that of the file)."""
    row = record.values
    if all(not is_missing(row.get(name)) for name in _MELD):
        video_id = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
    else:
        name = next((name for name in IDS if name in row), None)
        if name is None:
            raise InputError(f"{record.where}: no column {' or '.join(IDS)}; it has {', '.join(row)}")
        video_id = id_of(row[name], record.where)
    if "conversations" in row:
        return video_id, (answer_of(_last_turn(row["conversations"], record.where)),), ()
    column = next((name for name in _LABEL if name in row), None)
    if column is None:
        raise InputError(f"{record.where}: no column {' or '.join(_LABEL)}; it has {', '.join(row)}")
    value = row[column]
    if is_missing(value):
        return video_id, (), ()
    of_row = as_labels(row["label_set"], record.where) if not is_missing(row.get("label_set")) else ()
    several = isinstance(value, list) or (of_row and isinstance(value, str) and value not in of_row)
    labels = as_labels(value, record.where) if several else (answer_of(str(value)),)
    return video_id, labels, of_row


def _last_turn(turns: Any, where: str) -> str:
    try:
        turn = turns[-1]
        if turn["from"] == "gpt" and isinstance(turn["value"], str):
            return turn["value"]
    except (TypeError, KeyError, IndexError):
        pass
    raise InputError(f"{where}: conversations are {short(turns)}; expected a last turn of gpt with a value")


def answer_of(text: str) -> str:
    """The class in an answer such as `{'emotion': 'happy'}`; any other text is the answer itself."""
    stripped = text.strip()
    if stripped.startswith("{"):
        try:
            found = ast.literal_eval(stripped)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return stripped
        if isinstance(found, dict) and len(found) == 1:
            return str(next(iter(found.values()))).strip()
    return stripped


def _code(text: str) -> str:
    """A number as the label files write it: `1`, `01` and `1.0` are one."""
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number == int(number) else text


def _class(label: str, codes: Mapping[str, str], known: tuple[str, ...], where: str) -> str:
    """The class as the set writes it."""
    label = codes.get(_code(label), label)
    same = [name for name in known if name.casefold() == label.casefold()]
    if len(same) == 1:
        return same[0]
    if not known and _code(label).lstrip("-").isdigit():
        raise InputError(
            f"{where}: the class is {label}; say what numbers stand for: --classes 1=happy,2=sad"
        )
    return label


def _is_answer(kind: pa.DataType) -> bool:
    return LABELS.is_right(kind)


def _as_answer(value: Any, where: str) -> tuple[str, ...]:
    return as_labels(answer_of(value) if isinstance(value, str) else value, where)


ANSWERS = Kind(
    (*LABELS.columns, "discrete", "predicted_value", "predicted", "label", "emotion"),
    _is_answer,
    "a list of strings or a text",
    _as_answer,
    ids=IDS,
)
"""Predictions of a closed set: label lists of emo, or one class for each clip."""
