"""A run: its id, what it was asked, what it did; one JSON file each under OUT/runs.

A run that makes rows holds the lease of OUT; its file is runs/ID.json. A training makes none and holds the
lease of its own folder, so it may go on beside such a run; its file is runs/ID-NAME.json.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from emo import __version__
from emo.errors import InputError, StorageError
from emo.marks import differences
from emo.paths import split
from emo.store.storage import Storage

FOLDER = "runs"
# The folder of the trainings, each in one of its own.
TRAININGS = "finetune"
_ID_FORMAT = "%Y%m%dT%H%M%SZ"


@dataclass
class StepRecord:
    """What one step did: `rows` were left to do, `skipped` had been done before.

    empty: of the ok, those without any label; error_codes: how many of the failed have which code; left: not
    tried, because a bound was reached; under_way: shards that were being done when the step was cut short,
    whose rows may still come; workers, cpus, gpus: what all workers together held, on average; figures: of a
    training, the newest of its loss, rate, speed and memory; curve: of a training, [step, loss, held-out loss
    or None] of some of its steps, the oldest first.
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
    under_way: int = 0
    workers: float = 0
    cpus: float = 0.0
    gpus: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)
    curve: list[list[float | None]] = field(default_factory=list)


def too_many_failed(records: Sequence[StepRecord], share: float) -> str | None:
    """Where more than this share of a step's rows failed, or all of them: which step, for a person."""
    tried, failed = Counter[str](), Counter[str]()
    for record in records:  # of one name there are several where `emo caption` needs more captions
        tried[record.name] += record.rows - record.left
        failed[record.name] += record.failed
    for name, count in tried.items():
        if count and failed[name] == count:
            return f"all rows of {name} failed"
    for name, count in tried.items():
        if failed[name] > share * count:
            return f"more than max_failed_share={share:g} of {name} failed"
    return None


@dataclass
class Run:
    """One run. `outcome`: running, done, failed (it stopped with `error`); a killed run stays `running`.

    made_with: step -> the settings that the rows of OUT were made with; redo_since: step -> the first run of
    a redo that is not finished. Each run hands both on to the next.
    """

    run_id: str
    command: str
    source: str | None
    config: dict[str, Any]
    started: str
    finished: str | None = None
    outcome: str = "running"
    error: str | None = None
    steps: list[StepRecord] = field(default_factory=list)
    made_with: dict[str, Any] = field(default_factory=dict)
    redo_since: dict[str, str] = field(default_factory=dict)
    emo_version: str = __version__

    def ended(self, outcome: str) -> dict[str, Any]:
        """The run as its file would tell it if it ended now."""
        return {**asdict(self), "outcome": outcome, "finished": datetime.now(UTC).isoformat()}

    def save(self, storage: Storage) -> None:
        """Write OUT/runs/RUN_ID.json."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        storage.write(f"{FOLDER}/{self.run_id}.json", text.encode())


def new_run_id(storage: Storage, now: datetime, training: str = "") -> str:
    """An id that sorts after that of every earlier run of this OUT, also when the clock went back.

    training: its name; only ids of its own count then. Whoever asks holds the lease of OUT or of it.
    """
    ending = f"-{training}" if training else ""
    names = [split(entry.path)[1].removesuffix(".json") for entry in storage.entries(FOLDER)]
    earlier = [name.removesuffix(ending) for name in names if name.endswith(ending)]
    moment = now.astimezone(UTC).replace(microsecond=0)
    latest = max((when for name in earlier if (when := run_moment(name)) is not None), default=None)
    if latest is not None and latest >= moment:
        moment = latest + timedelta(seconds=1)
    return moment.strftime(_ID_FORMAT) + ending


def run_moment(run_id: str) -> datetime | None:
    """When a run began, by its id; None where it is not one of ours."""
    try:
        return datetime.strptime(run_id, _ID_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None


def training_of(run_id: str) -> str | None:
    """The name of a training, by the id of its run; None where it is a run that makes rows."""
    return run_id.partition("-")[2] or None


def training_place(out: Storage, name: str) -> Storage:
    """The folder of a training in OUT, which also holds its lease."""
    return Storage(f"{out.url}/{TRAININGS}/{name}", out.s3)


def load_runs(storage: Storage, last: int | None = None, trainings: bool = False) -> list[dict[str, Any]]:
    """The files of the runs that make rows, or of the trainings; oldest first, `last`: only so many of the
    newest.
    """
    paths = [
        entry.path
        for entry in storage.entries(FOLDER)
        if entry.path.endswith(".json")
        and (training_of(split(entry.path)[1].removesuffix(".json")) is not None) == trainings
    ]
    runs = []
    for path in paths[-last:] if last else paths:
        try:
            runs.append(json.loads(storage.read(path)))
        except ValueError:
            raise StorageError(f"{storage.full(path)} is not a run file: it is not JSON") from None
    return runs


def newest_config(storage: Storage) -> dict[str, Any] | None:
    """The configuration of the newest run that makes rows, or else of the newest training."""
    runs = load_runs(storage, last=1) or load_runs(storage, last=1, trainings=True)
    return runs[0]["config"] if runs else None


def check_settings(
    made_with: dict[str, Any], redo_since: dict[str, str], now: dict[str, dict[str, Any]]
) -> None:
    """Raise InputError where rows of OUT were made with settings other than those of this run.

    Rows of two settings in one table could not be told apart; which is wanted, only the user knows. A setting
    that an earlier version did not have does not count.
    """
    for step, settings in now.items():
        before = made_with.get(step, {})
        changed = differences(before, settings)
        again = _redo_command(step)
        if changed:
            raise InputError(
                f"{step}: OUT holds rows made with other settings ({', '.join(changed)}); use those, another "
                f"OUT, or another name for the expert, or make these rows anew with: {again}"
            )
        if step in redo_since:
            raise InputError(f"{step}: a redo is not finished; it goes on with: {again}")


def _redo_command(step: str) -> str:
    if step.startswith("describe "):
        return f"emo describe --expert {step.removeprefix('describe ')} --redo"
    return f"emo {step} --redo"
