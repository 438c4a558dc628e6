"""The contrastive losses between modalities of MPUC (Franceschini et al., arXiv 2207.11482).

Embeddings are normalised to length 1 before they come here; M modalities, B clips, D dimensions.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

TEMPERATURE = 0.07


def symmetric(embeddings: torch.Tensor) -> torch.Tensor:
    """InfoNCE in both directions, the mean over the pairs of modalities; embeddings: [M, B, D].

    For one view of each clip. log B where all embeddings are equal.
    """
    import torch

    target = torch.arange(embeddings.shape[1], device=embeddings.device)
    cross = torch.nn.functional.cross_entropy
    losses = []
    for one, other in combinations(embeddings, 2):
        alike = one @ other.T / TEMPERATURE
        losses.append((cross(alike, target) + cross(alike.T, target)) / 2)
    return torch.stack(losses).mean()


def published(views: torch.Tensor, temperature: float = TEMPERATURE) -> torch.Tensor:
    """The loss as its authors' code computes it, over ordered pairs of modalities; views: [M, 2, B, D].

    The positive of a view is the other view of its clip in the other modality. The same view there stands
    neither above nor below the fraction, and the whole is halved. log(2B - 1) / 2 where all are equal.
    """
    import torch

    modalities, both, clips, size = views.shape
    if both != 2:
        raise ValueError(f"expected two views of each clip, got {both}")
    flat = views.reshape(modalities, 2 * clips, size)
    own = torch.eye(2 * clips, dtype=torch.bool, device=views.device)
    other_view = torch.arange(2 * clips, device=views.device).roll(clips)
    losses = []
    for one in range(modalities):
        for other in range(modalities):
            if one != other:
                alike = (flat[one] @ flat[other].T / temperature).masked_fill(own, float("-inf"))
                losses.append(torch.nn.functional.cross_entropy(alike, other_view) / 2)
    return torch.stack(losses).mean()
