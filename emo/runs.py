"""A run: its id, what it was asked, what it did; one JSON file each under OUT/runs."""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from emo import __version__
from emo.errors import InputError, StorageError
from emo.storage import Storage

FOLDER = "runs"
_ID_FORMAT = "%Y%m%dT%H%M%SZ"


@dataclass
class Step:
    """What one step did: `rows` were left to do, `skipped` had been done before.

    empty: of the ok, those without any label; error_codes: how many of the failed have which code; left: not
    tried, because a bound was reached; workers, cpus, gpus: what all workers together held.
    """

    name: str
    rows: int = 0
    ok: int = 0
    failed: int = 0
    empty: int = 0
    skipped: int = 0
    seconds: float = 0.0
    error_codes: dict[str, int] = field(default_factory=dict)
    left: int = 0
    workers: int = 0
    cpus: float = 0.0
    gpus: float = 0.0


@dataclass
class Run:
    """One run. `outcome`: running, done, failed (it stopped with `error`); a killed run stays `running`."""

    run_id: str
    command: str
    source: str | None
    config: dict[str, Any]
    started: str
    finished: str | None = None
    outcome: str = "running"
    error: str | None = None
    steps: list[Step] = field(default_factory=list)
    emo_version: str = __version__

    def ended(self, outcome: str) -> dict[str, Any]:
        """The run as its file would tell it if it ended now."""
        return {**asdict(self), "outcome": outcome, "finished": datetime.now(UTC).isoformat()}

    def save(self, storage: Storage) -> None:
        """Write OUT/runs/RUN_ID.json."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        storage.write(f"{FOLDER}/{self.run_id}.json", text.encode())


def new_run_id(storage: Storage, now: datetime) -> str:
    """An id that sorts after that of every earlier run of this OUT, also when the clock went back."""
    earlier = [entry.path.split("/")[-1].removesuffix(".json") for entry in storage.entries(FOLDER)]
    moment = now.astimezone(UTC).replace(microsecond=0)
    latest = max((when for name in earlier if (when := run_moment(name)) is not None), default=None)
    if latest is not None and latest >= moment:
        moment = latest + timedelta(seconds=1)
    return moment.strftime(_ID_FORMAT)


def run_moment(run_id: str) -> datetime | None:
    """When a run began, by its id; None where it is not one of ours."""
    try:
        return datetime.strptime(run_id, _ID_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None


def load_runs(storage: Storage, last: int | None = None) -> list[dict[str, Any]]:
    """The run files of an OUT, oldest first; `last`: only that many of the newest."""
    paths = [entry.path for entry in storage.entries(FOLDER) if entry.path.endswith(".json")]
    runs = []
    for path in paths[-last:] if last else paths:
        try:
            runs.append(json.loads(storage.read(path)))
        except ValueError:
            raise StorageError(f"{storage.full(path)} is not a run file: it is not JSON") from None
    return runs


def check_settings(runs: list[dict[str, Any]], config: dict[str, Any]) -> None:
    """Raise InputError where rows of OUT were made with settings other than those of this run.

    Rows of two settings in one table could not be told apart; which is wanted, only the user knows.
    """
    for name, now in [("ingest", config["ingest"])] + [
        (f"describe {expert['name']}", expert) for expert in config["experts"]
    ]:
        before = _last_settings(runs, name)
        if before is None:
            continue
        changed = [
            f"{key} was {before.get(key)!r} and is {now.get(key)!r}"
            for key in sorted({*before, *now} - _HARMLESS)
            if before.get(key) != now.get(key)
        ]
        if changed:
            raise InputError(
                f"{name}: OUT holds rows made with other settings ({', '.join(changed)}); use those, another "
                "OUT, or another name for the expert, or do everything again with --redo"
            )


# Settings that decide how the work is done and not what comes out.
_HARMLESS = {"workers", "shard_rows", "deadline_s", "memory_mib"}


def _last_settings(runs: list[dict[str, Any]], step: str) -> dict[str, Any] | None:
    for run in reversed(runs):
        if any(done["name"] == step and done["rows"] for done in run["steps"]):
            if step == "ingest":
                return dict(run["config"]["ingest"])
            for expert in run["config"]["experts"]:
                if step == f"describe {expert['name']}":
                    return dict(expert)
    return None
