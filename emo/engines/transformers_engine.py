"""Loads a checkpoint of transformers into this process and answers with it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
import transformers

from emo.engines.adapters import adapter_name, attach, check_manifest, frame_budget
from emo.engines.batching import Budget
from emo.engines.generation import Completion, Generator, Stats, Task
from emo.engines.models import architecture, load_whole, read_config, resolve_model, revision_of
from emo.engines.preprocessing import Preprocessor
from emo.engines.sampling import Sampling, row_seed
from emo.engines.settings import ModelSettings
from emo.errors import InputError, RowError

Item = TypeVar("Item")
_log = logging.getLogger(__name__)

_CPU_TOKENS = 32_768
# On a CPU a longer pass is no faster per token, and the first one waits longer for its inputs.
_CPU_PREFILL_TOKENS = 2_048
_CUDA_PREFILL_TOKENS = 16_384
# Of the memory that is free once the weights are loaded; the rest is for the passes over prompts.
_CACHE_SHARE = 0.6
# Settings of a checkpoint's `generate` that would change greedy answers too, rare in chat models.
_NOT_APPLIED = (
    "bad_words_ids",
    "begin_suppress_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "min_length",
    "min_new_tokens",
    "no_repeat_ngram_size",
    "sequence_bias",
    "suppress_tokens",
)
_ATTENTION_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}


class TransformersEngine(Generic[Item]):
    """One loaded model and the preprocessor of its family.

    classes: for each architecture that the family accepts the class of transformers that loads it; None for
    any causal language model. preprocessor: makes the family's preprocessor from the checkpoint's folder.
    revision: the hub commit or a hash; adapter: what `adapter_name` says, or None; folder: where it is.
    Raises InputError where the checkpoint does not fit, is incomplete, or its adapter does not match.
    """

    def __init__(
        self,
        settings: ModelSettings,
        preprocessor: Callable[[Path], Preprocessor[Item]],
        classes: Mapping[str, str] | None = None,
    ) -> None:
        self.settings = settings
        self.folder = resolve_model(settings.model, settings.revision, settings.trust_remote_code)
        self.revision = revision_of(self.folder)
        name = "AutoModelForCausalLM" if classes is None else classes[architecture(self.folder, classes)]
        self.preprocessor = preprocessor(self.folder)
        adapter = None if settings.adapter is None else resolve_model(settings.adapter)
        if adapter is not None:
            processor = getattr(self.preprocessor, "processor", self.preprocessor.tokenizer)
            check_manifest(
                adapter,
                self.folder,
                template=str(processor.chat_template),
                system=getattr(settings, "system", None),
            )
        if told := frame_budget(adapter or self.folder, getattr(settings, "max_frames", None)):
            _log.warning(told)
        self.model: Any = _load(settings, self.folder, getattr(transformers, name))
        self.adapter: str | None = None
        if adapter is not None:
            assert settings.adapter is not None
            self.model = attach(self.model, adapter, settings.merge_adapter)
            self.adapter = adapter_name(adapter, settings.adapter, settings.merge_adapter)
        self.preprocessor.model = self.model
        text = self.model.config.get_text_config(decoder=True)
        _refuse_recurrent(self.model, text, self.folder)
        generation = self.model.generation_config
        ends = generation.eos_token_id
        ends = [ends] if isinstance(ends, int) else list(ends or [])
        ends.append(self.preprocessor.tokenizer.eos_token_id)
        self.end_tokens = frozenset(end for end in ends if end is not None)
        penalty = settings.repetition_penalty
        if penalty is None:
            penalty = getattr(generation, "repetition_penalty", None) or 1.0
        self.repetition_penalty = float(penalty)
        ignored = [name for name in _NOT_APPLIED if getattr(generation, name, None)]
        if ignored:
            _log.warning(
                "%s: generation_config.json sets %s, which is not applied", self.folder, ", ".join(ignored)
            )
        pad = self.preprocessor.tokenizer.pad_token_id
        self._pad = next(iter(sorted(self.end_tokens)), 0) if pad is None else pad
        self._context: int | None = getattr(text, "max_position_embeddings", None)
        self._budget = self._memory_budget(text)
        self.stats = Stats()

    def generate(
        self,
        items: Sequence[Item],
        keys: Sequence[str],
        *,
        name: str,
        samples: int = 1,
        seed: int = 0,
        chosen: Sequence[Sequence[int] | None] | None = None,
    ) -> list[list[Completion] | RowError]:
        """Answer each item `samples` times; aligned with `items`.

        keys: what the random numbers of each item depend on, the video_id; name: that of the expert; chosen:
        per item which of its samples are wanted, None for all.
        """
        settings = self.settings
        temperature = settings.temperature
        if temperature is None:
            temperature = 0.0 if samples == 1 else 1.0
        generator = Generator(
            self.model,
            self.preprocessor,
            sampling=Sampling(temperature, settings.top_p, self.repetition_penalty),
            end_tokens=self.end_tokens,
            pad_token=self._pad,
            budget=self._budget,
            context=self._context,
            workers=settings.workers,
        )
        generator.stats = self.stats
        return generator.run(
            [
                Task(
                    item,
                    tuple(row_seed(seed, name, key, number) for number in numbers or range(samples)),
                    settings.max_new_tokens,
                )
                for item, key, numbers in zip(items, keys, chosen or [None] * len(items), strict=True)
            ]
        )

    def close(self) -> None:
        """Give the memory back."""
        self.model = self.preprocessor.model = None
        if self.settings.device == "cuda":
            torch.cuda.empty_cache()

    def _memory_budget(self, text: Any) -> Budget:
        settings = self.settings
        if settings.device == "cpu":
            return Budget(
                settings.token_budget or _CPU_TOKENS, settings.prefill_tokens or _CPU_PREFILL_TOKENS
            )
        width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        per_token = 2 * text.num_hidden_layers * heads * width * self.model.dtype.itemsize
        free = sum(torch.cuda.mem_get_info(number)[0] for number in range(settings.gpus))
        return Budget(
            settings.token_budget or max(1, int(_CACHE_SHARE * free / per_token)),
            settings.prefill_tokens or _CUDA_PREFILL_TOKENS,
        )


def _load(settings: ModelSettings, folder: Path, cls: Any) -> Any:
    if settings.device == "cuda" and torch.cuda.device_count() < settings.gpus:
        raise InputError(
            f"the model wants {settings.gpus} CUDA device(s), torch sees {torch.cuda.device_count()}; "
            "set device to 'cpu' to run without one"
        )
    dtype = settings.dtype
    if dtype == "auto":
        dtype = "bfloat16" if settings.device == "cuda" else "float32"
    model = load_whole(
        cls,
        folder,
        dtype=getattr(torch, dtype),
        attn_implementation=settings.attention,
        device_map="auto" if settings.gpus > 1 else None,
        trust_remote_code=settings.trust_remote_code,
    )
    if settings.gpus == 1:
        model = model.to(settings.device)
    return model.eval()


def _refuse_recurrent(model: Any, text: Any, folder: Path) -> None:
    """Rows come and go in a cache of attention keys; a recurrent state has no positions to keep or drop."""
    other = set(getattr(text, "layer_types", None) or []) - _ATTENTION_LAYERS
    if other or getattr(model, "_is_stateful", False):
        raise InputError(
            f"{folder}: layers that keep a recurrent state ({', '.join(sorted(other)) or 'stateful'}) "
            "are not supported in this process; serve the model and use the expert `openai`"
        )
    if read_config(folder).get("is_encoder_decoder"):
        raise InputError(
            f"{folder}: an encoder-decoder model; expected a decoder that writes after its prompt"
        )
