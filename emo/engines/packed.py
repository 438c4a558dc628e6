"""Linear layers whose weights lie in memory as oneDNN multiplies them, for models that answer on a CPU."""

from typing import Any

import torch
from torch import Tensor, nn


class PackedLinear(nn.Module):
    """What a layer of float32 gives, to rounding, in less time: a tenth less for a ViT on a processor of AMD.

    PyTorch does the same in models that it compiles, which takes a C++ compiler and a minute.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self._weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), None)
        self.bias: Tensor | None = None if layer.bias is None else layer.bias.detach()

    @property
    def weight(self) -> Tensor:
        """The weights as they were, float32 [out, in]: some attention multiplies by them itself."""
        return self._weight.to_dense()

    def forward(self, inputs: Tensor) -> Tensor:
        """float32 [..., in] to float32 [..., out]."""
        given = inputs.reshape(-1, self.in_features)
        outputs: Tensor = torch.ops.mkldnn._linear_pointwise(given, self._weight, self.bias, "none", [], "")
        return outputs.reshape(*inputs.shape[:-1], self.out_features)


def pack(model: nn.Module, leave: Any = None) -> None:
    """Pack the linear layers of a model on a CPU that are float32, where PyTorch has oneDNN.

    leave: a layer that stays as it is. The model can no longer be trained or saved.
    """
    # The operators are PyTorch's own, for what it compiles: another version may name them otherwise.
    there = all(hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise"))
    if not (there and torch.backends.mkldnn.is_available()):
        return
    children = [(parent, *child) for parent in model.modules() for child in parent.named_children()]
    for parent, name, layer in children:
        # Subclasses are read by what they belong to, and a hook may make the weights at each pass.
        hooks = layer._forward_pre_hooks or layer._forward_hooks
        plain = type(layer) is nn.Linear and not hooks
        if plain and layer is not leave and layer.weight.dtype == torch.float32:
            setattr(parent, name, PackedLinear(layer))
