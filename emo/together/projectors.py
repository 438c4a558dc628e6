"""Small projectors that learn, without labels, which vectors belong to one clip; and the score they give.

A clip is scored by projectors that never saw its recording. Its score is the mean over pairs of senses: the
cosine of its own two vectors, less the mean cosine of each with those of all other clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np

from emo.errors import InputError

FOLDS = 2
LEAST = 100
"""Clips with two senses in each part: of fewer little can be learned, and next to nothing be told apart."""
_SIZE = 64
_BATCH = 256
# So often training sees each clip, in no fewer and no more steps than these.
_ROUNDS = 20
_STEPS = (100, 1000)
_RATE = 1e-2
_DECAY = 0.05
_Z = 1.96

Loss = Literal["symmetric", "published"]


@dataclass(frozen=True)
class Vectors:
    """What one expert made of the clips. sense: what it perceives; views: float32 [n, 2, d], of two halves of
    the clip in time order, which are equal where it looked once; there: bool [n]."""

    expert: str
    sense: str
    views: np.ndarray
    there: np.ndarray


@dataclass(frozen=True)
class Scored:
    """score: float64 [n], nan where a clip has fewer than two senses; nearer: how often a clip's own vectors
    are nearer than those of a random pair, 0 to 1, one half is chance; error: its standard error; clips: that
    have a score."""

    score: np.ndarray
    nearer: float
    error: float
    clips: int

    @property
    def tells(self) -> bool:
        """Whether own pairs are nearer than random ones by more than chance."""
        return self.nearer - _Z * self.error > 0.5


def score(vectors: Sequence[Vectors], fold: np.ndarray, loss: Loss = "symmetric", seed: int = 0) -> Scored:
    """Train on each fold's complement and score the fold; fold: int64 [n], below FOLDS, one per recording.

    Raises InputError where no two experts perceive different senses, or with fewer than LEAST clips with two
    senses in a part.
    """
    pairs = [
        (one, other)
        for one, other in combinations(range(len(vectors)), 2)
        if vectors[one].sense != vectors[other].sense
    ]
    if not pairs:
        named = ", ".join(f"{one.expert} ({one.sense})" for one in vectors) or "none"
        raise InputError(
            f"together: expected vectors of experts of two different senses; there are those of {named}. "
            "Experts of the kind classifier keep them with keep_vectors: true"
        )
    n = len(fold)
    total, count, random_total = np.zeros(n), np.zeros(n), np.zeros(n)
    for number in range(FOLDS):
        inside = fold == number
        for part in (inside, ~inside):
            most = max(int((vectors[a].there & vectors[b].there & part).sum()) for a, b in pairs)
            if most < LEAST:
                raise InputError(
                    f"together: {most} clips of one half of the recordings have two senses; expected at "
                    f"least {LEAST}"
                )
        projected = _projected(vectors, pairs, ~inside, loss, seed)
        random = np.random.default_rng(seed + number)
        for one, other in pairs:
            at = np.flatnonzero(inside & vectors[one].there & vectors[other].there)
            if len(at) < 2:
                continue
            a, b = projected[one][at], projected[other][at]
            own = (a * b).sum(axis=1)
            others = ((a * (b.sum(axis=0) - b)).sum(axis=1) + (b * (a.sum(axis=0) - a)).sum(axis=1)) / 2
            baseline = others / (len(at) - 1)
            total[at] += own - baseline
            count[at] += 1
            # Everybody's partner is somebody else: the next one in a random ring.
            ring = random.permutation(len(at))
            partner = np.empty(len(at), dtype=np.int64)
            partner[ring] = np.roll(ring, 1)
            random_total[at] += (a * b[partner]).sum(axis=1) - baseline
    scored = count > 0
    nearer = (total > random_total) + 0.5 * (total == random_total)
    share = float(nearer[scored].mean())
    spread = float(np.sqrt(max(share * (1 - share), 0.25 / scored.sum()) / scored.sum()))
    values = np.divide(total, count, out=np.full(n, np.nan), where=scored)
    return Scored(values, share, spread, int(scored.sum()))


def _projected(
    vectors: Sequence[Vectors], pairs: Sequence[tuple[int, int]], part: np.ndarray, loss: Loss, seed: int
) -> list[np.ndarray]:
    """All vectors through projectors that were trained on the clips of `part`: float64 [n, size]."""
    import torch

    from emo.together import loss as losses

    numbers = torch.Generator().manual_seed(seed)
    views: list[torch.Tensor] = []
    for one in vectors:
        known = one.views[one.there & part].reshape(-1, one.views.shape[-1]).astype(np.float64)
        mean = known.mean(axis=0) if len(known) else 0.0
        spread = known.std(axis=0) + 1e-6 if len(known) else 1.0
        views.append(torch.tensor(np.nan_to_num((one.views - mean) / spread), dtype=torch.float32))
    weights = [
        (torch.randn(one.shape[-1], _SIZE, generator=numbers) / one.shape[-1] ** 0.5).requires_grad_()
        for one in views
    ]
    optimizer = torch.optim.AdamW(weights, lr=_RATE, weight_decay=_DECAY)
    places = {
        (a, b): torch.tensor(np.flatnonzero(vectors[a].there & vectors[b].there & part)) for a, b in pairs
    }
    usable = [(pair, at) for pair, at in places.items() if len(at) >= 2]
    most = max(len(at) for _, at in usable)
    for _ in range(int(np.clip(_ROUNDS * most // _BATCH, *_STEPS))):
        parts: list[Any] = []
        for pair, at in usable:
            chosen = at[torch.randperm(len(at), generator=numbers)[:_BATCH]]
            made = [_unit(views[one][chosen] @ weights[one]) for one in pair]  # [B, 2, D]
            if loss == "published":
                parts.append(losses.published(torch.stack(made).transpose(1, 2)))
            else:
                parts.append(losses.symmetric(torch.stack([_unit(one.mean(dim=1)) for one in made])))
        optimizer.zero_grad()
        torch.stack(parts).mean().backward()
        optimizer.step()
    with torch.no_grad():
        return [
            _unit(_unit(view @ weight).mean(dim=1)).double().numpy()
            for view, weight in zip(views, weights, strict=True)
        ]


def _unit(values: Any) -> Any:
    import torch

    return torch.nn.functional.normalize(values, dim=-1)
