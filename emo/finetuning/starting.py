"""An earlier adapter that training goes on from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from emo.engines.adapters import CONFIG, DUPLEX, LORA, LORA_WITH_DUPLEX, WEIGHTS, has_duplex
from emo.errors import InputError
from emo.finetuning.settings import Finetune

# What `lora` does not set and a LoRA of other trainers may have: PEFT's key -> the value of a plain one.
_PLAIN = {"use_dora": False, "bias": "none", "rank_pattern": {}, "alpha_pattern": {}}


def check_start(folder: Path, settings: Finetune) -> None:
    """Raise InputError where training cannot go on from this adapter as the settings say."""
    try:
        config = json.loads((folder / CONFIG).read_text())
        there = (folder / WEIGHTS).exists()
    except (OSError, ValueError) as error:
        raise InputError(f"finetune.adapter: {folder} cannot be read: {error}") from error
    if not there:
        raise InputError(f"finetune.adapter: {folder} has no {WEIGHTS}")
    if config.get("peft_type") not in (LORA, LORA_WITH_DUPLEX):
        raise InputError(f"finetune.adapter: {folder} is {config.get('peft_type')!r}; expected 'LORA'")
    assert settings.lora is not None
    set_here = {
        "finetune.lora.rank": (config.get("r"), settings.lora.rank),
        "finetune.lora.alpha": (config.get("lora_alpha"), settings.lora.alpha),
        "finetune.lora.rank_stabilised": (bool(config.get("use_rslora")), settings.lora.rank_stabilised),
    }
    told = [
        f"{key} is {set_to!r}, it has {has!r}" for key, (has, set_to) in set_here.items() if has != set_to
    ]
    if settings.attention_module is None and has_duplex(config):
        told.append("finetune.attention_module is null, it has duplex attention")
    elif settings.attention_module is not None and not has_duplex(config):
        told.append(f"finetune.attention_module is {settings.attention_module!r}, it has none")
    plain = {**_PLAIN, "modules_to_save": [DUPLEX] if has_duplex(config) else None}
    told += [
        f"its {key} is {config[key]!r}, which is not trained here"
        for key, wanted in plain.items()
        if (config.get(key) or wanted) != wanted
    ]
    if told:
        raise InputError(f"finetune.adapter: {folder} does not fit: {'; '.join(told)}")


def load_start(model: Any, folder: Path) -> None:
    """Put the weights of an adapter into a model with a LoRA of the same layers; raises InputError."""
    import torch
    from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    try:
        given = load_file(folder / WEIGHTS)
    except (OSError, ValueError) as error:
        raise InputError(f"finetune.adapter: {folder / WEIGHTS} cannot be read: {error}") from error
    expected = get_peft_model_state_dict(model)
    for what, keys in (
        ("layers that are trained here are not in it", expected.keys() - given.keys()),
        ("layers of it are not trained here", given.keys() - expected.keys()),
        (
            "weights have another shape",
            {k for k in expected.keys() & given.keys() if expected[k].shape != given[k].shape},
        ),
    ):
        if keys:
            raise InputError(
                f"finetune.adapter: {folder}: {len(keys)} {what}, such as {min(keys)}; see finetune.freeze, "
                "and `emo adapters import` for an adapter of another trainer"
            )
    set_peft_model_state_dict(model, given)
    loaded = get_peft_model_state_dict(model)
    if not all(torch.equal(loaded[key].cpu().float(), given[key].float()) for key in given):
        raise InputError(f"finetune.adapter: the weights of {folder} were not taken over")
