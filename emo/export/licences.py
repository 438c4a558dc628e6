"""Under which licences what made the labels is: as each checkpoint says of itself, and nothing guessed."""

from collections.abc import Iterator, Mapping
from typing import Any

from emo.engines.model_cards import licence_of
from emo.engines.models import NamedModel
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import DESCRIPTIONS


def of_models(storage: Storage, config: Mapping[str, Any]) -> dict[str, str | None]:
    """Model -> its licence, None where nobody said; the models of all descriptions and those of this run's
    configuration that read, write down and judge, sorted.

    What was written down beside the descriptions comes first, then what lies on this machine. Asks no hub.
    """
    columns = ["model", "revision", "licence"]
    rows = committed.read_newest(storage, committed.folder(DESCRIPTIONS), DESCRIPTIONS, columns)
    found: dict[str, dict[str, None]] = {}
    for row in rows.group_by(columns).aggregate([]).to_pylist():
        if row["model"] is not None:
            said = row["licence"] or _here(row["model"], row["revision"])
            found.setdefault(row["model"], {}).update({said: None} if said else {})
    for model, revision in _besides_experts(config):
        if model not in found:
            said = _here(model, revision)
            found[model] = {said: None} if said else {}
    return {model: "; ".join(sorted(found[model])) or None for model in sorted(found)}


def _here(model: str, revision: str | None) -> str | None:
    folder = NamedModel("", model, revision).here() or NamedModel("", model).here()
    return licence_of(folder) if folder else None


def _besides_experts(config: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Model and revision of the extractor, the transcriber and the adjudicator, as a run file says them."""
    extract, ingest, judge = (config.get(name) or {} for name in ("extract", "ingest", "judge"))
    adjudicate = judge.get("adjudicate") or {}
    places = (extract, extract.get("server"), ingest.get("transcribe"))
    for place in (*places, adjudicate.get("model"), adjudicate.get("server")):
        if isinstance(place, Mapping) and isinstance(place.get("model"), str):
            yield place["model"], place.get("revision")
