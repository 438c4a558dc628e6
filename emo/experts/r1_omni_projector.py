"""The three visual branches of HumanOmni-0.5B, which its checkpoint calls `all_in_one_small`.

Two branches of convolutions (after the spatio-temporal connector of VideoLLaMA 2, Cheng et al. 2024) and one
of two linear layers see the same features; a router weighs them. Names and shapes are those of the file.
"""

import torch
from torch import Tensor, nn

STAGE_DEPTH = 2
GATE_WIDTH = 3584
_SQUEEZE = 0.25  # of the channels that go into a block


class ConvNorm(nn.Module):
    """A convolution without bias, then a norm over the channels; [B, C, h, w] to [B, D, h, w]."""

    def __init__(self, inside: int, outside: int, kernel: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, kernel, padding=kernel // 2, groups=groups, bias=False)
        self.bn = nn.LayerNorm(outside, eps=1e-5)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.bn(self.conv(pixels).movedim(1, -1)).movedim(-1, 1)


class SqueezeExcite(nn.Module):
    """Each channel times a gate that the means of all channels set (Hu et al. 2018)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, width, 1)
        self.fc2 = nn.Conv2d(width, channels, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        means = pixels.mean((2, 3), keepdim=True)
        return pixels * self.fc2(nn.functional.silu(self.fc1(means))).sigmoid()


class Bottleneck(nn.Module):
    """A block of RegNet Y (Radosavovic et al. 2020) with depth-wise convolution and norms over channels."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inside, outside)
        self.conv2 = ConvNorm(outside, outside, kernel=3, groups=outside)
        self.se = SqueezeExcite(outside, round(inside * _SQUEEZE))
        self.conv3 = ConvNorm(outside, outside)
        self.downsample = ConvNorm(inside, outside) if inside != outside else None

    def forward(self, pixels: Tensor) -> Tensor:
        shortcut = pixels if self.downsample is None else self.downsample(pixels)
        found = nn.functional.silu(self.conv1(pixels))
        found = self.se(nn.functional.silu(self.conv2(found)))
        return nn.functional.silu(self.conv3(found) + shortcut)


def _stage(inside: int, outside: int) -> nn.Module:
    blocks = [Bottleneck(inside if place == 0 else outside, outside) for place in range(STAGE_DEPTH)]
    stage = nn.Sequential()
    for place, block in enumerate(blocks, start=1):
        stage.add_module(f"b{place}", block)
    return stage


def _two_layers(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inside, outside), nn.GELU(), nn.Linear(outside, outside))


class Branches(nn.Module):
    """vision: the width of the features; hidden: that of the language model, which differs from it."""

    def __init__(self, vision: int, hidden: int) -> None:
        super().__init__()
        for name in ("video", "body"):
            sampler = nn.Sequential(
                nn.Conv3d(hidden, hidden, 2, stride=(1, 2, 2), padding=(1, 0, 0)), nn.SiLU()
            )
            self.add_module(f"s1_{name}", _stage(vision, hidden))
            self.add_module(f"sampler_{name}", sampler)
            self.add_module(f"s2_{name}", _stage(hidden, hidden))
            self.add_module(f"readout_{name}", _two_layers(hidden, hidden))
        self.mlp_2xgelu_face = _two_layers(vision, hidden)

    def forward(self, features: Tensor, shares: Tensor) -> Tensor:
        """[B, frames, patches, V] to [B, frames * patches / 4, H], time outermost.

        The patches make a square; shares: [3], how much of the video, the body and the face branch.
        """
        mixed = shares[0] * self._convolved(features, "video")
        mixed = mixed + shares[1] * self._convolved(features, "body")
        return mixed + shares[2] * self._resized(features)

    def _convolved(self, features: Tensor, name: str) -> Tensor:
        first, sampler, second, readout = (
            self.get_submodule(f"{part}_{name}") for part in ("s1", "sampler", "s2", "readout")
        )
        clips, frames = features.shape[:2]
        found = first(_squares(features)).unflatten(0, (clips, frames))
        # The padding in time makes one step more than there are frames; the last one is cut off.
        found = sampler(found.transpose(1, 2))[:, :, :-1].transpose(1, 2)
        found = second(found.flatten(0, 1)).unflatten(0, (clips, frames))
        return readout(found.flatten(3).transpose(2, 3).flatten(1, 2))

    def _resized(self, features: Tensor) -> Tensor:
        clips, frames = features.shape[:2]
        found = _squares(self.mlp_2xgelu_face(features))
        half = [-(-side // 2) for side in found.shape[2:]]
        found = nn.functional.interpolate(found, size=half, mode="bilinear", align_corners=False)
        return found.unflatten(0, (clips, frames)).flatten(3).transpose(2, 3).flatten(1, 2)


def _squares(features: Tensor) -> Tensor:
    """[B, frames, side * side, C] to [B * frames, C, side, side]."""
    flat = features.flatten(0, 1)
    side = int(flat.shape[1] ** 0.5)
    return flat.transpose(1, 2).unflatten(2, (side, side)).contiguous()


class Gate(nn.Sequential):
    """The router: what a text is about, [B, T], to the shares of the three branches, [B, 3]."""

    def __init__(self, text: int) -> None:
        super().__init__(nn.Linear(text, GATE_WIDTH), nn.GELU(), nn.Linear(GATE_WIDTH, 3))

    def forward(self, text: Tensor) -> Tensor:
        return torch.softmax(super().forward(text), dim=-1)


def sound_projector(audio: int, hidden: int) -> nn.Sequential:
    """[B, steps, A] to [B, steps, H]."""
    return _two_layers(audio, hidden)
