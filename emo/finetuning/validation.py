"""How good a model's answers on held-out samples are."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emo import extraction
from emo.engines.preprocessing import ModelInput, Preprocessor
from emo.errors import InputError, RowError
from emo.evaluation.ew import emo_clusters
from emo.experts.in_process import finetunable
from emo.experts.protocol import Clip
from emo.extraction.protocol import ExtractRow
from emo.finetuning.masking import Encoder
from emo.finetuning.model import classes
from emo.finetuning.samples import Sample
from emo.finetuning.settings import Finetune


@dataclass(frozen=True)
class Asked:
    """A held-out sample with its clip; labels: of its reference, None: read out of its first answer."""

    sample: Sample
    clip: Clip | None
    labels: tuple[str, ...] | None

    @property
    def reference(self) -> str:
        """The answer that the sample holds to its first question."""
        return self.sample.turns[1].content


class _SamplePreprocessor(Preprocessor[Asked]):
    """The encoder's prompts for the engine, which asks from several threads."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._lock = threading.Lock()
        self.tokenizer = encoder.tokenizer

    def size(self, item: Asked) -> int:
        return len(item.sample.turns[0].content)

    def prepare(self, item: Asked) -> ModelInput:
        with self._lock:
            return self._encoder.prompt(item.sample, item.clip)

    def stack(self, name: str, parts: Sequence[Any]) -> Any:
        return self._encoder.preprocessor.stack(name, parts)

    def on_device(self, features: dict[str, Any], dtype: Any) -> dict[str, Any]:
        return self._encoder.preprocessor.on_device(features, dtype)


def answers(
    settings: Finetune, model: Path, adapter: Path | None, asked: Sequence[Asked]
) -> list[str | RowError]:
    """What the model writes to the first question of each sample, greedily; aligned with `asked`."""
    from emo.engines.transformers_engine import TransformersEngine

    cls: Any = finetunable(settings.family)
    values = {
        "name": "validation",
        "kind": settings.family,
        "model": str(model),
        "adapter": None if adapter is None else str(adapter),
        "device": settings.device,
        "dtype": settings.dtype,
        "attention": settings.attention,
        "max_new_tokens": settings.validation.max_new_tokens,
        "system": settings.system,
        "trust_remote_code": settings.trust_remote_code,
    }
    if "max_frames" in cls.Settings.model_fields:
        values["max_frames"] = settings.max_frames
    engine: TransformersEngine[Asked] = TransformersEngine(
        cls.Settings(**values),
        lambda folder: _SamplePreprocessor(
            Encoder(
                settings.family,
                folder,
                max_frames=settings.max_frames,
                max_tokens=settings.max_tokens,
                trust_remote_code=settings.trust_remote_code,
            )
        ),
        classes(settings.family),
    )
    try:
        written = engine.generate(asked, [one.sample.sample_id for one in asked], name="validation")
    finally:
        engine.close()
    return [one if isinstance(one, RowError) else one[0].text for one in written]


def score(
    asked: Sequence[Asked], written: Sequence[str | RowError], extract: str = "rules"
) -> dict[str, float]:
    """The figures of answers against their samples.

    f1, precision, recall: of the label sets over emo's clusters of words, averaged per clip as the metric
    `emo-clusters` does, over the samples whose reference has a label; parse_failures: share of the answers
    without any label, failed ones included; failed: share without an answer; words: mean length; repeated:
    share of the answers in which four words in a row come twice. Raises InputError where no reference has a
    label that the vocabulary knows.
    """
    extractor = extraction.load(extraction.settings_of({"kind": extract}))
    found = [_labels(extractor, text, one.sample.sample_id) for one, text in zip(asked, written, strict=True)]
    gold = {name: labels for name, labels in _gold(asked, extractor) if labels}
    if not gold:
        raise InputError("no held-out sample has a label to compare with")
    predicted = {
        one.sample.sample_id: labels
        for one, labels in zip(asked, found, strict=True)
        if one.sample.sample_id in gold
    }
    result = emo_clusters(gold, predicted).score
    texts = [text for text in written if isinstance(text, str)]
    count = len(asked)
    return {
        "f1": result.f,
        "precision": result.p,
        "recall": result.r,
        "parse_failures": sum(not labels for labels in found) / count,
        "failed": (count - len(texts)) / count,
        "words": sum(len(text.split()) for text in texts) / max(1, len(texts)),
        "repeated": sum(map(_repeats, texts)) / max(1, len(texts)),
    }


def check_labels(asked: Iterable[Asked], extract: str) -> None:
    """Raise InputError where no reference of these samples has a label: no answer could be scored."""
    extractor = extraction.load(extraction.settings_of({"kind": extract}))
    if not any(labels for _, labels in _gold(asked, extractor)):
        raise InputError(
            "no held-out answer that is asked for has a label to compare with; give answers that name an "
            "emotion, or finetune.validation.samples=0 to measure the loss alone"
        )


def _gold(asked: Iterable[Asked], extractor: Any) -> Iterator[tuple[str, list[str]]]:
    """The labels of each sample's reference, by its name."""
    for one in asked:
        name = one.sample.sample_id
        yield name, list(one.labels) if one.labels is not None else _labels(extractor, one.reference, name)


def _labels(extractor: Any, text: str | RowError, key: str) -> list[str]:
    if isinstance(text, RowError):
        return []
    labels = extractor.extract([ExtractRow(text, None, key)])[0]
    return [] if isinstance(labels, RowError) else list(labels)


def _repeats(text: str) -> bool:
    words = text.lower().split()
    fours = [tuple(words[place : place + 4]) for place in range(len(words) - 3)]
    return len(fours) != len(set(fours))
