"""What is scored: the labels or descriptions of one system, from any of the places they may be in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.rule import Rule
from emo.cojudgment.votes import BESIDE
from emo.errors import InputError
from emo.evaluation.labels import LABELS, TEXTS, Kind, Read, read, voter_name
from emo.paths import is_s3
from emo.store.storage import Storage, storage_of
from emo.store.tables import DESCRIPTIONS, JUDGMENTS, OK, VOTES

_VOTE_COLUMNS = pa.schema(
    [VOTES.schema.field(name) for name in ("video_id", "expert", "sample", "labels", *BESIDE)]
)


@dataclass(frozen=True)
class System:
    """name: what it is, for a person; values: video_id -> labels, or -> description; votes: the read votes
    that the labels were fused from, or that lie beside the judgments; notes: what a reader must know."""

    name: str
    values: Mapping[str, Sequence[str]] | Mapping[str, str]
    votes: Read | None
    notes: tuple[str, ...]


def read_system(
    path: str, expert: str | None = None, sample: int | None = None, kind: Kind = LABELS
) -> System:
    """The labels at `path`: a file, a folder of Parquet files, or an OUT.

    Of an OUT the judgments are taken, with `expert` or `sample` its votes. Votes of several voters are fused
    by the co-judgment in its default setting, and the name says so; kind: in which columns labels may be.
    Raises InputError.
    """
    where = _table_in(path, VOTES.name if expert is not None or sample is not None else JUDGMENTS.name)
    found = read(where, kind)
    chosen = found.only(expert, sample)
    notes = _notes(found)
    if len(chosen.voters) > 1:
        rule = Rule()
        judged = judge_votes(votes_table(chosen), rule)
        labels = dict(zip(judged["video_id"].to_pylist(), judged["labels"].to_pylist(), strict=True))
        name = f"co-judgment ({rule.judge}) of {len(chosen.voters)} voters of {where}"
        return System(name, labels, chosen, notes)
    voter, labels = next(iter(chosen.voters.items()))
    name = f"{voter_name(voter)} of {where}" if voter[0] is not None else where
    return System(name, labels, _votes_beside(where) if voter[0] is None else None, notes)


def read_descriptions(path: str, expert: str | None = None, sample: int | None = None) -> System:
    """The descriptions at `path`, of the judgments of an OUT or, with `expert` or `sample`, of an expert.

    Raises InputError, among it where several voters are there and nothing says which is meant.
    """
    where = _table_in(path, DESCRIPTIONS.name if expert is not None or sample is not None else JUDGMENTS.name)
    found = read(where, TEXTS)
    chosen = found.only(expert, sample)
    voter = next(iter(chosen.voters))
    name = f"{voter_name(voter)} of {where}" if voter[0] is not None else where
    return System(f"{name} ({found.column})", chosen.one(), None, _notes(found))


def descriptions_in(path: str) -> str:
    """`path` itself, or where it is an OUT its descriptions."""
    return _table_in(path, DESCRIPTIONS.name)


def _notes(found: Read) -> tuple[str, ...]:
    notes = []
    if found.superseded:
        notes.append(f"{found.where}: {found.superseded} rows of older runs were left out: the newest counts")
    if found.failed:
        notes.append(f"{found.where}: {found.failed} rows failed or lack a value and are no prediction")
    return tuple(notes)


def votes_table(votes: Read, only: Mapping[str, object] | None = None) -> pa.Table:
    """Voters as a votes table, with what `emo judge` reads of them; only: of which clips."""
    rows = [
        {
            "video_id": video_id,
            "expert": expert or "-",
            "sample": sample or 0,
            "labels": list(labels),
            **votes.beside[expert, sample][video_id],
        }
        for (expert, sample), values in votes.voters.items()
        for video_id, labels in values.items()
        if only is None or video_id in only
    ]
    table = pa.Table.from_pylist(rows, schema=_VOTE_COLUMNS)
    return table.append_column("status", pa.array([OK] * len(rows), pa.string()))


def _table_in(path: str, table: str) -> str:
    """`path` itself, or where it is an OUT the folder of one of its tables."""
    if not is_s3(path) and path.endswith((".parquet", ".csv", ".json", ".jsonl", ".npz")):
        return path
    storage = Storage(path)
    there = [name for name in (JUDGMENTS.name, VOTES.name, DESCRIPTIONS.name) if _has(storage, name)]
    if not there:
        return path
    if table not in there:
        raise InputError(f"{path}: has no {table}; it has {', '.join(there)}")
    return storage.full(table)


def _votes_beside(where: str) -> Read | None:
    """The votes of the OUT whose judgments these are."""
    out, name = storage_of(where.rstrip("/"))
    if name != JUDGMENTS.name or not _has(out, VOTES.name):
        return None
    return read(out.full(VOTES.name), LABELS)


def _has(storage: Storage, folder: str) -> bool:
    return any(entry.path.endswith(".parquet") for entry in storage.entries(folder))
