"""Runs a classifier of transformers: pictures, sounds or texts in, a probability for each class out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field

from emo.engines.models import load_whole, read_config, resolve_model, revision_of
from emo.engines.settings import weights_dtype
from emo.errors import InputError, RowError
from emo.marks import NoResult
from emo.media.wave import AUDIO_HZ
from emo.section import Section

if TYPE_CHECKING:
    import numpy as np

Medium = Literal["image", "audio", "text"]
Input = Any  # uint8 [height, width, 3], float32 [samples] at 16 kHz, or text

_NAMELESS = re.compile(r"LABEL_\d+")
# Only masking during pretraining reads it; checkpoints that were finetuned without it leave it out.
_NOT_READ = frozenset({"masked_spec_embed"})


class ClassifierSettings(Section):
    """Which classifier, where it runs, and how its scores are read."""

    model: str
    """A local folder, an `s3://` folder, or a hub id."""
    revision: str | None = None
    """The commit, branch or tag of a hub id."""
    pickled_weights: NoResult[bool] = False
    """Weights may be read from pytorch_model.bin where the checkpoint has no safetensors. PyTorch then
    unpickles tensors only (weights_only).
    """
    device: NoResult[Literal["cuda", "cpu"]] = "cpu"
    """Where the model runs."""
    gpus: NoResult[float] = Field(0.25, gt=0, le=1)
    """The share of a GPU that one worker takes on `cuda`."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Type of the weights. `auto` is float16 on CUDA and float32 on a CPU."""
    batch: NoResult[int] = Field(16, ge=1, le=1024)
    """Inputs that go through the model together."""
    temperature: float = Field(1.0, gt=0)
    """The temperature by which scores are divided before they become probabilities. A value above 1 makes an
    overconfident model less sure. It is learned on held-out clips (Guo et al. 2017).
    """


class Kind(NamedTuple):
    """How transformers names the classifiers of one medium."""

    auto: str
    mapping: str
    processor: str


class ClassAnswer(NamedTuple):
    """probabilities: float64 [classes]; vector: float32 [d], which the last layer read; None: not kept."""

    probabilities: np.ndarray
    vector: np.ndarray | None


_KINDS: Mapping[str, Kind] = {
    "image": Kind(
        "AutoModelForImageClassification",
        "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
        "AutoImageProcessor",
    ),
    "audio": Kind(
        "AutoModelForAudioClassification",
        "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES",
        "AutoFeatureExtractor",
    ),
    "text": Kind(
        "AutoModelForSequenceClassification",
        "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
        "AutoTokenizer",
    ),
}


class Classifier:
    """One loaded classifier.

    name: what runs it, with its version; classes: the names of its classes, in the order of its scores;
    several: whether more than one class may hold at once (each class then has a probability of its own);
    keep_vectors: whether answers have the vector that the last layer reads. Raises InputError where the
    checkpoint is no classifier of this medium, is incomplete, or gives its classes no names.
    """

    def __init__(self, settings: ClassifierSettings, medium: Medium, keep_vectors: bool = False) -> None:
        import torch
        import transformers

        self.name = f"transformers {transformers.__version__}"
        self.settings = settings
        self.medium = medium
        self.folder = resolve_model(settings.model, settings.revision, pickled=settings.pickled_weights)
        self.revision = revision_of(self.folder, settings.pickled_weights)
        self.classes = class_names(self.folder, medium)
        kind = _KINDS[medium]
        dtype = weights_dtype(settings.dtype, settings.device, "float16")
        if settings.device == "cuda" and not torch.cuda.is_available():
            raise InputError("device is 'cuda', but torch sees no CUDA device; set device to 'cpu'")
        model = load_whole(
            getattr(transformers, kind.auto),
            self.folder,
            pickled=settings.pickled_weights,
            not_read=_NOT_READ,
            dtype=getattr(torch, dtype),
        )
        self._model: Any = model.to(settings.device).eval()
        self._read: Any = None
        self._last = self._last_layer() if keep_vectors else None
        if settings.device == "cpu":
            from emo.engines.packed import pack

            pack(self._model, leave=self._last)
        try:
            self._processor: Any = getattr(transformers, kind.processor).from_pretrained(self.folder)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{self.folder}: its inputs cannot be prepared: {error}") from error
        self.several = model.config.problem_type == "multi_label_classification"
        self._check_processor()
        # wav2vec 2.0 of the kind that normalises over groups was trained without a mask: it hears the silence
        # that pads a shorter sound.
        waves = getattr(self._processor, "feature_size", 0) == 1 and not hasattr(
            self._processor, "num_mel_bins"
        )
        self._hears_padding = (
            medium == "audio" and waves and not getattr(self._processor, "return_attention_mask", False)
        )

    def _last_layer(self) -> Any:
        """The layer that makes the scores; its input is kept at each pass. InputError where there is none."""
        import torch

        layers = [
            layer
            for layer in self._model.modules()
            if isinstance(layer, torch.nn.Linear) and layer.out_features == len(self.classes)
        ]
        if not layers:
            raise InputError(f"{self.folder}: keep_vectors: it has no linear layer that makes its scores")

        def keep(_layer: Any, inputs: tuple[Any, ...]) -> None:
            self._read = inputs[0]

        layers[-1].register_forward_pre_hook(keep)
        return layers[-1]

    def _check_processor(self) -> None:
        rate = getattr(self._processor, "sampling_rate", AUDIO_HZ)
        if self.medium == "audio" and rate != AUDIO_HZ:
            raise InputError(f"{self.folder}: it wants sound of {rate} Hz; emo keeps {AUDIO_HZ} Hz")
        if self.medium == "text" and self._processor.pad_token is None:
            # A batch needs one; the classifier of one text at a time does not.
            self._processor.pad_token = self._processor.eos_token or self._processor.unk_token
            self._model.config.pad_token_id = self._processor.pad_token_id

    def answers(self, inputs: Sequence[Input]) -> list[ClassAnswer | RowError]:
        """The probability of each class for each input, aligned with `inputs`, and what it was read off.

        An input that breaks the batch costs itself alone. Equal inputs give equal probabilities in any batch,
        to rounding: inputs of one length go together, and what is padded is masked.
        """
        found: dict[int, ClassAnswer | RowError] = {}
        for places in self._batches(inputs):
            answers = self._attempt([inputs[place] for place in places])
            found.update(zip(places, answers, strict=True))
        return [found[place] for place in range(len(inputs))]

    def _batches(self, inputs: Sequence[Input]) -> Iterator[list[int]]:
        """The places of inputs that go together: by length, so that little is padded."""
        most = self.settings.batch
        batch: list[int] = []
        for place in sorted(range(len(inputs)), key=lambda place: len(inputs[place])):
            other = self._hears_padding and batch and len(inputs[batch[0]]) != len(inputs[place])
            if len(batch) == most or other:
                yield batch
                batch = []
            batch.append(place)
        if batch:
            yield batch

    def _attempt(self, inputs: list[Input]) -> list[ClassAnswer | RowError]:
        """The batch, halved where it does not fit or one of its inputs breaks it."""
        import torch

        try:
            return self._forward(inputs)
        except torch.OutOfMemoryError as error:
            failed = RowError("out_of_memory", f"the classifier does not fit beside this input: {error}")
            torch.cuda.empty_cache()
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            failed = RowError("not_classified", f"{type(error).__name__}: {' '.join(str(error).split())}")
        if len(inputs) == 1:
            return [failed]
        half = len(inputs) // 2
        return [*self._attempt(inputs[:half]), *self._attempt(inputs[half:])]

    def _forward(self, inputs: list[Input]) -> list[ClassAnswer | RowError]:
        import numpy as np
        import torch

        with torch.inference_mode():
            tensors = {
                name: value.to(self.settings.device, self._model.dtype)
                if value.is_floating_point()
                else value.to(self.settings.device)
                for name, value in self._prepare(inputs).items()
            }
            scores = self._model(**tensors).logits.double().cpu() / self.settings.temperature
            shares = torch.sigmoid(scores) if self.several else torch.softmax(scores, dim=-1)
        answers = shares.numpy()
        if answers.shape != (len(inputs), len(self.classes)) or not np.isfinite(answers).all():
            raise ValueError(f"expected {len(self.classes)} finite scores per input, got {answers.shape}")
        if self._last is None:
            return [ClassAnswer(shares, None) for shares in answers]
        vectors = self._read.float().cpu().numpy()
        if vectors.ndim != 2 or len(vectors) != len(inputs) or not np.isfinite(vectors).all():
            raise ValueError(f"expected a finite vector per input before the last layer, got {vectors.shape}")
        return [ClassAnswer(*one) for one in zip(answers, vectors, strict=True)]

    def _prepare(self, inputs: list[Input]) -> Mapping[str, Any]:
        if self.medium == "image":
            return self._processor(images=inputs, return_tensors="pt")
        if self.medium == "text":
            longest = min(self._processor.model_max_length, self._positions())
            return self._processor(
                inputs, padding=True, truncation=True, max_length=longest, return_tensors="pt"
            )
        return self._processor(inputs, sampling_rate=AUDIO_HZ, padding=True, return_tensors="pt")

    def _positions(self) -> int:
        """Tokens that the model has positions for. RoBERTa's begin behind the padding token's."""
        config = self._model.config
        most = getattr(config, "max_position_embeddings", None) or 512
        return most - 2 if config.model_type in ("roberta", "xlm-roberta", "camembert") else most

    def close(self) -> None:
        """Give the memory back."""
        import torch

        self._model = None
        if self.settings.device == "cuda":
            torch.cuda.empty_cache()


def class_names(folder: Path, medium: Medium) -> list[str]:
    """The names of a classifier's classes, in the order of its scores; reads config.json alone.

    Raises InputError where the checkpoint is no classifier of this medium.
    """
    from transformers.models.auto import modeling_auto

    config = read_config(folder)
    known = getattr(modeling_auto, _KINDS[medium].mapping)
    named = [str(name) for name in config.get("architectures") or []]
    accepted = known.get(config.get("model_type"), ())
    accepted = (accepted,) if isinstance(accepted, str) else accepted
    if not set(named) & set(accepted):
        raise InputError(
            f"{folder}: config.json names the architecture {', '.join(named) or 'none'}; expected a "
            f"classifier of {medium}{f', such as {accepted[0]}' if accepted else ''}"
        )
    names = config.get("id2label") or {}
    try:
        classes = [str(names[str(number)]) for number in range(len(names))]
    except KeyError:
        raise InputError(f"{folder}: config.json numbers its classes (id2label) with gaps") from None
    if len(classes) < 2:
        raise InputError(f"{folder}: config.json names {len(classes)} classes (id2label); expected 2 or more")
    return classes


def check_labels(classes: Sequence[str], labels: Mapping[str, str | None]) -> None:
    """Raise InputError for a class in `labels` that the checkpoint lacks, and for classes without a name."""
    if unknown := sorted(labels.keys() - set(classes)):
        raise InputError(
            f"labels: the checkpoint has no class {', '.join(unknown)}; it has: {', '.join(classes)}"
        )
    if unnamed := [name for name in classes if _NAMELESS.fullmatch(name) and name not in labels]:
        raise InputError(
            f"labels: the checkpoint gives no names to {', '.join(unnamed)}; say what they mean, such as "
            f"labels: {{{unnamed[0]}: happy}}"
        )
