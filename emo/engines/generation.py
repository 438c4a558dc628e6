"""The loop that writes the answers: prompts in by token budget, rows out as soon as they are done."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from emo.engines.batching import Budget, Load, is_out_of_memory, next_chunk
from emo.engines.feed import Feed
from emo.engines.pool import FREE_SHARE, Job, Piece, Pool, Row
from emo.engines.preprocessing import ModelInput, Preprocessor
from emo.engines.private import DynamicCache, attention_of, kinds_of_layers
from emo.engines.sampling import NOT_A_NUMBER, Sampling
from emo.errors import RowError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Task(Generic[Item]):
    """One item to answer once per seed, each answer at most `limit` tokens long."""

    item: Item
    seeds: tuple[int, ...]
    limit: int


@dataclass(frozen=True)
class Completion:
    """One answer. finish_reason: `stop` where the model ended it, `length` where the limit did; thought: what
    a server hands out beside the text.
    """

    text: str
    prompt_tokens: int
    output_tokens: int
    finish_reason: str
    degraded: tuple[str, ...] = ()
    thought: str | None = None


@dataclass
class Stats:
    """Where the time went, in seconds, and what was done in it.

    waited_s: the device had nothing to do because no input was ready; prefill_s: passes over prompts (on
    CUDA only their launch, the device's own time then shows in decode_s); decode_s: the rest of the model.
    """

    elapsed_s: float = 0.0
    waited_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    out_of_memory: int = 0

    @property
    def waiting_share(self) -> float:
        return self.waited_s / self.elapsed_s if self.elapsed_s else 0.0


class Generator(Generic[Item]):
    """Answers tasks with one model.

    Prompts are worked off from the longest to the shortest; their inputs are prepared in threads ahead of the
    device. All samples of a task share one forward pass over the prompt. Rows that end give their place to
    new prompts while the others go on. Random numbers belong to a row, so its text does not depend on what
    is beside it, up to the rounding of the device's kernels for other shapes.

    context: the positions that the model was made for, or None; budget: shrinks when memory runs out.
    """

    def __init__(
        self,
        model: Any,
        preprocessor: Preprocessor[Item],
        *,
        sampling: Sampling,
        end_tokens: frozenset[int],
        pad_token: int,
        budget: Budget,
        context: int | None,
        workers: int,
    ) -> None:
        self.model = model
        self.preprocessor = preprocessor
        self.sampling = sampling
        self.end_tokens = end_tokens
        self.pad_token = pad_token
        self.budget = budget
        self.context = context
        self.workers = workers
        self.stats = Stats()
        self.device: torch.device = model.get_input_embeddings().weight.device
        self.dtype: torch.dtype = model.dtype
        # Reading tokens back stops the queue of the device; on CUDA that is worth a few steps too many.
        self.steps_between_looks = 4 if self.device.type == "cuda" else 1
        text = model.config.get_text_config(decoder=True)
        kinds = kinds_of_layers(text) or {"full_attention"}
        self._ready_masks = attention_of(text) == "sdpa" and kinds == {"full_attention"}
        self._tasks: Sequence[Task[Item]] = ()
        self._answers: list[dict[int, Completion]] = []
        self._errors: dict[int, RowError] = {}

    @torch.inference_mode()
    def run(self, tasks: Sequence[Task[Item]]) -> list[list[Completion] | RowError]:
        """The samples of each task in the order of its seeds, or why it failed; aligned with `tasks`."""
        started = time.perf_counter()
        self._tasks, self._answers, self._errors = tasks, [{} for _ in tasks], {}
        order = sorted(range(len(tasks)), key=lambda number: -self.preprocessor.size(tasks[number].item))
        jobs = [Job(number, tuple(range(len(tasks[number].seeds)))) for number in order]
        feed: Feed[Job, ModelInput] = Feed(self._prepare, jobs, self.workers)
        pool = Pool(self._scores, self.sampling, self.end_tokens, self.device, self.steps_between_looks)
        try:
            while len(feed) or pool.rows:
                self._admit(feed, pool)
                begun = time.perf_counter()
                self._guard(feed, pool, [], pool.advance)
                self.stats.decode_s += time.perf_counter() - begun
        finally:
            feed.close()
        self.stats.waited_s += feed.waited_s
        self.stats.elapsed_s += time.perf_counter() - started
        return [
            self._errors[number]
            if number in self._errors
            else [self._answers[number][sample] for sample in range(len(task.seeds))]
            for number, task in enumerate(tasks)
        ]

    def _prepare(self, job: Job) -> ModelInput:
        task = self._tasks[job.task]
        prompt = self.preprocessor.prepare(task.item)
        if self.context is not None and len(prompt) + task.limit > self.context:
            raise RowError(
                "too_long",
                f"the prompt has {len(prompt)} tokens and the answer may have {task.limit}, "
                f"but the model reads {self.context} at most",
            )
        return prompt

    def _admit(self, feed: Feed[Job, ModelInput], pool: Pool) -> None:
        """Bring prompts in while there is room, all of them in one change of the cache."""
        active = pool.load()
        if active.rows and self.budget.held - active.tokens < FREE_SHARE * self.budget.held:
            return
        pieces: list[Piece] = []
        while len(feed):
            chunk = self._next_chunk(feed, active)
            if not chunk:
                break
            piece = self._prefill(feed, chunk, alone=not pool.rows and not pieces)
            if piece is None:
                break
            pieces.append(piece)
            for job, prompt in chunk:
                active = active.with_rows(len(job.samples), len(prompt), self._tasks[job.task].limit)
        if pieces:
            self._guard(feed, pool, pieces, lambda: pool.take(pieces))

    def _next_chunk(self, feed: Feed[Job, ModelInput], active: Load) -> list[tuple[Job, ModelInput]]:
        """The next prompts of one forward pass; waits for them only where the device has nothing else."""
        wait = active.rows == 0
        chosen: list[tuple[Job, ModelInput]] = []
        sizes: list[tuple[int, int, int]] = []
        full = False
        while wait or feed.ready() > len(chosen):
            entry = feed.peek(len(chosen))
            if entry is None:
                break
            job, prompt = entry
            if isinstance(prompt, RowError):
                self._errors[job.task] = prompt
                feed.drop(len(chosen))
                continue
            sizes.append((len(prompt), len(job.samples), self._tasks[job.task].limit))
            if next_chunk(sizes, active, self.budget) < len(sizes):
                full = True
                break
            chosen.append((job, prompt))
        if not wait and not full and len(feed) > len(chosen):
            # Others are about to be ready: one full pass later beats two small ones.
            return []
        for _ in chosen:
            feed.drop(0)
        return chosen

    def _prefill(
        self, feed: Feed[Job, ModelInput], chunk: list[tuple[Job, ModelInput]], alone: bool
    ) -> Piece | None:
        """Run the prompts; None where they did not fit and were put back, or failed for good."""
        jobs, prompts = [job for job, _ in chunk], [prompt for _, prompt in chunk]
        width = max(map(len, prompts))
        started = time.perf_counter()
        try:
            cache = DynamicCache()
            last = torch.tensor([len(prompt) - 1 for prompt in prompts])
            scores = self._scores(last, past_key_values=cache, **self._batch(prompts, width))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            scores = None  # handled below: inside this block the exception still holds what filled the memory
        self.stats.prefill_s += time.perf_counter() - started
        if scores is None:
            del cache
            self._out_of_memory()
            if alone and len(jobs) == 1:
                self._errors[jobs[0].task] = RowError(
                    "out_of_memory", f"one prompt of {width} tokens does not fit the memory of {self.device}"
                )
                return None
            self.budget.after_prefill_failure(len(jobs) * width)
            if len(jobs) == 1:
                self.budget.after_cache_failure(self.budget.held)
            feed.put_back(reversed(jobs))
            return None
        self.stats.prompt_tokens += sum(map(len, prompts))
        rows = [
            Row(
                job,
                sample,
                prompt.input_ids,
                prompt.positions.max().item() + 1,
                self._tasks[job.task].limit,
                self._tasks[job.task].seeds[sample],
                prompt.degraded,
            )
            for job, prompt in chunk
            for sample in job.samples
        ]
        prompt_of = [number for number, job in enumerate(jobs) for _ in job.samples]
        return Piece(cache, scores, rows, prompt_of, len(prompts[0].positions))

    def _batch(self, prompts: Sequence[ModelInput], width: int) -> dict[str, torch.Tensor]:
        """Tensors on the device, padded on the right.

        No token looks to its right, so the padding needs no mask, and without one the kernels skip the half
        of the products that a causal model does not use.
        """
        axes = len(prompts[0].positions)
        ids = torch.full((len(prompts), width), self.pad_token)
        # Some families place frames between whole positions.
        whole = all(prompt.positions.dtype == torch.long for prompt in prompts)
        positions = torch.zeros((axes, len(prompts), width), dtype=torch.long if whole else torch.float32)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)] = prompt.input_ids
            positions[:, row, : len(prompt)] = prompt.positions
        features = {
            name: self._send(
                self.preprocessor.stack(
                    name, [prompt.features[name] for prompt in prompts if name in prompt.features]
                )
            )
            for name in sorted({name for prompt in prompts for name in prompt.features})
        }
        return {
            "input_ids": self._send(ids),
            "position_ids": self._send(positions if axes > 1 else positions[0]),
            **self.preprocessor.on_device(features, self.dtype),
        }

    def _send(self, tensor: torch.Tensor) -> torch.Tensor:
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def _scores(
        self, last: torch.Tensor | None = None, attention_mask: torch.Tensor | None = None, **inputs: Any
    ) -> torch.Tensor:
        """The scores of the token after the last one: [rows, vocabulary] on the device of the inputs.

        last: int64 [rows], where the last token of each row stands, needed where there are several.
        """
        if attention_mask is not None and self._ready_masks:
            # [rows, 1, 1, positions] is taken as it is; from two dimensions the model makes the same in every
            # step, and first asks the device whether anything is masked, which empties its queue.
            attention_mask = attention_mask[:, None, None]

        def keep_last(_: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            # A prompt has thousands of positions, and scores over the vocabulary of one are wanted.
            hidden, *others = arguments
            if last is None:
                return (hidden[:, -1:], *others)
            rows = torch.arange(len(hidden), device=hidden.device)
            return (hidden[rows, last.to(hidden.device)][:, None], *others)

        hook = self.model.get_output_embeddings().register_forward_pre_hook(keep_last)
        try:
            out = self.model(**inputs, attention_mask=attention_mask, use_cache=True)
        finally:
            hook.remove()
        return out.logits[:, -1].to(self.device)

    def _guard(
        self, feed: Feed[Job, ModelInput], pool: Pool, pieces: list[Piece], act: Callable[[], None]
    ) -> None:
        """Do it; where memory runs out, start the unfinished rows again with half of the budget."""
        failed = False
        try:
            act()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            failed = True  # handled below, for the reason given above
        for row in pool.ended:
            self._finish(row)
        pool.ended.clear()
        if not failed:
            return
        held = list(dict.fromkeys([*pool.rows, *(row for piece in pieces for row in piece.rows)]))
        tokens = len(held) * max(len(row.prompt_ids) + row.limit for row in held)
        jobs = list(dict.fromkeys(row.job for row in held if not row.done))
        alone = len({row.job for row in held}) == 1
        pool.clear()
        pieces.clear()
        self._out_of_memory()
        self.budget.after_cache_failure(tokens)
        if not alone:
            feed.put_back(reversed(jobs))
            return
        for job in jobs:
            if len(job.samples) == 1:
                self._errors[job.task] = RowError(
                    "out_of_memory",
                    f"one answer, {tokens} tokens with its prompt, does not fit the memory of {self.device}",
                )
            else:
                half = len(job.samples) // 2
                feed.put_back([Job(job.task, job.samples[half:]), Job(job.task, job.samples[:half])])

    def _out_of_memory(self) -> None:
        self.stats.out_of_memory += 1
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _finish(self, row: Row) -> None:
        job = row.job
        if NOT_A_NUMBER in row.tokens:
            self._errors[job.task] = RowError(
                "not_a_number", f"the model's scores became NaN after {len(row.tokens) - 1} tokens"
            )
            return
        stopped = row.tokens[-1] in self.end_tokens
        self._answers[job.task][row.sample] = Completion(
            text=self.preprocessor.text(row.tokens[:-1] if stopped else row.tokens),
            prompt_tokens=len(row.prompt_ids),
            output_tokens=len(row.tokens),
            finish_reason="stop" if stopped else "length",
            degraded=row.degraded,
        )
        self.stats.output_tokens += len(row.tokens)
