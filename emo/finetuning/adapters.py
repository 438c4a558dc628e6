"""The finetuned adapters of an OUT: list them, promote one that passes its gate, merge one into its base, and
bring in one that was trained elsewhere.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from emo.config import Config
from emo.engines.adapters import CONFIG, ELSEWHERE, MANIFEST
from emo.engines.models import resolve_model
from emo.errors import InputError
from emo.finetuning import adapter
from emo.finetuning.foreign import Imported, import_adapter
from emo.finetuning.held_out import BASE_ANSWERS, answers_of
from emo.finetuning.record import RUN
from emo.finetuning.settings import Finetune, Gate
from emo.store.runs import TRAININGS as FOLDER
from emo.store.storage import Storage

PROMOTED = "adapters"


def states(out: Storage) -> list[dict[str, Any]]:
    """Every finetuning run of OUT: name, outcome, figures of its best adapter, whether it is promoted."""
    paths = {entry.path for entry in out.entries(FOLDER)}
    names = sorted({path.split("/")[1] for path in paths if path.count("/") > 1})
    found = []
    for name in names:
        if f"{FOLDER}/{name}/{RUN}" not in paths:
            continue
        record = json.loads(out.read(f"{FOLDER}/{name}/{RUN}"))
        promotion = _read(out, f"{PROMOTED}/{name}/{adapter.PROMOTION}")
        found.append(
            {
                "name": name,
                "outcome": record["outcome"],
                "metrics": record.get("result", {}).get("metrics", {}),
                "best": out.full(f"{FOLDER}/{name}/best") if "result" in record else None,
                "promoted": promotion and promotion["at"],
                "adapter": out.full(f"{PROMOTED}/{name}") if promotion else None,
            }
        )
    brought = {
        entry.path.split("/")[1] for entry in out.entries(PROMOTED) if entry.path.endswith(f"/{ELSEWHERE}")
    }
    nothing: dict[str, Any] = {"outcome": "imported", "metrics": {}, "best": None, "promoted": None}
    return found + [
        {"name": name, **nothing, "adapter": out.full(f"{PROMOTED}/{name}")} for name in sorted(brought)
    ]


def bring(out: Storage, name: str, source: str, settings: Finetune) -> tuple[Imported, str]:
    """Bring the adapter in a local folder to OUT/adapters/NAME, under the names of the base; and where it is.

    settings: of them family, model and revision count. Raises InputError as `import_adapter` does, and where
    OUT has an adapter of that name.
    """
    if settings.model is None:
        raise InputError("finetune.model is not set: name the base that the adapter is for")
    target = f"{PROMOTED}/{name}"
    if out.entries(target):
        raise InputError(f"{out.full(target)} exists already")
    base = resolve_model(settings.model, settings.revision, settings.trust_remote_code)
    with TemporaryDirectory(prefix="emo-adapter-") as folder:
        made = Path(folder, "made")
        found = import_adapter(Path(source).expanduser(), settings.family, base, made)
        # The configuration last: without it nothing takes the folder for an adapter.
        for path in sorted(made.iterdir(), key=lambda path: path.name == CONFIG):
            out.write(f"{target}/{path.name}", path.read_bytes())
    return found, out.full(target)


def promote(out: Storage, name: str, gate: Gate) -> str:
    """Copy the best adapter of a finished run to OUT/adapters/NAME and record why; where it is.

    Raises InputError where the run is not done, or its figures do not pass the gate, with every reason.
    """
    record = _record(out, name)
    metrics = record["result"]["metrics"]
    before = _read(out, f"{FOLDER}/{name}/{BASE_ANSWERS}")
    after = _read(out, f"{FOLDER}/{name}/{answers_of(int(metrics['step']))}")
    # Figures of other samples, or of shorter answers, are none to be better than.
    alike = before is not None and (after is None or before.get("asked") == after.get("asked"))
    base = before["metrics"] if before is not None and alike else None
    reasons = adapter.gate_failures(metrics, base, gate)
    if reasons:
        raise InputError(f"adapter {name!r} is not promoted: {'; '.join(reasons)}")
    source = f"{FOLDER}/{name}/best/"
    for entry in out.entries(source.rstrip("/")):
        out.write(f"{PROMOTED}/{name}/{entry.path.removeprefix(source)}", out.read(entry.path))
    promotion = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "gate": gate.model_dump(mode="json"),
        "metrics": metrics,
        "base_metrics": base,
    }
    target = f"{PROMOTED}/{name}/{adapter.PROMOTION}"
    out.write(target, json.dumps(promotion, indent=1).encode())
    return out.full(f"{PROMOTED}/{name}")


def merge(out: Storage, name: str, target: str) -> float:
    """Write the base with the best adapter of a run in it to a local folder.

    Returns the difference of scores that merging made, as a share of their spread.
    """
    record = _record(out, name)
    settings = Finetune(**record["settings"])
    assert settings.model is not None
    base = resolve_model(settings.model, settings.revision, settings.trust_remote_code)
    with TemporaryDirectory(prefix="emo-adapter-") as folder:
        source = f"{FOLDER}/{name}/best/"
        for entry in out.entries(source.rstrip("/")):
            Path(folder, entry.path.removeprefix(source)).write_bytes(out.read(entry.path))
        if not Path(folder, MANIFEST).exists():
            raise InputError(f"{out.full(source)} holds no adapter")
        return adapter.merge(Path(folder), base, Path(target), settings.dtype)


def storage_of(config: Config, url: str) -> Storage:
    """OUT; raises InputError where it holds no finetuning run."""
    out = Storage(url, config.s3)
    if not out.entries(FOLDER) and not out.entries(PROMOTED):
        raise InputError(f"{out.url} holds no finetuning run; was it another --out?")
    return out


def _record(out: Storage, name: str) -> dict[str, Any]:
    record = _read(out, f"{FOLDER}/{name}/{RUN}")
    if record is None:
        known = ", ".join(state["name"] for state in states(out)) or "none"
        raise InputError(f"no finetuning run is named {name!r}; there are: {known}")
    if record["outcome"] != "done":
        raise InputError(f"the run {name!r} is not done ({record['outcome']}); run emo finetune again")
    return record


def _read(out: Storage, path: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(out.read(path)))
    except FileNotFoundError:
        return None
