"""Which weights belong to which part of a model, and which of them are trained."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from emo.errors import InputError
from emo.experts.family import Family, Part
from emo.finetuning.settings import Finetune, Freeze

PARTS: tuple[Part, ...] = ("vision", "projector", "language")

_LANGUAGE_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def part_of(name: str, family: Family) -> Part:
    """The part of a parameter or module by its full name; raises InputError where none claims it."""
    for part, pattern in family.parts.items():
        if re.match(pattern, f"{name}."):
            return part
    raise InputError(f"the weights {name!r} belong to no part that is known; is the model of another family?")


def trained_parts(freeze: Freeze) -> list[Part]:
    """Those that are not frozen."""
    return [part for part in PARTS if not getattr(freeze, part)]


def lora_targets(linears: Iterable[str], parts: Sequence[Part], family: Family) -> list[str]:
    """The linear layers of these parts that get LoRA weights, by their full names, sorted.

    linears: the names of all linear layers. Of the language part the projections of attention and MLP, never
    the output layer. Raises InputError where a part has none.
    """
    found: dict[Part, list[str]] = {part: [] for part in parts}
    for name in linears:
        part = part_of(name, family)
        if part in found and (part != "language" or name.rsplit(".", 1)[-1] in _LANGUAGE_LINEARS):
            found[part].append(name)
    for part, names in found.items():
        if not names:
            raise InputError(f"the {part} part has no linear layer that LoRA could be put on")
    return sorted(name for names in found.values() for name in names)


# Numbers that run over blocks of one kind; that of `mlp.0` tells a linear layer from what follows it.
_RUNNING = re.compile(r"(?<=layers\.|blocks\.|.layer\.|r_list\.)\d+(?=\.)")


def target_pattern(targets: Sequence[str]) -> str:
    """One regular expression for these modules (PEFT matches it against the whole name).

    Blocks of one kind are written once, with \\d+ for their number.
    """
    return "|".join(sorted({re.escape(_RUNNING.sub("\0", name)).replace("\0", r"\d+") for name in targets}))


def summary(targets: Sequence[str]) -> list[str]:
    """What a person reads: each kind of layer with how many there are."""
    counts: dict[str, int] = {}
    for name in targets:
        shape = _RUNNING.sub("N", name)
        counts[shape] = counts.get(shape, 0) + 1
    return [f"{shape} ({count})" for shape, count in sorted(counts.items())]


def freeze_parts(model: Any, freeze: Freeze, family: Family) -> None:
    """Set requires_grad of every parameter by its part."""
    trained = set(trained_parts(freeze))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name, family) in trained)


# What PEFT writes before the names of a model's weights.
_WRAPPED = "base_model.model."


def optimizer_groups(model: Any, settings: Finetune, family: Family) -> list[dict[str, Any]]:
    """The trained parameters as AdamW takes them: one group for each learning rate and weight decay.

    Biases and norms have one dimension; decay would only pull them away from where they belong.
    """
    groups: dict[tuple[float, float], list[Any]] = {}
    for name, value in model.named_parameters():
        if not value.requires_grad:
            continue
        part = part_of(name.removeprefix(_WRAPPED), family)
        rate = getattr(settings.learning_rates, part) or settings.learning_rate
        decay = settings.weight_decay if value.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(value)
    return [{"params": found, "lr": rate, "weight_decay": decay} for (rate, decay), found in groups.items()]
