"""The record of a run, OUT/finetune/NAME/run.json: what it was asked, how it ended."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from emo.errors import EmoError, InputError
from emo.finetuning.settings import Finetune, differences
from emo.store.storage import Storage

RUN = "run.json"
# The outcome of a run that ended before its first step, for what it was asked or given.
REFUSED = "refused"


def begin(place: Storage, settings: Finetune, fingerprint: str, base: str) -> dict[str, Any]:
    """The record of a new run, or of the one that goes on; raises InputError where that is another one."""
    now: dict[str, Any] = {"settings": settings.model_dump(mode="json"), "data": fingerprint, "base": base}
    try:
        record = json.loads(place.read(RUN))
    except FileNotFoundError:
        record = {**now, "outcome": "running", "started": datetime.now(UTC).isoformat(timespec="seconds")}
        place.write(RUN, as_json(record))
        return record
    except ValueError:
        raise InputError(f"{place.full(RUN)} is not JSON; remove the folder or use another name") from None
    if record["outcome"] == REFUSED:
        # Nothing was trained: what is asked for now is a new run.
        for path in place.names("data"):
            place.delete(path)
        record = {**now, "outcome": "running", "started": record["started"]}
        place.write(RUN, as_json(record))
        return record
    changed = differences(record["settings"], now["settings"])
    if record["base"] != base:
        changed.append("the weights of the base, or of the adapter that it goes on from, are others")
    if record["data"] != fingerprint:
        changed.append("the data are others")
    if changed:
        raise InputError(
            f"{place.url} holds a run of that name with other settings or data: {'; '.join(changed)}; "
            "use those or another name"
        )
    return dict(record)


def note(place: Storage, record: dict[str, Any], outcome: str, **more: Any) -> None:
    """Write into the record what the run ended with; more: what it says besides."""
    record |= {"outcome": outcome, "finished": datetime.now(UTC).isoformat(timespec="seconds"), **more}
    with suppress(EmoError):  # what the run ended with matters more
        place.write(RUN, as_json(record))


def as_json(value: Any) -> bytes:
    """A small file of a run."""
    return json.dumps(value, indent=1, ensure_ascii=False).encode()
