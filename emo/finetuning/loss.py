"""The forward pass of training: scores and cross entropy at the trained places only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emo.finetuning.collate import Batch
from emo.finetuning.masking import IGNORED

if TYPE_CHECKING:
    import torch


def on_device(
    batch: Batch, preprocessor: Any, device: torch.device, dtype: torch.dtype
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """What the model's forward takes, and the labels, on the device."""

    def send(tensor: torch.Tensor) -> torch.Tensor:
        if device.type == "cuda":
            return tensor.pin_memory().to(device, non_blocking=True)
        return tensor

    features = preprocessor.on_device({name: send(value) for name, value in batch.features.items()}, dtype)
    inputs = {"input_ids": send(batch.input_ids), "position_ids": send(batch.positions), **features}
    return inputs, send(batch.labels)


def loss_sum(
    forward: Any, output_layer: Any, inputs: dict[str, torch.Tensor], labels: torch.Tensor
) -> torch.Tensor:
    """The cross entropy summed over the trained tokens: a scalar in float32, with its graph.

    forward: the model or the engine around it; output_layer: its last linear layer. No token looks to its
    right, so right padding needs no mask. Scores over the vocabulary are made where a token is trained and
    nowhere else: a caption has a hundred such places behind thousands of media tokens.
    """
    import torch

    rows, places = (labels[:, 1:] != IGNORED).nonzero(as_tuple=True)
    # A batch with nothing to train (a worker without samples) still has to touch every weight.
    counted = len(rows) > 0
    if not counted:
        rows = places = torch.zeros(1, dtype=torch.long, device=labels.device)
    targets = labels[rows, places + 1]

    def keep_trained(_: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden, *others = arguments
        return (hidden[rows, places][None], *others)

    hook = output_layer.register_forward_pre_hook(keep_trained)
    try:
        scores = forward(**inputs, use_cache=False).logits[0].float()
    finally:
        hook.remove()
    if not counted:
        return scores.sum() * 0.0
    return torch.nn.functional.cross_entropy(scores, targets, reduction="sum")
