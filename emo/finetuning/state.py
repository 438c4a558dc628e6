"""What stands beside the shards of a checkpoint: how far the run is, and its curve."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emo.errors import EmoError
from emo.finetuning.batching import Cursor

STATE = "state.json"


@dataclass(frozen=True)
class State:
    """The cursor, the number of workers that wrote them, the loss of the
    probe, and the curve so far (one entry per step).
    """

    cursor: Cursor
    workers: int
    probe: float
    history: list[dict[str, Any]]

    def write(self, folder: Path) -> None:
        """Into `folder/state.json`."""
        value = {
            "cursor": self.cursor.as_dict(),
            "workers": self.workers,
            "probe": self.probe,
            "history": self.history,
        }
        (folder / STATE).write_text(json.dumps(value))


def read_state(folder: Path) -> State:
    """The state of a checkpoint; raises EmoError where it has none."""
    try:
        value = json.loads((folder / STATE).read_text())
    except (OSError, ValueError) as error:
        raise EmoError(f"the checkpoint {folder} cannot be read: {error}") from error
    return State(Cursor(**value["cursor"]), value["workers"], value["probe"], value["history"])
