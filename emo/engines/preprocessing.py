"""What a model family adds to the engine: how an item becomes the inputs of its model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")


@dataclass(frozen=True)
class ModelInput:
    """One prompt on the CPU, unpadded.

    input_ids: int64 [length]; positions: int64 or float32 [axes, length], one axis for ordinary rotary
    positions, three for time, height and width; features: what the model's forward takes besides, by its
    argument names, pictures as uint8; degraded: the modalities that were wanted and are not there.
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    features: Mapping[str, torch.Tensor] = field(default_factory=dict)
    degraded: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.input_ids)


class Preprocessor(ABC, Generic[Item]):
    """Turns items into model inputs (called from several threads) and token ids into text.

    tokenizer: of the checkpoint; its `decode`, `eos_token_id` and `pad_token_id` are used. model: the loaded
    model, set by the engine, for families whose positions only the model's own code knows.
    """

    tokenizer: Any
    model: Any = None

    @abstractmethod
    def size(self, item: Item) -> int:
        """About how many tokens the prompt of this item has; cheap, and used for the order of work only."""

    @abstractmethod
    def prepare(self, item: Item) -> ModelInput:
        """The model's inputs for one item; raises RowError for an item that cannot be used."""

    def stack(self, name: str, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """One feature of several items as one tensor; by default rows follow each other."""
        import torch

        return torch.cat(list(parts))

    def on_device(self, features: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """Last step of the features on the model's device, such as normalising uint8 pictures."""
        return features

    def text(self, token_ids: Sequence[int]) -> str:
        """The answer as a person reads it."""
        return self.tokenizer.decode(list(token_ids), skip_special_tokens=True).strip()


def normalise(
    pixels: torch.Tensor, mean: torch.Tensor, std: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """uint8 pictures [..., 0-255] to the model's range; mean and std broadcast against `pixels`."""
    return ((pixels.float() - mean * 255.0) / (std * 255.0)).to(dtype)
