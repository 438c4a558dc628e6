"""EVA-CLIP-g (Fang et al. 2023, arXiv 2211.07636), the vision tower of BLIP-2 and MiniGPT-4.

Names and shapes are those of the published `eva_vit_g.pth`, which holds 40 blocks or 39.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from emo.errors import InputError

HEADS = 16
IMAGE_BLOCKS = 39  # BLIP-2 leaves the last of 40 out
_EPS = 1e-6
_SIDE = 224  # of the pictures that the position table was made for


class Attention(nn.Module):
    """Self-attention whose keys have no bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, states: Tensor) -> Tensor:
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        found = nn.functional.linear(states, self.qkv.weight, bias).unflatten(2, (3, HEADS, -1))
        query, key, value = found.permute(2, 0, 3, 1, 4)
        found = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.proj(found.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """One layer, norms first."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.attn = Attention(width)
        self.norm2 = nn.LayerNorm(width, eps=_EPS)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, inner), "fc2": nn.Linear(inner, width)})

    def forward(self, states: Tensor) -> Tensor:
        states = states + self.attn(self.norm1(states))
        inner = nn.functional.gelu(self.mlp["fc1"](self.norm2(states)))
        return states + self.mlp["fc2"](inner)


class Eva(nn.Module):
    """width: of the vectors; inner: of the layers between; depth: blocks; patch: pixels on a side."""

    def __init__(self, width: int, inner: int, depth: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, (_SIDE // patch) ** 2 + 1, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, stride=patch)})
        self.blocks = nn.ModuleList(Block(width, inner) for _ in range(depth))

    def forward(self, pixels: Tensor, blocks: int) -> Tensor:
        """[B, 3, side, side] to [B, 1 + patches, width] after so many blocks, without a last norm."""
        patches = self.patch_embed["proj"](pixels)
        states = patches.flatten(2).transpose(1, 2)
        states = torch.cat([self.cls_token.expand(len(states), -1, -1), states], dim=1)
        states = states + self._positions(patches.shape[-1])
        for block in self.blocks[:blocks]:
            states = block(states)
        return states

    def _positions(self, side: int) -> Tensor:
        """The table, stretched for pictures with another number of patches."""
        table = self.pos_embed
        known = _SIDE // self.patch
        if side == known:
            return table
        squares = table[:, 1:].transpose(1, 2).unflatten(2, (known, known))
        stretched = nn.functional.interpolate(squares, size=(side, side), mode="bicubic", align_corners=False)
        return torch.cat([table[:, :1], stretched.flatten(2).transpose(1, 2)], dim=1)


def load_eva(state: Mapping[str, Any], where: str) -> Eva:
    """The tower of a published file, float32, on the CPU; raises InputError as `fit_eva` does."""
    eva = fit_eva(state, where)
    eva.load_state_dict({key: state[key].float() for key in eva.state_dict()}, assign=True)
    return eva.eval()


def fit_eva(state: Mapping[str, Any], where: str) -> Eva:
    """The tower that a published file fits, without its weights.

    The norm and the head behind the last block, which the file may hold, are no part of it. Raises InputError
    that names what is missing, of another shape, or not understood; where: what the file is called.
    """
    depth = len({key.split(".")[1] for key in state if key.startswith("blocks.")})
    if depth not in (IMAGE_BLOCKS, IMAGE_BLOCKS + 1):
        raise InputError(f"{where}: {depth} blocks; expected {IMAGE_BLOCKS} or {IMAGE_BLOCKS + 1}")
    try:
        width, inner = state["cls_token"].shape[-1], state["blocks.0.mlp.fc1.weight"].shape[0]
        patch = state["patch_embed.proj.weight"].shape[-1]
    except KeyError as error:
        raise InputError(f"{where}: not the file of EVA-CLIP-g: {error} is missing") from None
    with torch.device("meta"):
        eva = Eva(width, inner, depth, patch)
    expected = eva.state_dict()
    unread = re.compile(r"(norm|fc_norm|head)\.")
    problems = [f"{key} is missing" for key in expected if key not in state]
    problems += [
        f"{key} is {list(state[key].shape)}, expected {list(value.shape)}"
        for key, value in expected.items()
        if key in state and state[key].shape != value.shape
    ]
    problems += [f"{key} is not understood" for key in state if key not in expected and not unread.match(key)]
    if problems:
        raise InputError(f"{where}: {'; '.join(problems[:12])}")
    return eva
