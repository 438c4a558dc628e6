"""The parts of transformers that emo leans on and that are not promised: all of them, in one place.

Each has a test of its own in tests/engines/test_private.py. A release that changes one fails that test by its
name, and what to change stands here.
"""

from collections.abc import Mapping
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

__all__ = [
    "Cache",
    "CacheLayerMixin",
    "DynamicCache",
    "attention_of",
    "class_of_family",
    "class_of_own_code",
    "keeps_state",
    "kinds_of_layers",
    "positions",
    "processor_of_family",
]


def positions(model: Any, ids: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
    """[axes, rows, length]: the positions that a model with pictures makes for its own `generate`.

    The first of four axes counts plain places, for packed batches only.
    """
    made: torch.Tensor = model._prepare_position_ids_for_generation(ids, dict(inputs))
    return made


def attention_of(text: Any) -> str:
    """The kernel that a model runs its attention with, such as `sdpa`; text: its text configuration."""
    return str(text._attn_implementation)


def kinds_of_layers(text: Any) -> set[str]:
    """The kinds of a decoder's layers, such as `full_attention`; empty where its configuration names none."""
    return set(getattr(text, "layer_types", None) or [])


def keeps_state(model: Any) -> bool:
    """Whether a model keeps something else from token to token than keys and values."""
    return bool(getattr(model, "_is_stateful", False))


def class_of_family() -> dict[str, str]:
    """Of each family (`model_type`) that takes media and writes text the name of its class."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES

    return dict(MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES)


def processor_of_family() -> dict[str, str | None]:
    """Of each family the name of its processor."""
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    return dict(PROCESSOR_MAPPING_NAMES)


def class_of_own_code(place: str, folder: str) -> Any:
    """A class of the code that comes with a checkpoint, which is run by this."""
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    return get_class_from_dynamic_module(place, folder)
