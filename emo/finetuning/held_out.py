"""Answers on the held-out samples of a run: of its base, and of each checkpoint."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emo.engines.models import resolve_model
from emo.errors import RowError
from emo.finetuning import batching, prepared, validation
from emo.finetuning.record import as_json
from emo.finetuning.settings import Finetune
from emo.store.s3 import use_s3
from emo.store.storage import Storage

BASE_ANSWERS = "answers/base.json"


def answers_of(step: int) -> str:
    """The file, below the run's folder, with the answers of the checkpoint of a step."""
    return f"answers/step-{step:07d}.json"


def read_answers(place: Storage, path: str) -> dict[str, Any] | None:
    """metrics, and a row for each sample: sample, reference, answer; None where nobody was asked."""
    return json.loads(place.read(path)) if place.has(path) else None


def judge_result(place: Storage, settings: Finetune, result: Path, step: int) -> dict[str, float]:
    """Let a result answer, keep what it says, and score it; result: its folder."""
    _one_thread()
    if settings.lora is None:
        return _judge(place, settings, result, None, answers_of(step))
    return _judge(place, settings, _base(place, settings), result, answers_of(step))


def check(place: Storage, settings: Finetune) -> None:
    """Raise InputError where the answers of the held-out samples could not be scored."""
    chosen = _chosen(prepared.read_entries(place), settings)
    asked = (validation.Asked(entry.sample, None, entry.labels) for entry in chosen)
    validation.check_labels(asked, settings.validation.extract)


def base_answers(place: Storage, settings: Finetune) -> dict[str, Any] | None:
    """Those of the base where they were asked as these settings ask; else None."""
    found = read_answers(place, BASE_ANSWERS)
    return found if found is not None and found.get("asked") == _asking(settings) else None


def judge_base(place: Storage, settings: Finetune) -> None:
    """The same for the base, which is what an adapter has to be better than."""
    _one_thread()
    _judge(place, settings, _base(place, settings), None, BASE_ANSWERS)


def _base(place: Storage, settings: Finetune) -> Path:
    assert settings.model is not None
    use_s3(place.s3)
    return resolve_model(settings.model, settings.revision, settings.trust_remote_code)


def _judge(
    place: Storage, settings: Finetune, model: Path, result: Path | None, target: str
) -> dict[str, float]:
    asked = _asked(place, settings)
    written = validation.answers(settings, model, result, asked)
    metrics = validation.score(asked, written, settings.validation.extract)
    rows = [
        {
            "sample": one.sample.sample_id,
            "reference": one.reference,
            "answer": f"{text.code}: {text.message}" if isinstance(text, RowError) else text,
        }
        for one, text in zip(asked, written, strict=True)
    ]
    place.write(target, as_json({"asked": _asking(settings), "metrics": metrics, "rows": rows}))
    return metrics


def _asking(settings: Finetune) -> dict[str, Any]:
    """What decides the figures of one and the same model."""
    return settings.validation.model_dump(mode="json", include={"samples", "max_new_tokens", "extract"})


def _asked(place: Storage, settings: Finetune) -> list[validation.Asked]:
    reader = prepared.ClipReader(place)
    chosen = _chosen(prepared.read_entries(place), settings)
    return [validation.Asked(entry.sample, reader.clip(entry), entry.labels) for entry in chosen]


def _chosen(entries: Sequence[prepared.Entry], settings: Finetune) -> list[prepared.Entry]:
    """The held-out samples that are answered: one per clip where there are enough, always the same ones."""
    entries = prepared.held_out_entries(entries)
    seen: set[Any] = set()
    first: list[Any] = []
    more: list[Any] = []
    for entry in entries:
        key = (entry.file, entry.place)
        (more if key in seen and entry.file is not None else first).append(entry)
        seen.add(key)
    order = batching.order(len(first), settings.seed, 0)
    return [*(first[number] for number in order), *more][: settings.validation.samples]


def _one_thread() -> None:
    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(1)
