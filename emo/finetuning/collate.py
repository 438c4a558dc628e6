"""Rows of different length as one batch, padded on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emo.finetuning.masking import IGNORED, TrainingInput

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Batch:
    """input_ids, labels: int64 [rows, width]; positions: [rows, width], or [axes, rows, width] with several
    axes; features: as the family's preprocessor stacks them, pictures uint8; tokens: without padding;
    trained: tokens that count in the loss; names: the samples.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    positions: torch.Tensor
    features: dict[str, torch.Tensor]
    tokens: int
    trained: int
    names: tuple[str, ...] = ()


def collate(
    rows: Sequence[TrainingInput],
    preprocessor: Any,
    pad_token: int,
    dummy: TrainingInput | None,
    names: Sequence[str] = (),
) -> Batch:
    """One batch of the rows; `dummy` (see Encoder.dummy) is added where they lack a medium of it.

    An empty list of rows gives the dummy alone, which is why a worker without samples has to have one.
    """
    import torch

    given = {name for row in rows for name in row.features}
    shown = list(rows)
    if dummy is not None and not given.issuperset(dummy.features):
        shown.append(dummy)
    if not shown:
        raise ValueError("a batch without rows needs a dummy")
    width, axes = max(map(len, shown)), len(shown[0].positions)
    ids = torch.full((len(shown), width), pad_token)
    labels = torch.full((len(shown), width), IGNORED)
    whole = all(row.positions.dtype == torch.long for row in shown)
    positions = torch.zeros((axes, len(shown), width), dtype=torch.long if whole else torch.float32)
    for number, row in enumerate(shown):
        ids[number, : len(row)] = row.input_ids
        labels[number, : len(row)] = row.labels
        positions[:, number, : len(row)] = row.positions
    features = {
        name: preprocessor.stack(name, [row.features[name] for row in shown if name in row.features])
        for name in sorted({name for row in shown for name in row.features})
    }
    return Batch(
        ids,
        labels,
        positions if axes > 1 else positions[0],
        features,
        tokens=sum(map(len, rows)),
        trained=sum(row.trained for row in rows),
        names=tuple(names),
    )
