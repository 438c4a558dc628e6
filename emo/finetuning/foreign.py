"""Adapters that were trained elsewhere, under the names that the base's weights have here.

Renamed is what moved between versions as a whole and fits in shape; all else is refused with the rule.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emo.engines.adapters import CONFIG, ELSEWHERE, WEIGHTS, has_duplex, prompt_of
from emo.engines.models import revision_of
from emo.errors import InputError

_LORA = re.compile(r"(?P<module>.+)\.lora_(?P<kind>A|B|magnitude_vector)(?:\.default)?(?:\.weight)?$")
# Where the parts of a model stood elsewhere -> where they stand in transformers 5, and whose names they are.
_MOVED = (
    (r"thinker\.", "", "the whole Omni model"),
    (r"language_model\.model\.", "model.language_model.", "InternVL's own code, or transformers before 4.52"),
    (r"language_model\.lm_head", "lm_head", "InternVL's own code, or transformers before 4.52"),
    (
        r"model\.(?=layers\.)",
        "model.language_model.",
        "the language model alone, or transformers before 4.52",
    ),
    (r"mlp1\.0(?=\.|$)", "model.multi_modal_projector.layer_norm", "InternVL's own code"),
    (r"mlp1\.1(?=\.|$)", "model.multi_modal_projector.linear_1", "InternVL's own code"),
    (r"mlp1\.3(?=\.|$)", "model.multi_modal_projector.linear_2", "InternVL's own code"),
    (r"(?=(visual|vision_tower|multi_modal_projector|audio_tower)\.)", "model.", "transformers before 4.52"),
)
_UNSAID = (
    (r"vision_model\..*\.qkv$", "InternVL's own code holds query, key and value of its tower in one layer"),
    (r".*", "no layer of the base has that name, and no known move of names gives one"),
)


@dataclass(frozen=True)
class Imported:
    """renamed: how many weights moved, by whose names they had; prompt: what `prompt_of` knows; made_for: the
    base that the adapter names, or None.
    """

    weights: int
    renamed: Mapping[str, int]
    prompt: Mapping[str, Any]
    made_for: str | None


def import_adapter(source: Path, family: str, base: Path, target: Path) -> Imported:
    """Write the adapter in `source` as one for `base` to the new folder `target`.

    source: a folder of PEFT, or of a run that holds one checkpoint with one. Raises InputError where it is no
    LoRA, where a name or a shape has no certain place in the base, or where `target` exists.
    """
    from safetensors.torch import save_file

    source = adapter_folder(source)
    config = _config(source)
    given = _weights(source)
    if target.exists():
        raise InputError(f"{target} exists already")
    model = _empty(family, base)
    modules = {name for name, _ in model.named_modules()}
    state, targets, renamed = {}, set(), dict[str, int]()
    refused = []
    for key, value in given.items():
        module, ending = _parts(key)
        here, why = place_of(module, modules)
        if here is None:
            refused.append(f"{module}: {why}")
            continue
        if ending.startswith("lora_"):
            targets.add(here)
        new = f"base_model.model.{here}.{ending}"
        if new in state:
            raise InputError(f"adapter {source}: {key} and another one are both {new} here")
        state[new] = value
        moved = ["keys of an adapter in memory"] if ".default" in key else []
        moved += [why] if why else []
        for whose in moved:
            renamed[whose] = renamed.get(whose, 0) + 1
    if refused:
        first = "; ".join(sorted(set(refused))[:5])
        raise InputError(f"adapter {source}: {len(set(refused))} layers have no place in {base}: {first}")
    made = {**config, "target_modules": sorted(targets), "exclude_modules": None, "layers_to_transform": None}
    made |= {"layers_pattern": None, "inference_mode": True}
    made |= {"base_model_name_or_path": str(base), "revision": revision_of(base)}
    for pattern in ("rank_pattern", "alpha_pattern"):
        named = (config.get(pattern) or {}).items()
        made[pattern] = {place_of(key, modules)[0] or key: value for key, value in named}
    _check(source, made, state, model)
    prompt = prompt_of(source)
    target.mkdir(parents=True)
    (target / CONFIG).write_text(json.dumps(made, indent=1))
    (target / ELSEWHERE).write_text(json.dumps(prompt, indent=1, ensure_ascii=False))
    contiguous = {name: value.contiguous() for name, value in state.items()}
    save_file(contiguous, target / WEIGHTS, metadata={"format": "pt"})
    return Imported(len(state), renamed, prompt, config.get("base_model_name_or_path"))


def adapter_folder(source: Path) -> Path:
    """The folder with the adapter itself: `source`, or its one checkpoint; raises InputError."""
    if (source / CONFIG).exists():
        return source
    found = sorted(path.parent for path in source.glob(f"*/{CONFIG}"))
    if len(found) == 1:
        return found[0]
    if found:
        named = ", ".join(path.name for path in found)
        raise InputError(f"{source} holds several adapters; name one of them: {named}")
    raise InputError(f"{source} holds no {CONFIG}, and no folder in it does; expected an adapter of PEFT")


def place_of(module: str, modules: Iterable[str]) -> tuple[str | None, str | None]:
    """Where a layer stands in the base, and whose name it had: None where it has that of the base.

    Without a place: None, and the rule that says why.
    """
    known = modules if isinstance(modules, set) else set(modules)
    whose = None
    name = module
    for _ in range(2):  # a part of the whole Omni model may have an old name itself
        if name in known:
            return name, whose
        for pattern, new, source in _MOVED:
            moved, count = re.subn(rf"^{pattern}", new, name, count=1)
            if count and (moved in known or source == "the whole Omni model"):
                name, whose = moved, whose or source
                break
    if name in known:
        return name, whose
    return None, next(rule for pattern, rule in _UNSAID if re.match(pattern, module))


def _parts(key: str) -> tuple[str, str]:
    """The layer of a weight and what of it the weight is."""
    name = key
    while name.startswith("base_model.model."):
        name = name.removeprefix("base_model.model.")
    found = _LORA.match(name)
    if found:
        kind = found["kind"]
        return found["module"], f"lora_{kind}" + ("" if kind == "magnitude_vector" else ".weight")
    name = name.replace(".modules_to_save.default", "").replace(".modules_to_save", "")
    module, _, ending = name.rpartition(".")
    return module, ending


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"adapter {folder}: {CONFIG} cannot be read: {error}") from None
    if isinstance(config, dict) and has_duplex(config):
        raise InputError(
            f"adapter {folder}: emo finetune made it, with duplex attention; it is used from its own folder"
        )
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else None
        raise InputError(f"adapter {folder}: peft_type is {kind!r}; expected 'LORA'")
    return config


def _weights(folder: Path) -> dict[str, Any]:
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path, old = folder / WEIGHTS, folder / "adapter_model.bin"
    try:
        if path.exists() or not old.exists():
            return load_file(path)
        found = torch.load(old, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError) as error:
        raise InputError(f"adapter {folder}: its weights cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"adapter {folder}: {old.name} holds no weights by name")
    return found


def _empty(family: str, base: Path) -> Any:
    from emo.experts.in_process import finetunable
    from emo.finetuning.masking import skeleton
    from emo.finetuning.model import check_family

    check_family(family, base)
    return skeleton(finetunable(family).family, base, trust_remote_code=False)


def _check(source: Path, config: dict[str, Any], state: Mapping[str, Any], model: Any) -> None:
    """Raise InputError unless PEFT has a place of that shape for each weight, and a weight for each place."""
    from peft import LoraConfig, PeftModel
    from peft.utils import get_peft_model_state_dict

    named = {key: value for key, value in config.items() if key in LoraConfig.__dataclass_fields__}
    try:
        wrapped = PeftModel(model, LoraConfig(**named), low_cpu_mem_usage=True)
    except (TypeError, ValueError) as error:
        raise InputError(f"adapter {source}: its target modules do not fit the base: {error}") from None
    wanted = {name: tuple(value.shape) for name, value in get_peft_model_state_dict(wrapped).items()}
    have = {name: tuple(value.shape) for name, value in state.items()}
    if have != wanted:
        odd = sorted(name for name in have.keys() | wanted.keys() if have.get(name) != wanted.get(name))
        first = "; ".join(
            f"{name} is {have.get(name, 'missing')}, expected {wanted.get(name, 'none')}" for name in odd[:3]
        )
        raise InputError(f"adapter {source}: {len(odd)} weights do not fit the base: {first}")
