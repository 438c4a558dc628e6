"""A key-value cache in which rows come and go while the others go on writing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from emo.engines.private import Cache, CacheLayerMixin


@dataclass
class Clock:
    """How many positions of the buffers are written; one for all layers."""

    now: int


class BufferLayer(CacheLayerMixin):
    """One layer: keys and values [rows, heads, capacity, width], written at the clock's position.

    The buffers have room for the whole answer, so a step writes one position instead of copying all of them
    as a growing cache does.
    """

    is_sliding = False

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, clock: Clock) -> None:
        super().__init__()
        self.keys: torch.Tensor = keys
        self.values: torch.Tensor = values
        self.clock = clock
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do: the buffers are made before the layer is."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        start, end = self.clock.now, self.clock.now + key_states.shape[-2]
        self.keys[:, :, start:end] = key_states
        self.values[:, :, start:end] = value_states
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.clock.now + query_length, 0

    def get_seq_length(self) -> int:
        return self.clock.now

    def get_max_length(self) -> int:
        return self.keys.shape[-2]


@dataclass(frozen=True)
class Source:
    """Rows to take over into new buffers.

    cache: where they are; rows: int64 [n], which of its rows, repeated where one prompt has several samples;
    ends: int64 [n], the position after the last one of each; length: how many up to there are taken.
    """

    cache: Cache
    rows: torch.Tensor
    ends: torch.Tensor
    length: int


def merge(sources: Sequence[Source], filled: int, capacity: int) -> tuple[Cache, Clock]:
    """New buffers that hold the rows of all sources one after the other, each ending at position `filled`.

    What stands left of a row's own beginning is left over and must be masked. Goes layer by layer and drops
    each old layer as soon as it is copied, so that no more than one layer is held twice. A source is used up
    by this.
    """
    clock = Clock(filled)
    layers: list[BufferLayer] = []
    rows = sum(len(source.rows) for source in sources)
    for number in range(len(sources[0].cache.layers)):
        tensors = []
        for kind in ("keys", "values"):
            first = getattr(sources[0].cache.layers[number], kind)
            # Zeros, not empty: a masked position still takes part in 0 * value, and 0 * NaN is NaN.
            buffer = first.new_zeros((rows, first.shape[1], capacity, first.shape[3]))
            at = 0
            for source in sources:
                held = getattr(source.cache.layers[number], kind)
                places = (source.ends[:, None] - source.length + torch.arange(source.length)).clamp(min=0)
                taken = held[source.rows[:, None].to(held.device), :, places.to(held.device)]
                buffer[at : at + len(source.rows), :, filled - source.length : filled] = taken.transpose(1, 2)
                at += len(source.rows)
            tensors.append(buffer)
        for source in sources:
            source.cache.layers[number].keys = source.cache.layers[number].values = None
        layers.append(BufferLayer(tensors[0], tensors[1], clock))
    return Cache(layers=layers), clock
