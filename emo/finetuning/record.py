"""The record of a run, OUT/finetune/NAME/run.json: what it was asked, how it ended."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from emo.errors import EmoError, InputError
from emo.finetuning.settings import Finetune, differences
from emo.store.storage import Storage

RUN = "run.json"
# The outcome of a run that ended before its first step.
REFUSED = "refused"
# What a run makes before its first step, below its folder.
_MADE = ("data", "answers", "train", "tensorboard")


def begin(
    place: Storage,
    settings: Finetune,
    fingerprint: str,
    base: str,
    earlier: Callable[[], str] | None = None,
) -> dict[str, Any]:
    """The record of a new run, or of the one that goes on; raises InputError where that is another one.

    A run without a step leaves its name to the next one, whatever that is asked. earlier: gives the
    fingerprint of the data as emo 0.1 made it, for a run that began there.
    """
    now: dict[str, Any] = {"settings": settings.model_dump(mode="json"), "data": fingerprint, "base": base}
    try:
        record = json.loads(place.read(RUN))
    except FileNotFoundError:
        return _new(place, now, datetime.now(UTC).isoformat(timespec="seconds"))
    except ValueError:
        raise InputError(f"{place.full(RUN)} is not JSON; remove the folder or use another name") from None
    if record["outcome"] == REFUSED:
        # Its data may have been mended meanwhile.
        return _taken_over(place, now, record)
    changed = differences(record["settings"], now["settings"])
    if record["base"] != base:
        changed.append("the weights of the base, or of the adapter that it goes on from, are others")
    if record["data"] != fingerprint and (earlier is None or record["data"] != earlier()):
        changed.append("the data are others")
    if not changed:
        return dict(record)
    # Runs of emo 0.1 do not say whether they trained.
    if record["outcome"] != "done" and record.get("trained") is False:
        return _taken_over(place, now, record)
    raise InputError(
        f"{place.url} holds a run of that name with other settings or data: {'; '.join(changed)}; "
        "use those or another name"
    )


def _new(place: Storage, asked: dict[str, Any], started: str) -> dict[str, Any]:
    record = {**asked, "outcome": "running", "trained": False, "started": started}
    place.write(RUN, as_json(record))
    return record


def _taken_over(place: Storage, asked: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """A new record under the name of a run without a step; what that one left is removed."""
    for folder in _MADE:
        for path in place.names(folder):
            place.delete(path)
    return _new(place, asked, before["started"])


def note_first_step(place: Storage, record: dict[str, Any]) -> None:
    """Write into the record that a step is done: from now on the name is this run's."""
    if not record.get("trained"):
        record["trained"] = True
        place.write(RUN, as_json(record))


def note(place: Storage, record: dict[str, Any], outcome: str, **more: Any) -> None:
    """Write into the record what the run ended with; more: what it says besides."""
    record |= {"outcome": outcome, "finished": datetime.now(UTC).isoformat(timespec="seconds"), **more}
    with suppress(EmoError):  # what the run ended with matters more
        place.write(RUN, as_json(record))


def as_json(value: Any) -> bytes:
    """A small file of a run."""
    return json.dumps(value, indent=1, ensure_ascii=False).encode()
