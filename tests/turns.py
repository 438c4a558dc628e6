"""Clips that are turns of a dialogue, in the tables of an OUT, and an expert that repeats what it is told."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from emo.errors import RowError
from emo.experts import protocol
from emo.experts.protocol import Card, Clip, Description, Expert
from emo.jobs.ingest import Ingested, clip_rows
from emo.media.decoded import DecodedClip
from emo.sources.lookup import MANIFEST
from emo.store import committed
from emo.store.tables import CLIPS

KIND = "turns:Echo"
Turns = Mapping[str, tuple[str | None, int | None, str | None, str | None]]


def manifest(turns: Turns) -> pa.Table:
    """The manifest of clips: id -> dialogue, turn, speaker, words."""
    given = {"video_id": list(turns), "uri": [f"/v/{name}" for name in turns]}
    for place, name in enumerate(("dialogue_id", "turn", "speaker", "subtitle")):
        given[name] = [one[place] for one in turns.values()]
    return pa.table(
        {field.name: given.get(field.name, [None] * len(turns)) for field in MANIFEST}, schema=MANIFEST
    )


def commit_turns(storage, run: str, turns: Turns, errors: Sequence[str] = ()) -> None:
    """Clips as ingest leaves them; errors: those that could not be read."""
    clip = DecodedClip(1.0, 8, 8, 25.0, (0.5,), (b"jpeg",), None, None, None, "pyav")
    results = [
        RowError("empty", "") if name in errors else Ingested(clip, (None, None), words, "manifest", "en")
        for name, (_, _, _, words) in turns.items()
    ]
    rows = clip_rows(manifest(turns), results, run)
    committed.commit(storage, committed.folder(CLIPS), CLIPS, f"{run}-clips", rows)


class Settings(protocol.Settings):
    """previous_turns: how many turns it asks for; broken: clips that it fails on."""

    previous_turns: int = Field(0, ge=0)
    broken: tuple[str, ...] = ()


class Echo(Expert):
    """Writes down the turns that it was told."""

    Settings: ClassVar[type[protocol.Settings]] = Settings

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.card = Card(settings.name, ("frames",), "echo")

    @classmethod
    def previous_turns(cls, settings: Any) -> int:
        return int(settings.previous_turns)

    def describe(self, clips: Sequence[Clip]) -> list[list[Description] | RowError]:
        return [self._describe(clip) for clip in clips]

    def _describe(self, clip: Clip) -> list[Description] | RowError:
        if clip.video_id in self._settings.broken:
            return RowError("expert_error", "it never answers this clip")
        told = "; ".join(f"{turn.speaker}: {turn.text}" for turn in clip.before)
        return [Description(f"{clip.speaker} after [{told}]")] * self._settings.samples
