"""Duplex attention between the media and the words of a prompt: a reconstruction of MODA (arXiv 2507.04635).

What the paper gives, and is done here, for a modality m and its partner n: the Gram matrix G of the keys of
m, its rows normalised, K(n→m) = K(n) ‖G(m)‖, fused with the keys K(n) as they were by a layer that is given
both ("concat"), and the same for values. Modalities are the media of a prompt and its words, as in the paper.

What it does not give, and how it is read here: rows of G have length 1; G is that of one head; the values
have a Gram matrix of their own; keys are taken before their positions are turned in; what the fusing layer
gives is added to the keys and is zero at the start, so that the model is its base then. Only the prompt takes
part, up to the end of the turn that shows the media: what is written later changes nothing before it.

Not built: the modular mask. Scores that it gives to later tokens take from the others, so that no model with
it begins as its base, and its authors' repository holds no code of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from emo.engines.adapters import ATTENTION
from emo.engines.adapters import DUPLEX as NAME
from emo.errors import InputError


@dataclass(frozen=True)
class Marks:
    """media: ids of the tokens that stand for media; end: of the one that ends a turn; filling: of the one
    that shorter rows are filled up with.
    """

    media: tuple[int, ...]
    end: int
    filling: int


@dataclass
class Places:
    """Which tokens of the prompts of the last pass are media and which are words: bool [rows, tokens].

    Both are None where no prompt is read: a model that writes is given one token at a time.
    """

    marks: Marks
    media: torch.Tensor | None = None
    words: torch.Tensor | None = None

    def read(self, ids: torch.Tensor) -> None:
        """Find them by the tokens alone. ids: int64 [rows, tokens], filled up on either side.

        The prompt of a row ends where the first turn with media does. A row without media has none.
        """
        if ids.shape[1] == 1:
            self.media = self.words = None
            return
        media = torch.isin(ids, torch.tensor(self.marks.media, device=ids.device))
        begun = media.cumsum(1) > 0
        ended = ((ids == self.marks.end) & begun).cumsum(1) > 0
        written = (ids != self.marks.filling).cumsum(1) > 0
        prompt = written & ~ended & begun.any(1, keepdim=True) & ended.any(1, keepdim=True)
        self.media, self.words = media & prompt, prompt & ~media


class DuplexAttention(nn.Module):
    """Changes the keys and values of one layer of attention; `width` is the size of one head."""

    def __init__(self, width: int, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        # The first of two is for media, the second for words.
        shape = (2, 2 * width, width)
        self.keys = nn.Parameter(torch.zeros(shape, device=device, dtype=dtype))
        self.values = nn.Parameter(torch.zeros(shape, device=device, dtype=dtype))

    def forward(
        self,
        given: torch.Tensor,
        which: Literal["keys", "values"],
        media: torch.Tensor,
        words: torch.Tensor,
    ) -> torch.Tensor:
        """Keys or values that know of the other modality, in the shape and type of `given`.

        given: [rows, tokens, heads * width]; media, words: bool [rows, tokens], see Places.
        """
        fuser = getattr(self, which).float()
        heads = given.unflatten(-1, (-1, fuser.shape[-1])).float()
        sides = [mask.to(given.device)[..., None, None] for mask in (media, words)]
        added = torch.zeros_like(heads)
        for own, partner, fused in zip(sides, reversed(sides), fuser, strict=True):
            of_partner = heads * partner
            gram = torch.einsum("rthi,rthj->rhij", of_partner, of_partner)
            aligned = torch.einsum("rthi,rhij->rthj", heads, nn.functional.normalize(gram, dim=-1))
            added = added + own * (torch.cat([heads, aligned], dim=-1) @ fused)
        return given + added.flatten(-2).to(given.dtype)


def layers(model: Any, language: str) -> list[str]:
    """The names of the layers of attention that it can be put into; language: a pattern of the names of the
    language part. Raises InputError where there is none.
    """
    wanted = ("q_proj", "k_proj", "v_proj")
    found = [
        name
        for name, module in model.named_modules()
        if re.match(language, f"{name}.")
        and hasattr(module, "head_dim")
        and all(isinstance(getattr(module, part, None), nn.Module) for part in wanted)
    ]
    if not found:
        raise InputError(
            f"attention_module: no layer of the language part of {type(model).__name__} has keys and values "
            f"of its own ({', '.join(wanted)}), so duplex attention has no place in it"
        )
    return found


def insert(model: Any, names: Sequence[str]) -> None:
    """Put the module, without any effect as yet, into the layers of these names; raises InputError."""
    for name in names:
        try:
            layer = model.get_submodule(name)
            width, weight = int(layer.head_dim), layer.k_proj.weight
        except AttributeError:
            raise InputError(f"attention_module: {name} is no layer of attention of this model") from None
        layer.add_module(NAME, DuplexAttention(width, weight.device, model.dtype))


def connect(model: Any, marks: Marks) -> Places:
    """Let the modules that were inserted change keys and values from now on.

    After LoRA was put around the layers, or added into them: before that other layers would be changed.
    """
    places = Places(marks)

    def read(module: Any, given: tuple[Any, ...], made: Any) -> None:
        places.read(given[0])

    def changing(layer: Any, which: str) -> Any:
        def change(module: Any, given: tuple[Any, ...], made: Any) -> Any:
            if places.media is None:
                return made
            return getattr(layer, NAME)(made, which, places.media, places.words)

        return change

    model.get_input_embeddings().register_forward_hook(read)
    for layer in list(model.modules()):
        if hasattr(layer, "k_proj") and hasattr(layer, NAME):
            layer.k_proj.register_forward_hook(changing(layer, "keys"))
            layer.v_proj.register_forward_hook(changing(layer, "values"))
    return places


def told_in(manifest: Path) -> Marks:
    """The tokens that an adapter with duplex attention was trained with; raises InputError."""
    try:
        about = json.loads(manifest.read_text())[ATTENTION]
        return Marks(tuple(map(int, about["media"])), int(about["end"]), int(about["filling"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"adapter {manifest.parent}: it has duplex attention, and {manifest.name} does not tell what its "
            f"prompts are made of: {error!r}"
        ) from None


def layers_of(keys: Iterable[str]) -> list[str]:
    """The layers that the weights of an adapter are for; keys: the names of its weights."""
    found = (re.match(rf"base_model\.model\.(.+)\.{NAME}\.keys$", key) for key in keys)
    return sorted(one[1] for one in found if one)
