"""A language model in whose prompt some tokens stand for what was seen and heard."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class WithSenses(nn.Module):
    """A causal language model of transformers, called like one, that takes features beside the tokens.

    placeholders: token ids by name; each stands in a prompt as often as there are vectors for it. Their own
    rows of the embedding are never looked at.
    """

    def __init__(self, llm: Any, placeholders: Mapping[str, int]) -> None:
        super().__init__()
        self.llm = llm
        self.placeholders = dict(placeholders)

    @property
    def config(self) -> Any:
        return self.llm.config

    @property
    def generation_config(self) -> Any:
        return self.llm.generation_config

    @property
    def dtype(self) -> torch.dtype:
        return self.llm.dtype

    @property
    def device(self) -> torch.device:
        return self.llm.device

    def get_input_embeddings(self) -> nn.Module:
        return self.llm.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        return self.llm.get_output_embeddings()


class Perceiving(WithSenses):
    """One whose features become vectors by name; a subclass says how."""

    features: tuple[str, ...]
    """The arguments that hold features."""

    @abstractmethod
    def vectors(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of each name in `placeholders` that has any its vectors, [all of them in order, H]."""

    def forward(self, input_ids: Tensor, logits_to_keep: int = 0, **kwargs: Any) -> Any:
        """The scores of the language model; input_ids: int64 [B, L]."""
        features = {name: kwargs.pop(name) for name in self.features if name in kwargs}
        if not features:
            return self.llm(input_ids=input_ids, logits_to_keep=logits_to_keep, **kwargs)
        marks = torch.tensor(list(self.placeholders.values()), device=input_ids.device)
        embeddings = self.get_input_embeddings()(input_ids.masked_fill(torch.isin(input_ids, marks), 0))
        for name, found in self.vectors(features).items():
            embeddings[input_ids == self.placeholders[name]] = found.to(embeddings)
        return self.llm(inputs_embeds=embeddings, logits_to_keep=logits_to_keep, **kwargs)
