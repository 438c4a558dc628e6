"""A reconstruction of Broad Mamba (Shou et al., arXiv 2404.17858): turns of a dialogue see all its turns.

The authors published no code, and their numbers could not be had. What is taken of the paper: a selective
state space model over the turns in both directions, a broad learning layer for each modality, and a fusion
in which each modality weighs as much as its own answer is sure. All else is a choice that was made here. The
modalities are experts here. M of them, G dialogues of up to T turns, K classes.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

SIZE = 16
"""Numbers that a turn is described by within an expert."""
STATE = 4
"""Numbers that each of them remembers of the other turns."""


class Scan(nn.Module):
    """The selective scan of each of M experts: h_t = exp(D_t A) h_{t-1} + D_t B_t x_t; y_t = C_t h_t + D x_t.

    D_t, B_t and C_t are made of x_t, so what a turn says decides how much of the others is kept.
    """

    def __init__(self, experts: int) -> None:
        super().__init__()
        self.step = nn.Parameter(torch.randn(experts, SIZE, SIZE) * SIZE**-0.5)
        self.step_bias = nn.Parameter(torch.zeros(experts, SIZE))
        self.into = nn.Parameter(torch.randn(experts, SIZE, STATE) * SIZE**-0.5)
        self.out = nn.Parameter(torch.randn(experts, SIZE, STATE) * SIZE**-0.5)
        self.decay = nn.Parameter(torch.arange(1.0, STATE + 1).log().expand(experts, SIZE, STATE).clone())
        self.skip = nn.Parameter(torch.ones(experts, SIZE))

    def forward(self, turns: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """turns: [M, G, T, SIZE]; there: bool [G, T], a turn that is not there leaves the memory as it is."""
        step = functional.softplus(
            torch.einsum("mgtd,mde->mgte", turns, self.step) + self.step_bias[:, None, None]
        )
        step = step * there[None, :, :, None]
        into = torch.einsum("mgtd,mdn->mgtn", turns, self.into)
        out = torch.einsum("mgtd,mdn->mgtn", turns, self.out)
        kept = torch.exp(-step[..., None] * self.decay.exp()[:, None, None])
        added = (step * turns)[..., None] * into[..., None, :]
        memory = torch.zeros_like(added[:, :, 0])
        memories = []
        # Unbound at once: the gradient of each turn that is picked out alone is as large as all of them.
        for kept_of, added_to in zip(kept.unbind(2), added.unbind(2), strict=True):
            memory = kept_of * memory + added_to
            memories.append(memory)
        made = (torch.stack(memories, dim=2) * out[..., None, :]).sum(-1)
        return made + self.skip[:, None, None] * turns


class BroadMamba(nn.Module):
    """Scores of classes for each turn, by what the experts gave in all turns of its dialogue."""

    def __init__(self, experts: int, features: int, classes: int) -> None:
        super().__init__()
        wide = SIZE**-0.5
        self.given = nn.Parameter(torch.randn(experts, features, SIZE) * features**-0.5)
        self.forwards, self.backwards = Scan(experts), Scan(experts)
        self.norm = nn.LayerNorm(SIZE)
        self.mapped = nn.Parameter(torch.randn(experts, SIZE, SIZE) * wide)
        self.mapped_bias = nn.Parameter(torch.zeros(experts, SIZE))
        self.enhanced = nn.Parameter(torch.randn(experts, SIZE, SIZE) * wide)
        self.enhanced_bias = nn.Parameter(torch.zeros(experts, SIZE))
        self.broad = nn.Parameter(torch.randn(experts, 2 * SIZE, SIZE) * wide)
        self.own_answer = nn.Parameter(torch.randn(experts, SIZE, classes) * wide)
        self.answer = nn.Linear(SIZE, classes)

    def forward(
        self, given: torch.Tensor, there: torch.Tensor, spoke: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Scores of the turns [G, T, K], of each expert alone [M, G, T, K], and the weights [M, G, T].

        given: [M, G, T, features]; there: bool [G, T], whether there is such a turn; spoke: bool [M, G, T],
        whether the expert gave a label in it. The weights of a turn in which none did are 0.
        """
        turns = torch.einsum("mgtf,mfd->mgtd", given, self.given)
        # Turned round, what is not there comes first, and leaves the memory empty.
        before = self.forwards(turns, there)
        after = self.backwards(turns.flip(2), there.flip(1)).flip(2)
        hidden = self.norm(before + after)
        mapped = torch.tanh(
            torch.einsum("mgtd,mde->mgte", hidden, self.mapped) + self.mapped_bias[:, None, None]
        )
        enhanced = torch.relu(
            torch.einsum("mgtd,mde->mgte", mapped, self.enhanced) + self.enhanced_bias[:, None, None]
        )
        broad = torch.einsum("mgtd,mde->mgte", torch.cat([mapped, enhanced], dim=-1), self.broad)
        own = torch.einsum("mgtd,mdk->mgtk", broad, self.own_answer)
        sure = own.softmax(-1).max(-1).values.masked_fill(~spoke, float("-inf"))
        weights = torch.where(spoke.any(0), sure.softmax(0), 0.0)
        return self.answer((weights[..., None] * broad).sum(0)), own, weights


def loss(scores: torch.Tensor, own: torch.Tensor, target: torch.Tensor, spoke: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the turns, and a part of that of each expert alone.

    target: [G, T, K], each row adds up to 1, or is 0 where nothing is known of the turn.
    """
    known = target.sum(-1) > 0
    fused = -(target * scores.log_softmax(-1)).sum(-1)[known].mean()
    alone = -(target * own.log_softmax(-1)).sum(-1)[spoke & known]
    return fused + (0.3 * alone.mean() if alone.numel() else 0.0)
