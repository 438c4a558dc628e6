"""LoRA adapters: loaded whole or not at all."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from emo.engines.models import content_of, revision_of
from emo.engines.settings import ModelSettings
from emo.errors import InputError

_log = logging.getLogger(__name__)

# What `emo finetune` writes beside the weights.
MANIFEST = "emo_adapter.json"
# PEFT's two files of an adapter.
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# What is known of the prompt of an adapter that was trained elsewhere: as `prompt_of` gives it, and where
# ms-swift leaves the arguments of a training.
ELSEWHERE = "trained_elsewhere.json"
_SWIFT = "args.json"
# Duplex attention beside a LoRA: its module in every layer, by which PEFT saves it, and the key of the
# manifest that tells which tokens its prompts are made of.
DUPLEX, ATTENTION = "duplex", "attention_module"
# What the configuration of a LoRA says that it is, and what it says instead where duplex attention is beside
# it: PEFT alone would load the LoRA, leave the rest out and say nothing.
LORA, LORA_WITH_DUPLEX = "LORA", "EMO_LORA_WITH_DUPLEX_ATTENTION"


def has_duplex(config: Mapping[str, Any]) -> bool:
    """Whether an adapter of this configuration (PEFT's) has duplex attention beside its LoRA."""
    return config.get("peft_type") == LORA_WITH_DUPLEX


def adapter_mark(folder: Path) -> str:
    """A hash of what an adapter holds."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:16]


def adapter_name(folder: Path, source: str, merged: bool) -> str:
    """What is written beside every text: where the adapter came from, a hash of it, how it was used."""
    revision = json.loads((folder / CONFIG).read_text()).get("revision")
    base = f", base revision {revision}" if revision else ""
    return f"{source}@{adapter_mark(folder)} ({'merged' if merged else 'beside the base'}{base})"


def template_hash(template: str) -> str:
    """The hash of a chat template as a manifest names it."""
    return hashlib.sha256(template.encode()).hexdigest()[:16]


def check_manifest(
    adapter: Path, base: Path, *, template: str | None = None, system: str | None = None
) -> None:
    """Raise InputError where the adapter's manifest says that it was made for something else.

    base: the checkpoint's folder; template, system: what its prompts are made with; None for template leaves
    both unchecked. An adapter without a manifest (made elsewhere) passes: `attach` checks its weights.
    """
    path = adapter / MANIFEST
    if not path.exists():
        return
    try:
        about = json.loads(path.read_text())
        made_for = about["base"]
        same = made_for["revision"] == revision_of(base) or made_for["content"] == content_of(base)
        trained_template, trained_system = about["chat_template"], about["system"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a manifest of an adapter: {error!r}") from error
    if not same:
        raise InputError(
            f"adapter {adapter}: made for {made_for['model']} at revision {made_for['revision']}, "
            f"not for {base} at revision {revision_of(base)}"
        )
    if template is None:
        return
    if trained_template != template_hash(template):
        raise InputError(f"adapter {adapter}: trained with another chat template than that of {base}")
    if trained_system != system:
        raise InputError(
            f"adapter {adapter}: trained with the system prompt {trained_system!r}, "
            f"the expert's `system` is {system!r}"
        )


def frame_budget(folder: Path, max_frames: int | None) -> str | None:
    """A line for a person where what `emo finetune` wrote into this folder was trained on another number of
    frames per clip than the expert shows; None where it fits or nothing is known of it.

    It is no error: a clip may have fewer frames anyway. But the model never saw so many, or so few.
    """
    try:
        trained = json.loads((folder / MANIFEST).read_text())["max_frames"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if max_frames is None or trained == max_frames:
        return None
    return f"{folder} was trained with max_frames {trained}, the expert's max_frames is {max_frames}"


def prompt_of(folder: Path) -> dict[str, str | None]:
    """What is known of the prompt of an adapter that was trained elsewhere; {} where nothing is.

    by: who trained it; template: the name of the chat template there; system: the system turn, None for none.
    """
    for name in (ELSEWHERE, _SWIFT):
        try:
            about = json.loads((folder / name).read_text())
        except (OSError, ValueError):
            continue
        if isinstance(about, dict) and name == _SWIFT:
            return {"by": "ms-swift", "template": about.get("template"), "system": about.get("system")}
        if isinstance(about, dict):
            return about
    return {}


def prompt_note(folder: Path, system: str | None) -> str | None:
    """A line for a person about the prompt of an adapter that `emo finetune` did not make; else None.

    system: the expert's. Nothing is refused: an adapter may do well with another prompt than its own.
    """
    if (folder / MANIFEST).exists() or not (folder / CONFIG).exists():
        return None
    about = prompt_of(folder)
    if not about:
        return f"{folder} was trained elsewhere; how its prompts were written is not known"
    own = about.get("system")
    said = f"{folder} was trained by {about.get('by')} with its template {about.get('template')!r}"
    if own == system:
        return f"{said} and the system turn of the expert"
    return f"{said} and the system turn {own!r}; the expert's `system` is {system!r}"


def check_trained(
    settings: ModelSettings, base: Path, adapter: Path | None, template: Callable[[], str | None]
) -> None:
    """Compare how the model is asked with how it was trained. What is worth a word is logged (`frame_budget`,
    `prompt_note`); raises InputError as `check_manifest` does.

    template: reads the chat template; asked only for an adapter that has a manifest.
    """
    system = getattr(settings, "system", None)
    if adapter is not None and (adapter / MANIFEST).exists():
        check_manifest(adapter, base, template=str(template()), system=system)
    for told in (
        frame_budget(adapter or base, getattr(settings, "max_frames", None)),
        prompt_note(adapter, system) if adapter is not None else None,
    ):
        if told:
            _log.warning(told)


def attach(model: Any, folder: Path, merge: bool) -> Any:
    """The model with the adapter's weights in it, and its duplex attention where it has one.

    Raises InputError that lists the keys where the adapter has weights that the model has no place for, or
    the model has places that the adapter does not fill. Both happen silently in PEFT when module names moved
    between versions of transformers: the model then answers as if it had not been finetuned.
    """
    from peft import LoraConfig, PeftModel
    from peft.utils import get_peft_model_state_dict
    from safetensors import safe_open

    try:
        config = json.loads((folder / CONFIG).read_text())
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            given = set(file.keys())
    except (OSError, ValueError) as error:
        raise InputError(f"adapter {folder}: cannot be read: {error}") from error
    if config.get("peft_type") not in (LORA, LORA_WITH_DUPLEX):
        raise InputError(f"adapter {folder}: peft_type is {config.get('peft_type')!r}; expected 'LORA'")
    marks = None
    if has_duplex(config):
        from emo.engines import duplex_attention

        marks = duplex_attention.told_in(folder / MANIFEST)
        duplex_attention.insert(model, duplex_attention.layers_of(given))
    try:
        # In the base's own precision: in float32 every layer would convert what passes through it.
        wrapped = PeftModel(
            model, LoraConfig.from_peft_type(**{**config, "peft_type": LORA}), autocast_adapter_dtype=False
        )
    except ValueError as error:
        raise InputError(f"adapter {folder}: its target modules do not fit this model: {error}") from error
    expected = set(get_peft_model_state_dict(wrapped))
    problems = [
        f"{len(keys)} {what}: {', '.join(sorted(keys)[:20])}{' ...' if len(keys) > 20 else ''}"
        for what, keys in (
            ("keys that the model needs are missing", expected - given),
            ("keys are unexpected", given - expected),
        )
        if keys
    ]
    if problems:
        raise InputError(f"adapter {folder}: {'; '.join(problems)}")
    try:
        result = wrapped.load_adapter(
            str(folder), adapter_name="default", is_trainable=False, autocast_adapter_dtype=False
        )
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()][1:4]
        raise InputError(f"adapter {folder}: made for another model: {' '.join(lines)} ...") from error
    if result.unexpected_keys:
        raise InputError(f"adapter {folder}: keys are unexpected: {', '.join(result.unexpected_keys)}")
    wrapped.eval()
    made = wrapped.merge_and_unload(safe_merge=True) if merge else wrapped.get_base_model()
    if marks is not None:
        duplex_attention.connect(made, marks)
    return made
