"""A text model decides where the voters do not agree: it reads their texts and picks from their labels."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo import vocabulary
from emo.errors import InputError
from emo.experts.prompts.plain import as_text
from emo.store import tables

Ask = Callable[[list[str]], list[str]]
"""prompts -> the answers of a text model, aligned"""

_SEPARATORS = re.compile(r"[,;\n，、；]")


@dataclass(frozen=True)
class Adjudicated:
    """judgments: the table with the decided clips changed; asked: clips whose agreement was low; decided: of
    these, those with an answer that chose among the labels; for the others the votes stand."""

    judgments: pa.Table
    asked: int
    decided: int


def adjudicate(judgments: pa.Table, descriptions: pa.Table, ask: Ask, name: str, below: float) -> Adjudicated:
    """Ask a text model about every clip of `judgments` whose agreement is under `below`.

    judgments: as of judge_votes; descriptions: the descriptions of these clips (failed ones are not shown).
    The model may only choose among the labels of the evidence; what else it writes is not taken, and an
    answer without any of them changes nothing. A decided clip has the chosen labels with the scores of the
    vote, the evidence starts with them, and `judge` ends with `+name`. Clips with one candidate, without
    agreement or without a description are not asked about.

    Raises InputError for a share outside 0 to 1, a missing name, or answers that do not match the questions.
    """
    if not 0 <= below <= 1:
        raise InputError(f"adjudication: below is {below}; expected a share from 0 to 1")
    if not name:
        raise InputError("adjudication: the model must be named: it stands in the judge column")
    texts = _texts(descriptions)
    doubtful = pc.fill_null(pc.less(judgments["agreement"], below), False)
    rows = [
        (place, row)
        for place, row in zip(
            pc.indices_nonzero(doubtful).to_pylist(), judgments.filter(doubtful).to_pylist(), strict=True
        )
        if len(row["evidence"]) > 1 and row["video_id"] in texts
    ]
    answers = ask([_prompt(row, texts[row["video_id"]]) for _, row in rows]) if rows else []
    if len(answers) != len(rows):
        raise InputError(f"adjudication: {len(answers)} answers to {len(rows)} questions")
    decided = {
        place: changed
        for (place, row), answer in zip(rows, answers, strict=True)
        if (changed := _decide(row, answer, name)) is not None
    }
    if decided:
        # One pass over the table: the rows in between are taken as they are.
        rest = pa.array([place not in decided for place in range(len(judgments))])
        changed_rows = pa.Table.from_pylist(list(decided.values()), schema=judgments.schema)
        judgments = pa.concat_tables([judgments.filter(rest), changed_rows]).sort_by("video_id")
    return Adjudicated(judgments, len(rows), len(decided))


def _texts(descriptions: pa.Table) -> dict[str, list[str]]:
    usable = pc.is_valid(descriptions["text"])
    if "status" in descriptions.schema.names:
        usable = pc.and_(usable, pc.equal(descriptions["status"], tables.OK))
    shown = descriptions.filter(usable).select(["video_id", "expert", "sample", "text"])
    texts: dict[str, list[str]] = {}
    for row in shown.sort_by([("expert", "ascending"), ("sample", "ascending")]).to_pylist():
        texts.setdefault(row["video_id"], []).append(row["text"])
    return texts


def _prompt(row: dict[str, Any], texts: list[str]) -> str:
    template = (resources.files(__package__) / "adjudicate.txt").read_text(encoding="utf-8")
    candidates = as_text(", ".join(entry["label"] for entry in row["evidence"]))
    written = as_text("\n".join(f"- {' '.join(text.split())}" for text in texts))
    return template.replace("{candidates}", candidates).replace("{descriptions}", written)


def _decide(row: dict[str, Any], answer: str, name: str) -> dict[str, Any] | None:
    words = {vocabulary.normalise(part) for part in _SEPARATORS.split(answer)}
    chosen = [entry for entry in row["evidence"] if entry["label"] in words]
    if not chosen:
        return None
    others = [entry for entry in row["evidence"] if entry["label"] not in words]
    return row | {
        "labels": [entry["label"] for entry in chosen],
        "scores": [entry["score"] for entry in chosen],
        "evidence": chosen + others,
        "judge": f"{row['judge']}+{name}",
    }
