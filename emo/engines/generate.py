"""Answers with a model's own `generate`, in batches: slower than emo's loop, and right for every model.

What a model does between tokens (recurrent states, masks that look both ways, embeddings per layer) is its
own code's business here, so nothing needs to be known of it.
"""

import logging
import time
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
import transformers
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from emo.aligned import row_failure
from emo.engines.batching import Load, is_out_of_memory, next_chunk
from emo.engines.generation import Completion, Stats
from emo.engines.loaded import LoadedModel
from emo.engines.sampling import NOT_A_NUMBER, Sampling, pick, row_seed, row_uniforms
from emo.engines.settings import ModelSettings
from emo.errors import InputError, RowError

Item = TypeVar("Item")
_log = logging.getLogger(__name__)


class BatchPreprocessor(Generic[Item]):
    """Turns a batch of items into the arguments of a model's `generate`, padded on the left.

    tokenizer: of the checkpoint; wanted: the modalities that the checkpoint takes; model: the loaded model,
    set by the engine.
    """

    tokenizer: Any
    wanted: tuple[str, ...]
    model: Any = None

    @abstractmethod
    def size(self, item: Item) -> int:
        """About how many tokens the prompt of this item has; cheap, and used for the size of batches only."""

    @abstractmethod
    def kind(self, item: Item) -> Hashable:
        """Items of one kind may stand in one batch; raises RowError for an item that cannot be used."""

    @abstractmethod
    def degraded(self, item: Item) -> tuple[str, ...]:
        """The modalities that were wanted and that the item does not have."""

    @abstractmethod
    def batch(self, items: Sequence[Item]) -> dict[str, Any]:
        """The inputs of items of one kind, `input_ids` and `attention_mask` among them; one row per item."""

    @abstractmethod
    def text(self, token_ids: Sequence[int]) -> str:
        """The answer as a person reads it."""


@dataclass(frozen=True)
class _Row(Generic[Item]):
    """One answer that is wanted: its item's place among all, which of its samples, and its random numbers."""

    place: int
    sample: int
    item: Item
    seed: int
    size: int


class GenerateEngine(LoadedModel[BatchPreprocessor[Item]], Generic[Item]):
    """One loaded model. The same answers whatever stands beside a row, up to the rounding of the kernels.

    A family whose rows change one another is found out the first time that two of them stand together: from
    then on each goes alone.
    """

    def __init__(
        self,
        settings: ModelSettings,
        folder: Path,
        preprocessor: Callable[[Path], BatchPreprocessor[Item]],
        cls: Any,
    ) -> None:
        # Parts of some families cannot do the usual one: where nothing else is set, transformers decides.
        usual = settings.attention == type(settings).model_fields["attention"].default
        super().__init__(settings, folder, preprocessor, cls, None if usual else settings.attention)
        if getattr(self.model.config, "is_encoder_decoder", False):
            raise InputError(
                f"{folder}: an encoder-decoder model; expected a decoder that writes after its prompt"
            )
        self.device: torch.device = self.model.get_input_embeddings().weight.device
        self.one_by_one = False
        self._compared: set[Hashable] = set()
        self.name = f"transformers {transformers.__version__}"
        self.stats = Stats()

    @torch.inference_mode()
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
        """As `TransformersEngine.generate`."""
        started = time.perf_counter()
        answers: list[list[Completion] | RowError] = []
        groups: dict[Hashable, list[_Row[Item]]] = defaultdict(list)
        for place, (item, key, numbers) in enumerate(
            zip(items, keys, chosen or [None] * len(items), strict=True)
        ):
            try:
                kind, size = self.preprocessor.kind(item), self.preprocessor.size(item)
            except Exception as error:
                answers.append(row_failure(error, "not_prepared"))
                continue
            answers.append([])
            groups[kind] += [
                _Row(place, sample, item, row_seed(seed, name, key, number), size)
                for sample, number in enumerate(numbers or range(samples))
            ]
        temperature = self.settings.temperature
        if temperature is None:
            temperature = 0.0 if samples == 1 else 1.0
        sampling = Sampling(temperature, self.settings.top_p, self.repetition_penalty)
        with ThreadPoolExecutor(1, "emo-prepare") as ahead:
            for kind, rows in groups.items():
                # From the longest on, so that memory runs out at once where it will.
                waiting = sorted(rows, key=lambda row: -row.size)
                found = self._group(kind, waiting, sampling, ahead)
                for row, written in sorted(found, key=lambda pair: pair[0].sample):
                    answer = answers[row.place]
                    if isinstance(written, RowError):
                        answers[row.place] = written
                    elif not isinstance(answer, RowError):
                        answer.append(written)
        self.stats.elapsed_s += time.perf_counter() - started
        return answers

    def _group(
        self, kind: Hashable, waiting: list[_Row[Item]], sampling: Sampling, ahead: ThreadPoolExecutor
    ) -> list[tuple[_Row[Item], Completion | RowError]]:
        """Answer rows of one kind; the inputs of the next batch are prepared while the device works."""
        found: list[tuple[_Row[Item], Completion | RowError]] = []
        prepared: Future[Any] | None = None
        chunk: list[_Row[Item]] = []
        while waiting or prepared is not None:
            if prepared is None:
                chunk, waiting = self._next(waiting)
                prepared = ahead.submit(self._inputs, chunk)
            begun = time.perf_counter()
            inputs = prepared.result()
            self.stats.waited_s += time.perf_counter() - begun
            now, prepared = chunk, None
            if waiting and not isinstance(inputs, RowError):
                chunk, waiting = self._next(waiting)
                prepared = ahead.submit(self._inputs, chunk)
            answered = inputs if isinstance(inputs, RowError) else self._answers(kind, now, inputs, sampling)
            del inputs
            if not isinstance(answered, RowError):
                found += zip(now, answered, strict=True)
                continue
            if prepared is not None:  # it was made for a budget that is too large
                waiting, prepared = [*chunk, *waiting], None
            if len(now) == 1:
                found.append((now[0], answered))
            else:
                # One row may be at fault, or all of them together were too much.
                half = len(now) // 2
                for part in (now[:half], now[half:]):
                    found += self._group(kind, part, sampling, ahead)
        return found

    def _next(self, waiting: list[_Row[Item]]) -> tuple[list[_Row[Item]], list[_Row[Item]]]:
        """The rows of the next batch and those that are left."""
        sizes = [(row.size, 1, self.settings.max_new_tokens) for row in waiting]
        count = 1 if self.one_by_one else next_chunk(sizes, Load(), self.budget)
        return waiting[:count], waiting[count:]

    def _inputs(self, rows: Sequence[_Row[Item]]) -> dict[str, Any] | RowError:
        torch.set_num_threads(1)  # of this thread alone; the model has the others
        try:
            inputs = self.preprocessor.batch([row.item for row in rows])
        except Exception as error:
            return row_failure(error, "not_prepared")
        length = int(inputs["input_ids"].shape[1])
        if self.context is not None and length + self.settings.max_new_tokens > self.context:
            return RowError(
                "too_long",
                f"the prompt has {length} tokens and the answer may have {self.settings.max_new_tokens}, "
                f"but the model reads {self.context} at most",
            )
        return inputs

    def _answers(
        self, kind: Hashable, rows: Sequence[_Row[Item]], inputs: dict[str, Any], sampling: Sampling
    ) -> list[Completion | RowError] | RowError:
        """The answers of one batch, in order; RowError where there are none, as memory ran out."""
        begun = time.perf_counter()
        try:
            if len(rows) > 1 and kind not in self._compared:
                self._compare(kind, rows, inputs)
            if len(rows) > 1 and self.one_by_one:
                return RowError("not_prepared", "rows of this family cannot stand together")
            written: list[list[int]] | None = self._written(inputs, [row.seed for row in rows], sampling)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                return row_failure(error, "expert_error")
            # Handled below: here the exception still holds what filled the memory.
            written = None
        except Exception as error:
            return row_failure(error, "expert_error")
        self.stats.decode_s += time.perf_counter() - begun
        if written is None:
            return self._out_of_memory(len(rows), inputs)
        lengths = inputs["attention_mask"].sum(1).tolist()
        return [
            self._completion(row, tokens, int(length))
            for row, tokens, length in zip(rows, written, lengths, strict=True)
        ]

    def _out_of_memory(self, rows: int, inputs: Mapping[str, Any]) -> RowError:
        length = int(inputs["input_ids"].shape[1])
        self.stats.out_of_memory += 1
        if rows > 1:
            self.budget.after_prefill_failure(rows * length)
            self.budget.after_cache_failure(rows * (length + self.settings.max_new_tokens))
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return RowError(
            "out_of_memory", f"one prompt of {length} tokens does not fit the memory of {self.device}"
        )

    def _written(
        self, inputs: Mapping[str, Any], seeds: Sequence[int], sampling: Sampling
    ) -> list[list[int]]:
        """The tokens of each answer."""
        sent = self._sent(inputs)
        width = sent["input_ids"].shape[1]
        limit = self.settings.max_new_tokens
        choosing = Choosing(seeds, limit, sampling, sent["attention_mask"].bool())
        out = self.model.generate(
            **sent,
            generation_config=self._config(limit),
            logits_processor=LogitsProcessorList([choosing]),
        )
        written: list[list[int]] = out[:, width:].tolist()
        for row in choosing.broken:
            written[row] = [NOT_A_NUMBER]
        return written

    def _config(self, limit: int) -> GenerationConfig:
        """What the checkpoint says of `generate`, but that the tokens are chosen here."""
        config = GenerationConfig.from_dict(self.model.generation_config.to_dict())
        config.update(
            max_new_tokens=limit,
            max_length=None,
            do_sample=False,
            num_beams=1,
            num_return_sequences=1,
            temperature=None,
            top_p=None,
            top_k=None,
            repetition_penalty=None,
            pad_token_id=self.pad_token,
            eos_token_id=sorted(self.end_tokens) or None,
            return_dict_in_generate=False,
        )
        return config

    def _sent(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """On the model's device; pictures and sound in the model's numbers, grids and masks as they are."""
        return {
            name: value.to(self.device, self.model.dtype if value.is_floating_point() else value.dtype)
            if isinstance(value, torch.Tensor)
            else value
            for name, value in inputs.items()
        }

    def _compare(self, kind: Hashable, rows: Sequence[_Row[Item]], inputs: Mapping[str, Any]) -> None:
        """Whether the first row and the last say together what they say alone: some models mix their rows,
        or see the padding.
        """
        self._compared.add(kind)
        together = self._first_scores(inputs)
        for place in (0, len(rows) - 1):
            alone = self._first_scores(self.preprocessor.batch([rows[place].item]))[0]
            apart = (together[place] - alone).norm() / alone.norm()
            if not apart < _SAME[self.model.dtype]:
                self.one_by_one = True
                _log.warning(
                    "%s: a batch changes what is written of its clips (by %.0f %%), so each goes alone",
                    self.folder,
                    100 * apart,
                )
                return

    def _first_scores(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        """The scores of the first token of each answer: float32 [rows, vocabulary]."""
        kept = Keeping()
        self.model.generate(
            **self._sent(inputs),
            generation_config=self._config(1),
            logits_processor=LogitsProcessorList([kept]),
        )
        return kept.scores

    def _completion(self, row: _Row[Item], tokens: Sequence[int], length: int) -> Completion | RowError:
        if NOT_A_NUMBER in tokens:
            return RowError("not_a_number", "the model's scores became NaN")
        end = next((at for at, token in enumerate(tokens) if token in self.end_tokens), None)
        counted = len(tokens) if end is None else end + 1
        self.stats.prompt_tokens += length
        self.stats.output_tokens += counted
        return Completion(
            text=self.preprocessor.text(tokens if end is None else tokens[:end]),
            prompt_tokens=length,
            output_tokens=counted,
            finish_reason="length" if end is None else "stop",
            degraded=self.preprocessor.degraded(row.item),
        )


# Rounding moves the scores of a row that stands beside others by less than this share; a row that sees its
# neighbours or its padding moves by more.
_SAME = {torch.float32: 0.01, torch.float16: 0.1, torch.bfloat16: 0.2, torch.float64: 0.01}


class Choosing(LogitsProcessor):
    """Leaves each row the one token that its own random numbers choose.

    broken: the rows whose scores became NaN. seeds: one per row; mask: bool [rows, width], the prompt's own
    tokens.
    """

    def __init__(self, seeds: Sequence[int], limit: int, sampling: Sampling, mask: torch.Tensor) -> None:
        self.broken: set[int] = set()
        self._sampling = sampling
        self._width = mask.shape[1]
        self._mask = mask
        self._seen: torch.Tensor | None = None
        self._draws = torch.zeros((len(seeds), limit), dtype=torch.float64)
        if sampling.temperature:
            self._draws = torch.stack([row_uniforms(seed, limit) for seed in seeds])

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        step = input_ids.shape[1] - self._width
        draws = self._draws[:, step].to(scores.device)
        token = pick(scores, draws, self._sampling, self._seen_so_far(input_ids, scores))
        self.broken |= set((token == NOT_A_NUMBER).nonzero().flatten().tolist())
        chosen = torch.full_like(scores, -torch.inf)
        return chosen.scatter_(1, token.clamp(min=0)[:, None], 0.0)

    def _seen_so_far(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor | None:
        if self._sampling.repetition_penalty == 1.0:
            return None
        if self._seen is None:
            counts = torch.zeros(scores.shape, dtype=torch.int64, device=scores.device)
            prompt = input_ids[:, : self._width].clamp(max=scores.shape[1] - 1)
            counts.scatter_add_(1, prompt, self._mask.to(counts))
            self._seen = counts > 0
        if input_ids.shape[1] > self._width:
            self._seen.scatter_(1, input_ids[:, -1:], True)
        return self._seen


class Keeping(LogitsProcessor):
    """Keeps the scores of the first token."""

    scores: torch.Tensor

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.scores = scores.float()
        return scores
