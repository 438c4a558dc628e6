"""The answers being written, and the tensors they are written with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from emo.engines.batching import Load
from emo.engines.cache import Clock, Source, merge
from emo.engines.private import Cache
from emo.engines.sampling import NOT_A_NUMBER, Sampling, pick, row_uniforms

# A finished row keeps its place until this share of the rows is done: giving places away copies the cache
# once, about as much memory traffic as two steps.
FREE_SHARE = 0.25


@dataclass(frozen=True)
class Job:
    """Some samples of one task: all of them, unless memory made them go one after the other."""

    task: int
    samples: tuple[int, ...]


@dataclass(eq=False)
class Row:
    """One answer being written.

    job, sample: whose it is; prompt_ids: int64 [length]; next_position: the rotary position after its prompt;
    limit: tokens it may have; seed: of its random numbers; start: where its prompt begins in the cache (set
    by the pool).
    """

    job: Job
    sample: int
    prompt_ids: torch.Tensor
    next_position: float
    limit: int
    seed: int
    degraded: tuple[str, ...] = ()
    start: int = 0
    tokens: list[int] = field(default_factory=list)
    done: bool = False


@dataclass
class Piece:
    """Prompts after their forward pass.

    cache: keys and values, prompts padded on the right; scores: [prompts, vocabulary] of the first token;
    rows: the answers to write; prompt_of: for each row the prompt in `cache` that it continues.
    """

    cache: Cache
    scores: torch.Tensor
    rows: list[Row]
    prompt_of: list[int]
    axes: int


class Pool:
    """Row i of every tensor belongs to rows[i]; the cache ends for all rows at the same position.

    scores: runs the model on the last tokens. ended: rows that are done and that nobody has read yet.
    """

    def __init__(
        self,
        scores: Callable[..., torch.Tensor],
        sampling: Sampling,
        end_tokens: frozenset[int],
        device: torch.device,
        steps_between_looks: int,
    ) -> None:
        self._scores = scores
        self._sampling = sampling
        self._end_tokens = end_tokens
        self._device = device
        self._steps_between_looks = steps_between_looks
        self.ended: list[Row] = []
        self.clear()

    def clear(self) -> None:
        """Drop all rows and what they hold."""
        self.rows: list[Row] = []
        self._cache: Cache | None = None
        self._clock = Clock(0)
        self._capacity = 0
        nothing = torch.empty(0)
        self._tokens = self._positions = self._draws = self._steps = nothing
        self._mask: torch.Tensor | None = None
        self._seen: torch.Tensor | None = None
        self._history: list[torch.Tensor] = []

    def alive(self) -> list[Row]:
        return [row for row in self.rows if not row.done]

    def load(self) -> Load:
        """What the rows that still write would take if the others had left."""
        alive = self.alive()
        if not alive:
            return Load()
        return Load(
            len(alive),
            self._clock.now - min(row.start for row in alive),
            max(row.limit - len(row.tokens) for row in alive),
        )

    def advance(self) -> None:
        """Write a few tokens of every row."""
        if len(self.alive()) <= len(self.rows) * (1 - FREE_SHARE):
            self.take([])
        left = max((row.limit - len(row.tokens) for row in self.alive()), default=0)
        for _ in range(min(self._steps_between_looks, left)):
            self._step()
        self._look()
        if not self.alive():
            self.clear()

    def take(self, pieces: Sequence[Piece]) -> None:
        """Let finished rows go and new ones in, in one change of the cache; choose their first tokens."""
        self._look()
        kept = [number for number, row in enumerate(self.rows) if not row.done]
        rows = [self.rows[number] for number in kept] + [row for piece in pieces for row in piece.rows]
        if not rows:
            self.clear()
            return
        self._take_cache(kept, pieces, rows)
        self._take_draws(rows)
        self._take_mask(rows)
        self._take_seen(rows, pieces)
        self._take_tokens(kept, pieces)
        self.rows = rows
        for row, token in zip(rows[len(kept) :], self._tokens[len(kept) :].tolist(), strict=True):
            self._append(row, token)
        self._steps = torch.tensor([len(row.tokens) for row in rows], device=self._device)
        self._remember()

    def _take_cache(self, kept: Sequence[int], pieces: Sequence[Piece], rows: Sequence[Row]) -> None:
        """One cache of the rows that stay and of the new ones; where each of them begins in it."""
        kept_length = self.load().longest
        filled = max([kept_length, *(len(row.prompt_ids) for piece in pieces for row in piece.rows)])
        capacity = filled + max(row.limit - len(row.tokens) for row in rows) + self._steps_between_looks
        sources = []
        if kept:
            assert self._cache is not None
            ends = torch.full((len(kept),), self._clock.now)
            sources.append(Source(self._cache, torch.tensor(kept), ends, kept_length))
        for piece in pieces:
            ends = torch.tensor([len(row.prompt_ids) for row in piece.rows])
            sources.append(Source(piece.cache, torch.tensor(piece.prompt_of), ends, int(ends.max())))
        for number in kept:
            self.rows[number].start += filled - self._clock.now
        for row in rows[len(kept) :]:
            row.start = filled - len(row.prompt_ids)
        self._capacity = capacity
        self._cache, self._clock = merge(sources, filled, capacity)

    def _take_draws(self, rows: Sequence[Row]) -> None:
        """The random numbers of every row."""
        draws = torch.zeros((len(rows), max(row.limit for row in rows)), dtype=torch.float64)
        if self._sampling.temperature:
            for place, row in enumerate(rows):
                draws[place, : row.limit] = row_uniforms(row.seed, row.limit)
        self._draws = draws.to(self._device)

    def _take_mask(self, rows: Sequence[Row]) -> None:
        """What stands in the cache before a row's own beginning is left over from others."""
        self._mask = None
        # Where nothing is padded no mask is needed, and the faster kernels can be taken.
        if any(row.start for row in rows):
            mask = torch.zeros((len(rows), self._capacity), dtype=torch.bool)
            for place, row in enumerate(rows):
                mask[place, row.start :] = True
            self._mask = mask.to(self._device)

    def _take_seen(self, rows: Sequence[Row], pieces: Sequence[Piece]) -> None:
        """The tokens that a repetition penalty looks at."""
        if self._sampling.repetition_penalty == 1.0:
            return
        scores = pieces[0].scores if pieces else self._seen
        assert scores is not None
        seen = torch.zeros((len(rows), scores.shape[-1]), dtype=torch.bool, device=self._device)
        for place, row in enumerate(rows):
            ids = torch.cat([row.prompt_ids, torch.tensor(row.tokens, dtype=torch.long)])
            # What stands for a picture or a sound may lie beyond the vocabulary.
            seen[place, ids[ids < scores.shape[-1]]] = True
        self._seen = seen

    def _take_tokens(self, kept: Sequence[int], pieces: Sequence[Piece]) -> None:
        """The last token and the next position of every row; of a new one the first token is chosen."""
        old = torch.tensor(kept, dtype=torch.long, device=self._device)
        tokens = [self._tokens[old]] if kept else []
        positions = [self._positions[:, old]] if kept else []
        at = len(kept)
        for piece in pieces:
            end = at + len(piece.rows)
            scores = piece.scores[torch.tensor(piece.prompt_of, device=piece.scores.device)]
            seen = None if self._seen is None else self._seen[at:end]
            tokens.append(pick(scores, self._draws[at:end, 0], self._sampling, seen))
            following = torch.tensor([row.next_position for row in piece.rows], device=self._device)
            positions.append(following.expand(piece.axes, -1))
            at = end
        self._tokens = torch.cat(tokens)
        self._positions = torch.cat(positions, dim=1)

    def _step(self) -> None:
        now = self._clock.now
        positions = self._positions if len(self._positions) > 1 else self._positions[0]
        scores = self._scores(
            input_ids=self._tokens.clamp(min=0)[:, None],
            attention_mask=None if self._mask is None else self._mask[:, : now + 1],
            position_ids=positions[..., None],
            past_key_values=self._cache,
        )
        self._clock.now = now + 1
        self._positions = self._positions + 1
        # A finished row runs on until its place is given away; its draws do not matter.
        last = self._draws.shape[1] - 1
        draws = self._draws.gather(1, self._steps.clamp(max=last)[:, None]).squeeze(1)
        self._tokens = pick(scores, draws, self._sampling, self._seen)
        self._steps = self._steps + 1
        self._remember()
        self._history.append(self._tokens)

    def _remember(self) -> None:
        if self._seen is not None:
            self._seen.scatter_(1, self._tokens.clamp(min=0)[:, None], True)

    def _look(self) -> None:
        """Read back what was written since the last look."""
        if not self._history:
            return
        written = torch.stack(self._history, dim=1).tolist()
        self._history = []
        for row, tokens in zip(self.rows, written, strict=True):
            for token in tokens:
                if row.done:
                    break
                self._append(row, token)

    def _append(self, row: Row, token: int) -> None:
        row.tokens.append(token)
        if token in self._end_tokens or token == NOT_A_NUMBER or len(row.tokens) >= row.limit:
            row.done = True
            self.ended.append(row)
