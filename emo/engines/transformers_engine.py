"""Answers with a checkpoint of transformers in emo's own loop, in which rows come and go."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import transformers

from emo.engines.generation import Completion, Generator, Stats, Task
from emo.engines.loaded import LoadedModel
from emo.engines.models import architecture, read_config, resolve_model
from emo.engines.preprocessing import Preprocessor
from emo.engines.private import keeps_state, kinds_of_layers
from emo.engines.sampling import Sampling, row_seed
from emo.engines.settings import ModelSettings
from emo.errors import InputError, RowError

Item = TypeVar("Item")
_log = logging.getLogger(__name__)

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


class TransformersEngine(LoadedModel[Preprocessor[Item]], Generic[Item]):
    """One loaded model and the preprocessor of its family.

    classes: for each architecture that the family accepts the class of transformers that loads it; None for
    any causal language model. preprocessor: makes the family's preprocessor from the checkpoint's folder.
    config: of the language model, where config.json does not hold it as transformers expects.
    Raises InputError where the checkpoint does not fit, and as `LoadedModel` does.
    """

    def __init__(
        self,
        settings: ModelSettings,
        preprocessor: Callable[[Path], Preprocessor[Item]],
        classes: Mapping[str, str] | None = None,
        config: Any = None,
    ) -> None:
        folder = resolve_model(settings.model, settings.revision, settings.trust_remote_code)
        name = "AutoModelForCausalLM" if classes is None else classes[architecture(folder, classes)]
        super().__init__(
            settings, folder, preprocessor, getattr(transformers, name), settings.attention, config
        )
        _refuse_recurrent(self.model, self.model.config.get_text_config(decoder=True), folder)
        ignored = [name for name in _NOT_APPLIED if getattr(self.model.generation_config, name, None)]
        if ignored:
            _log.warning(
                "%s: generation_config.json sets %s, which is not applied", folder, ", ".join(ignored)
            )
        self.name = "emo"
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
            pad_token=self.pad_token,
            budget=self.budget,
            context=self.context,
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


def _refuse_recurrent(model: Any, text: Any, folder: Path) -> None:
    """Rows come and go in a cache of attention keys; a recurrent state has no positions to keep or drop."""
    other = kinds_of_layers(text) - _ATTENTION_LAYERS
    if other or keeps_state(model):
        raise InputError(
            f"{folder}: layers that keep a recurrent state ({', '.join(sorted(other)) or 'stateful'}) "
            "are not supported in emo's loop; use the expert `hf`, or serve the model and use `openai`"
        )
    if read_config(folder).get("is_encoder_decoder"):
        raise InputError(
            f"{folder}: an encoder-decoder model; expected a decoder that writes after its prompt"
        )
