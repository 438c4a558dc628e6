"""Every reader of tables, texts and settings of other people, with a small file that it likes.

Here and not in the test, so that a process of its own can read: what a file does to Arrow may be its end.
"""

import gzip
import io
import json
import random
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from openpyxl.utils.exceptions import IllegalCharacterError

from emo.captions.gold import load_gold
from emo.captions.messages import read_messages
from emo.captions.published import read_published
from emo.config import load_config
from emo.errors import EmoError, RowError
from emo.evaluation import labels, unibench
from emo.evaluation.wheels import SYNONYM_RUNS, WHEELS, load_wheels
from emo.jobs.judge_given import votes_from
from emo.media.transcript import SidecarFile, read_file
from emo.sources.source import read_source
from emo.store import committed
from emo.store.s3 import S3Settings
from emo.store.storage import Storage
from emo.store.tables import VOTES
from mutants import changed

Rows = Sequence[Mapping[str, Any]]
# What stands in a cell where a text, a number or a list was meant.
ODD = (
    None, "", " ", "nan", True, 0, -1, 2**31, 2**63, 10**400, 0.5, 1e999, -1e999, float("nan"), [], [[]], {},
    [None], [1], ["a", None], {"a": []}, "\ud800", "a\0b", "\u2028", "=1+1", "😀" * 300, ["x"] * 1001,
    [10**400], "happy, sad", "[happy", "0000-00-00", "../../x", "s3:/", "://", "1" * 5000,
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """name: of the file, which says what it is; make: its bytes of rows; read: what a command makes of it."""

    name: str
    rows: Rows
    make: Callable[[Rows], bytes]
    read: Callable[[Path], object]


def _lines(rows: Rows) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


def _list(rows: Rows) -> bytes:
    return json.dumps(rows, indent=1).encode()


def _csv(rows: Rows) -> bytes:
    def cell(value: Any) -> str:
        text = str(value).encode("utf-8", "replace").decode()
        return '"' + text.replace('"', '""') + '"'

    return "\r\n".join([",".join(rows[0]), *(",".join(map(cell, row.values())) for row in rows)]).encode()


def _parquet(rows: Rows) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), sink, compression="NONE")
    return sink.getvalue()


def _packed_parquet(rows: Rows) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), sink, compression="ZSTD", row_group_size=2)
    return sink.getvalue()


def _predictions(rows: Rows) -> bytes:
    sink = io.BytesIO()
    names, items = np.empty(len(rows), object), np.empty(len(rows), object)
    names[:], items[:] = [row["name"] for row in rows], [row["labels"] for row in rows]
    np.savez(sink, filenames=names, fileitems=items)
    return sink.getvalue()


def _corpus(rows: Rows) -> bytes:
    sink = io.BytesIO()
    corpus = {str(row["name"]): {"emo": row["emo"], "val": row["val"]} for row in rows}
    np.savez(sink, test_corpus=np.array(corpus, object))
    return sink.getvalue()


def _sheet(columns: Sequence[str]) -> Callable[[Rows], bytes]:
    def make(rows: Rows) -> bytes:
        book, sink = openpyxl.Workbook(), io.BytesIO()
        book.active.append(list(columns))
        for row in rows:
            book.active.append([row[name] for name in columns])
        book.save(sink)
        return sink.getvalue()

    return make


def _wheels(path: Path) -> object:
    """A folder of wheels in which this file stands for the one of its name."""
    wheel = _sheet(("level1", "level2", "level3"))(_WHEEL)
    others = {f"{name}.xlsx": wheel for name in WHEELS}
    others |= {"synonym.xlsx": _sheet(_SYNONYMS)(_WORDS), "format.csv": _csv(_FORMS)}
    for name, data in others.items():
        if name != path.name:
            path.with_name(name).write_bytes(data)
    return load_wheels(path.parent)


def _folder_of(path: Path) -> object:
    (path.parent / "Raw").mkdir(exist_ok=True)
    return read_source(str(path.parent))


def _out(path: Path) -> object:
    folder = path.parent / "votes/e"
    folder.mkdir(parents=True, exist_ok=True)
    path.replace(folder / path.name)
    return committed.read_newest(Storage(str(path.parent)), "votes", VOTES, VOTES.schema.names)


def _text_of(rows: Rows) -> bytes:
    return "\n\n".join(str(row["text"]) for row in rows).encode("utf-8", "surrogatepass")


def _other_text_of(rows: Rows) -> bytes:
    return _text_of(rows).decode("utf-8", "replace").encode("utf-16")


def _config_of(rows: Rows) -> bytes:
    return json.dumps(dict(rows[0]), indent=1).encode()


def _sidecar(path: Path) -> object:
    return read_file(SidecarFile(str(path), path.name))


def _manifest(path: Path) -> object:
    return read_source(str(path))


def _gold(path: Path) -> object:
    return load_gold(str(path), S3Settings())


def _votes(path: Path) -> object:
    return votes_from(str(path), S3Settings())


def _messages(path: Path) -> object:
    return list(read_messages(path.read_bytes(), str(path), str(path.parent)))


def _open(path: Path) -> object:
    return unibench.read_gold("ov-merd+", path)


def _published(path: Path) -> object:
    return read_published(path.read_bytes(), str(path))


_CLIPS = [
    {"uri": f"videos/{n}.mp4", "video_id": f"clip{n}", "subtitle": "I am happy", "language": "en"}
    for n in range(4)
]
_CUES = [{"text": f"{n}\n00:00:0{n},000 --> 00:00:0{n},900\n<i>I am</i> happy {n}"} for n in range(1, 6)]
_WEB = [{"text": "WEBVTT\nKind: captions"}] + [
    {"text": f"00:0{n}.000 --> 00:0{n}.900 align:start\n<c>I am</c> happy"} for n in range(1, 6)
]
_LABELS = [
    {"name": f"clip{n}", "labels": ["happy", "sad"][: n % 3], "expert": "e", "sample": n} for n in range(5)
]
_VOTES = [
    {"video_id": f"clip{n}", "expert": "e", "sample": n, "labels": ["happy"], "strengths": [0.5],
     "status": "ok", "run_id": "1", "from_transcript": False}
    for n in range(5)
]  # fmt: skip
_GOLD = [{"video_id": f"clip{n}", "clip_id": f"{n}", "text": "hao", "label": n / 4 - 0.5} for n in range(5)]
_PUBLISHED = [{"name": f"clip{n}", "openset": "[happy, sad]", "reason": "She smiles."} for n in range(4)]
_SAMPLES = [
    {"messages": [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "Joy."}],
     "images": ["a.jpg"]}
    for _ in range(3)
]  # fmt: skip
_CORPUS = [{"name": f"clip{n}", "emo": n % 4, "val": 0.5} for n in range(5)]
_WHEEL = [
    {"level1": "joy", "level2": None, "level3": "glad"},
    {"level1": "fear", "level2": "dread", "level3": None},
]
_SYNONYMS = tuple(f"{part}_run{run}" for run in range(1, SYNONYM_RUNS + 1) for part in ("word", "synonym"))
_WORDS = [{name: "joy" if name.startswith("word") else "['gay']" for name in _SYNONYMS}]
_FORMS = [{"name": "gay", "format": "['gayer']"}, {"name": "joy", "format": "['joys']"}]
_CONFIG = [
    {"experts": [{"kind": "words"}], "ingest": {"frames": 4, "deadline_s": 3}, "s3": {"region": "x"},
     "judge": {"trade_off": "balanced"}, "prices": {"gpu_hour": 1.5}, "max_failed_share": 0.5}
]  # fmt: skip
_PARQUETS = (_parquet, _packed_parquet)
_ALIKE = (("csv", _csv), ("json", _list), ("jsonl", _lines))


def _labels(path: Path) -> object:
    return labels.read(path, labels.LABELS)


def _all_texts(path: Path) -> object:
    return labels.read(path, labels.TEXTS)


KINDS: tuple[Kind, ...] = (
    *(Kind(f"manifest.{end}", _CLIPS, make, _manifest) for end, make in _ALIKE),
    *(Kind(f"labels.{end}", _LABELS, make, _labels) for end, make in _ALIKE),
    *(Kind(f"texts.{end}", _PUBLISHED, make, _all_texts) for end, make in _ALIKE),
    *(Kind(f"gold.{end}", _GOLD, make, _gold) for end, make in _ALIKE),
    *(Kind(f"votes.{end}", _VOTES, make, _votes) for end, make in _ALIKE[1:]),
    *(Kind(f"published.{end}", _PUBLISHED, make, _published) for end, make in _ALIKE),
    *(
        Kind(f"manifest{number}.parquet", _CLIPS, make, _manifest)
        for number, make in enumerate(_PARQUETS)
    ),
    *(Kind(f"labels{number}.parquet", _LABELS, make, _labels) for number, make in enumerate(_PARQUETS)),
    Kind("votes.parquet", _VOTES, _parquet, _votes),
    Kind("committed.parquet", _VOTES, _parquet, _out),
    Kind("label.csv", _GOLD, _csv, _folder_of),
    Kind("subtitle_chieng.csv", [{"name": "a", "chinese": "hao", "english": "good"}] * 2, _csv, _folder_of),
    Kind("samples.jsonl", _SAMPLES, _lines, _messages),
    Kind("predictions.npz", _LABELS, _predictions, _labels),
    Kind("classes.npz", _CORPUS, _corpus, lambda path: unibench.read_gold("meld", path)),
    Kind("values.npz", _CORPUS, _corpus, lambda path: unibench.read_gold("cmu-mosi", path)),
    Kind("ovlabel.csv", [{"name": "a", "openset": "[happy]"}], _csv, _open),
    Kind("wheel1.xlsx", _WHEEL, _sheet(("level1", "level2", "level3")), _wheels),
    Kind("synonym.xlsx", _WORDS, _sheet(_SYNONYMS), _wheels),
    Kind("format.csv", _FORMS, _csv, _wheels),
    Kind("words.srt", _CUES, _text_of, _sidecar),
    Kind("words.vtt", _WEB, _text_of, _sidecar),
    Kind("words.txt", _CUES, _other_text_of, _sidecar),
    Kind("emo.yaml", _CONFIG, _config_of, lambda path: load_config(file=str(path))),
)  # fmt: skip


def broken(number: int, seed: int) -> tuple[Kind, bytes] | None:
    """The broken file of that number; None where its format cannot hold what was to be in it."""
    chance = random.Random(f"{seed} table {number}")
    kind = KINDS[number % len(KINDS)]
    rows = [dict(row) for row in kind.rows]
    strange = chance.random() < 0.5
    for _ in range(chance.choice((1, 1, 2, 5)) if strange else 0):
        row = chance.choice(rows)
        row[chance.choice(list(row))] = chance.choice(ODD)
    try:
        data = kind.make(rows)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, IllegalCharacterError):
        return None
    if not strange:
        others = [data, *(other.make(other.rows) for other in chance.sample(KINDS, 2))]
        packed = zipfile.is_zipfile(io.BytesIO(data)) and chance.random() < 0.8
        data = _changed_within(data, others, chance) if packed else changed(data, others, chance)
    if (
        kind.name.endswith((".csv", ".jsonl"))
        and chance.random() < 0.1
        and kind.read in (_labels, _all_texts)
    ):
        kind, data = Kind(f"{kind.name}.gz", kind.rows, kind.make, kind.read), gzip.compress(data)
        data = changed(data, [data], chance) if chance.random() < 0.3 else data
    return kind, data


def _changed_within(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """One member of a zip file, whose sums of check would else tell of every change."""
    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(sink, "w") as new:
        which = chance.choice(old.namelist())
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, changed(content, others, chance) if name == which else content)
    return sink.getvalue()


def outcome(path: Path, kind: Kind) -> str:
    """`read`, or the kind of error on one line; anything else is raised."""
    try:
        kind.read(path)
        return "read"
    except (EmoError, RowError) as error:
        if "\n" in str(error):
            return f"fault: not one line: {error}"
        return type(error).__name__ if len(str(error)) < 3000 else f"fault: of {len(str(error))} characters"


def serve(number: int, seed: int, folder: Path) -> tuple[str, str, int, int]:
    """Read one broken file: its name, what came of it, and resident megabytes now and at the most."""
    made = broken(number, seed)
    if made is None:
        return "", "not made", 0, 0
    kind, data = made
    folder.mkdir()
    path = folder / kind.name
    path.write_bytes(data)
    try:
        found = outcome(path, kind)
    except Exception as error:
        found = f"fault {type(error).__name__}: {str(error)[:300]}"
    # Not `ru_maxrss`: that of a new process begins with what the process held that started it.
    [most] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return kind.name, found, psutil.Process().memory_info().rss // 2**20, int(most) // 1024
