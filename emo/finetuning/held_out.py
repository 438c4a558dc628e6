"""Answers on the held-out samples of a run: of its base, and of each checkpoint."""

import json
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
# To the samples of the split `test`: of the base, and of the best adapter.
TEST_BASE, TEST_BEST = "answers/test-base.json", "answers/test-best.json"


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
    chosen = _chosen(place, settings)
    asked = (validation.Asked(entry.sample, None, entry.labels) for entry in chosen)
    validation.check_labels(asked, settings.validation.extract)


def base_answers(place: Storage, settings: Finetune, split: str = prepared.HELD_OUT) -> dict[str, Any] | None:
    """Those of the base where they were asked as these settings ask; else None."""
    found = read_answers(place, TEST_BASE if split == prepared.TEST else BASE_ANSWERS)
    return found if found is not None and found.get("asked") == _asking(settings, split) else None


def judge_base(place: Storage, settings: Finetune) -> None:
    """The same for what training begins with, which is what its adapter has to be better than."""
    _one_thread()
    _judge(place, settings, _base(place, settings), _start(settings), BASE_ANSWERS)


def judge_test(place: Storage, settings: Finetune, best: str) -> dict[str, float]:
    """Let base and best answer the samples of the split `test`; the figures of both.

    best: the folder of the result. Keys: as of `validation.score`, with `test_` and `test_base_` before them.
    """
    _one_thread()
    base = _base(place, settings)
    result = resolve_model(best)
    model, beside = (result, None) if settings.lora is None else (base, result)
    before = base_answers(place, settings, prepared.TEST)
    if before is None:
        figures = _judge(place, settings, base, _start(settings), TEST_BASE, prepared.TEST)
    else:
        figures = before["metrics"]
    after = _judge(place, settings, model, beside, TEST_BEST, prepared.TEST)
    return {f"test_{key}": value for key, value in after.items()} | {
        f"test_base_{key}": value for key, value in figures.items()
    }


def _start(settings: Finetune) -> Path | None:
    return None if settings.adapter is None else resolve_model(settings.adapter)


def _base(place: Storage, settings: Finetune) -> Path:
    assert settings.model is not None
    use_s3(place.s3)
    return resolve_model(settings.model, settings.revision, settings.trust_remote_code)


def _judge(
    place: Storage,
    settings: Finetune,
    model: Path,
    result: Path | None,
    target: str,
    split: str = prepared.HELD_OUT,
) -> dict[str, float]:
    asked = _asked(place, settings, split)
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
    place.write(target, as_json({"asked": _asking(settings, split), "metrics": metrics, "rows": rows}))
    return metrics


def _asking(settings: Finetune, split: str = prepared.HELD_OUT) -> dict[str, Any]:
    """What decides the figures of one and the same model."""
    asked = settings.validation.model_dump(mode="json", include={"max_new_tokens", "extract"})
    return {**asked, "samples": _wanted(settings, split)}


def _wanted(settings: Finetune, split: str) -> int:
    asked = settings.validation
    return asked.test_samples if split == prepared.TEST else asked.samples


def _asked(place: Storage, settings: Finetune, split: str) -> list[validation.Asked]:
    reader = prepared.ClipReader(place)
    chosen = _chosen(place, settings, split)
    return [validation.Asked(entry.sample, reader.clip(entry), entry.labels) for entry in chosen]


def _chosen(place: Storage, settings: Finetune, split: str = prepared.HELD_OUT) -> list[prepared.Entry]:
    """The samples of a split that are answered: one per clip where there are enough, always the same ones."""
    entries = prepared.Stored(place, split)
    seen: set[Any] = set()
    first: list[Any] = []
    more: list[Any] = []
    for entry in entries:
        key = (entry.file, entry.place)
        (more if key in seen and entry.file is not None else first).append(entry)
        seen.add(key)
    order = batching.order(len(first), settings.seed, 0)
    return [*(first[number] for number in order), *more][: _wanted(settings, split)]


def _one_thread() -> None:
    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(1)
