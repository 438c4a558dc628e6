"""One checkpoint of transformers in this process, with all that an engine must know before it answers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch

from emo.engines.adapters import adapter_name, attach, check_trained
from emo.engines.batching import Budget
from emo.engines.models import load_whole, resolve_model, revision_of
from emo.engines.settings import ModelSettings, weights_dtype
from emo.errors import InputError

_CPU_TOKENS = 32_768
# On a CPU a longer pass is no faster per token, and the first one waits longer for its inputs.
_CPU_PREFILL_TOKENS = 2_048
_CUDA_PREFILL_TOKENS = 16_384
# Of the memory that is free once the weights are loaded; the rest is for the passes over prompts.
_CACHE_SHARE = 0.6


class HasTokenizer(Protocol):
    """What is asked of a preprocessor here; model: set as soon as it is loaded."""

    tokenizer: Any
    model: Any


Prepares = TypeVar("Prepares", bound=HasTokenizer)


class LoadedModel(Generic[Prepares]):
    """A loaded model and what prepares its inputs.

    folder: of the checkpoint; cls: the class that loads it; attention: None where transformers may choose;
    preprocessor: is made from the folder; config: None where transformers reads it in the folder. revision:
    the hub commit or a hash; adapter: what `adapter_name` says, or None; end_tokens: those that end an
    answer; context: the positions that the model was made for, or None. Raises InputError where the
    checkpoint is incomplete or its adapter does not match.
    """

    def __init__(
        self,
        settings: ModelSettings,
        folder: Path,
        preprocessor: Callable[[Path], Prepares],
        cls: Any,
        attention: str | None,
        config: Any = None,
    ) -> None:
        self.settings = settings
        self.folder = folder
        self.revision = revision_of(self.folder)
        self.preprocessor = preprocessor(self.folder)
        adapter = None if settings.adapter is None else resolve_model(settings.adapter)
        processor = getattr(self.preprocessor, "processor", self.preprocessor.tokenizer)
        check_trained(settings, self.folder, adapter, lambda: processor.chat_template)
        self.model: Any = _load(settings, self.folder, cls, attention, config)
        self.adapter: str | None = None
        if adapter is not None:
            assert settings.adapter is not None
            self.model = attach(self.model, adapter, settings.merge_adapter)
            self.adapter = adapter_name(adapter, settings.adapter, settings.merge_adapter)
        self.preprocessor.model = self.model
        text = self.model.config.get_text_config(decoder=True)
        generation = self.model.generation_config
        ends = generation.eos_token_id
        ends = [ends] if isinstance(ends, int) else list(ends or [])
        ends.append(self.preprocessor.tokenizer.eos_token_id)
        self.end_tokens = frozenset(end for end in ends if end is not None)
        penalty = settings.repetition_penalty
        if penalty is None:
            penalty = getattr(generation, "repetition_penalty", None) or 1.0
        self.repetition_penalty = float(penalty)
        pad = self.preprocessor.tokenizer.pad_token_id
        self.pad_token = next(iter(sorted(self.end_tokens)), 0) if pad is None else pad
        self.context: int | None = getattr(text, "max_position_embeddings", None)
        self.budget = self._memory_budget(text)

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
        heads = getattr(text, "num_attention_heads", None) or 1
        width = getattr(text, "head_dim", None) or text.hidden_size // heads
        heads = getattr(text, "num_key_value_heads", None) or heads
        per_token = 2 * text.num_hidden_layers * heads * width * self.model.dtype.itemsize
        free = sum(torch.cuda.mem_get_info(number)[0] for number in range(settings.gpus))
        return Budget(
            settings.token_budget or max(1, int(_CACHE_SHARE * free / per_token)),
            settings.prefill_tokens or _CUDA_PREFILL_TOKENS,
        )


def _load(settings: ModelSettings, folder: Path, cls: Any, attention: str | None, config: Any) -> Any:
    if settings.device == "cuda" and torch.cuda.device_count() < settings.gpus:
        raise InputError(
            f"the model wants {settings.gpus} CUDA device(s), torch sees {torch.cuda.device_count()}; "
            "set device to 'cpu' to run without one"
        )
    dtype = weights_dtype(settings.dtype, settings.device)
    model = load_whole(
        cls,
        folder,
        config=config,
        dtype=getattr(torch, dtype),
        attn_implementation=attention,
        device_map="auto" if settings.gpus > 1 else None,
        trust_remote_code=settings.trust_remote_code,
    )
    if settings.gpus == 1:
        model = model.to(settings.device)
    return model.eval()
