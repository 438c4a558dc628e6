"""Captions of MERR's kind in the forms of its files: what `emo caption` with `caption.merr` made."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

from emo import uses
from emo.captions.export import folder_of
from emo.captions.merr.plan import COARSE, EXPERT
from emo.errors import InputError
from emo.export.protocol import Exported, Exporter
from emo.store import committed, planning
from emo.store.storage import Storage
from emo.store.tables import CAPTIONS, DRAFTS

_FOLDER = "clips"
# Kind of caption -> its files, and the key of the text in them.
_FORMS = {"coarse": ("MERR_coarse_grained", "caption"), "fine": ("MERR_fine_grained", "smp_reason_caption")}
# What stands behind the emotion in a line of the published lists.
_VALUE = -10


class Merr(Exporter):
    """`MERR_coarse_grained` and `MERR_fine_grained`, each as `.json` (clip -> text) and `.txt` (clip, frames
    of the video, emotion, -10), and one JSON for each clip with its peaks and clues. A clip without an
    emotion is in no `.txt`: none is not neutral.
    """

    summary: ClassVar[str] = "captions of MERR's kind in the forms of its files (emo caption, caption.merr)"
    media: ClassVar[bool] = False

    def media_of(self, target: Storage, ids: Collection[str]) -> list[str]:
        wanted = {_path(video_id) for video_id in ids}
        return [path for path in target.names(_FOLDER) if path in wanted]

    def write(self, exported: Exported) -> list[str]:
        source, target = exported.source, exported.target
        found = committed.read_newest(source, CAPTIONS.name, CAPTIONS, CAPTIONS.schema.names)
        kept = uses.allowed(source, planning.well(found), training=True).to_pylist()
        videos = {row["video_id"]: row["uri"] for row in exported.rows}
        kept = [row for row in kept if row["source"]["expert"] == EXPERT and row["video_id"] in videos]
        if not kept:
            raise InputError(f"{source.url} has no caption of MERR's kind of these clips; set caption.merr")
        if blank := [row["video_id"] for row in kept if row["video_id"].split() != [row["video_id"]]]:
            raise InputError(f"the lists of MERR are parted at blanks, and {blank[0]!r} has one in its id")
        made_of = _made_of(source)
        files = []
        for kind, (name, key) in _FORMS.items():
            rows = [row for row in kept if (row["source"]["prompt"] == COARSE) == (kind == "coarse")]
            if rows:
                files += _write(target, name, key, rows, made_of)
        by_clip: dict[str, dict[str, Any]] = {}
        for row in kept:
            of_clip = by_clip.setdefault(row["video_id"], {"source_path": videos[row["video_id"]]})
            of_clip |= made_of[row["video_id"]]
            if row["source"]["prompt"] != COARSE:
                of_clip["final_summary"] = _text(row)
                of_clip["rationale"] = row["source"]["gold_shown"]
        for video_id, told in by_clip.items():
            target.write(_path(video_id), _json(told))
        return [*files, *map(_path, by_clip)]


def _made_of(source: Storage) -> dict[str, dict[str, Any]]:
    """The clues of each clip, of its coarse caption where it has one."""
    where = committed.folder(DRAFTS, EXPERT)
    rows = planning.well(committed.read_newest(source, where, DRAFTS, ["status", "clues"])).to_pylist()
    rows.sort(key=lambda row: row["prompt"] == COARSE)
    return {row["video_id"]: json.loads(row["clues"]) for row in rows if row["clues"]}


def _write(
    target: Storage,
    name: str,
    key: str,
    rows: Sequence[Mapping[str, Any]],
    made_of: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    texts, lines = {}, []
    for row in rows:
        clues = made_of[row["video_id"]]
        texts[row["video_id"]] = {key: _text(row)}
        if words := clues["coarse_descriptions_at_peak"]["subtitle"]:
            texts[row["video_id"]]["text"] = words
        # Of the coarse kind the emotion is what the action units stand for, of the other what the text says.
        said = clues["emotions"] if row["source"]["prompt"] == COARSE else row["labels"]
        if said:
            lines.append(f"{row['video_id']} {clues['frame_count']} {said[0]} {_VALUE}\n")
    target.write(f"{name}.json", _json(texts))
    target.write(f"{name}.txt", "".join(lines).encode())
    return [f"{name}.json", f"{name}.txt"]


def _text(row: Mapping[str, Any]) -> str:
    return str(json.loads(row["messages"])[-1]["content"])


def _path(video_id: str) -> str:
    return f"{_FOLDER}/{folder_of(video_id)}.json"


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode()
