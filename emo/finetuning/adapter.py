"""The result of a run as a folder: weights, a manifest of what they fit, a card; promotion and merging."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from emo.engines.adapters import (
    ATTENTION,
    CONFIG,
    LORA_WITH_DUPLEX,
    MANIFEST,
    WEIGHTS,
    attach,
    check_manifest,
    template_hash,
)
from emo.engines.models import content_of, revision_of
from emo.errors import EmoError, InputError
from emo.finetuning.model import check_family, classes
from emo.finetuning.settings import Finetune, Gate

PROMOTION = "promotion.json"
_VERSIONS = ("emo", "torch", "transformers", "peft", "deepspeed", "ray")
# Largest difference of scores that merging may make, as a share of their spread.
_MERGE_TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}


def key_hash(names: Sequence[str]) -> str:
    """A hash of the names of weights."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]


def manifest(
    name: str,
    settings: Finetune,
    base: Path,
    *,
    targets: Sequence[str],
    template: str,
    data: Mapping[str, Any],
    step: int,
    metrics: Mapping[str, Any],
    attention: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What an adapter was made of, as plain values; `keys` is filled in when the weights are written.

    template: the chat template's text; data: fingerprint and counts; metrics: at the end of the step;
    attention: of duplex attention, see Prepared.
    """
    return {
        "format": 1,
        "name": name,
        "family": settings.family,
        "kind": "full" if settings.lora is None else "lora",
        "base": {
            "model": settings.model,
            "revision": revision_of(base),
            "content": content_of(base),
            "architecture": check_family(settings.family, base),
        },
        "versions": {package: version(package) for package in _VERSIONS},
        "target_modules": list(targets),
        ATTENTION: None if attention is None else dict(attention),
        "chat_template": template_hash(template),
        "system": settings.system,
        "max_frames": settings.max_frames,
        "data": dict(data),
        "seed": settings.seed,
        "settings": settings.model_dump(mode="json"),
        "step": step,
        "metrics": dict(metrics),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_adapter(folder: Path, model: Any, weights: Mapping[str, Any], about: dict[str, Any]) -> None:
    """Write PEFT's two files, the manifest and the card; weights: by the names of the model's parameters.

    Raises EmoError where a weight is missing or empty: an adapter that was not gathered loads silently and
    does nothing.
    """
    from peft.utils import get_peft_model_state_dict
    from safetensors.torch import save_file

    state = {
        name: value.contiguous()
        for name, value in get_peft_model_state_dict(model, state_dict=dict(weights)).items()
    }
    expected = set(get_peft_model_state_dict(model))
    empty = sorted(name for name in expected if name not in state or state[name].numel() == 0)
    if empty or not expected:
        raise EmoError(f"the adapter's weights are not there: {', '.join(empty[:5]) or 'none at all'}")
    folder.mkdir(parents=True)
    config = model.peft_config["default"]
    config.base_model_name_or_path = about["base"]["model"]
    config.revision = about["base"]["revision"]
    config.inference_mode = True
    # By name: SGLang reads which kinds of layers an adapter has out of a list, and takes no pattern.
    config.target_modules, config.exclude_modules = list(about["target_modules"]), None
    config.save_pretrained(folder)
    if about.get(ATTENTION):
        named = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps({**named, "peft_type": LORA_WITH_DUPLEX}, indent=2))
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    _write_about(folder, {**about, "keys": key_hash(list(state)), "weights": len(state)})


def write_model(
    folder: Path, model: Any, weights: Mapping[str, Any], base: Path, about: dict[str, Any]
) -> None:
    """Write a whole checkpoint (lora is null): all weights, and processor and template of the base."""
    empty = sorted(name for name, value in weights.items() if value.numel() == 0)
    if empty or not weights:
        raise EmoError(f"the model's weights are not there: {', '.join(empty[:5]) or 'none at all'}")
    folder.mkdir(parents=True)
    for path in sorted(base.iterdir()):
        if path.is_file() and path.suffix != ".safetensors" and path.name != "model.safetensors.index.json":
            shutil.copy(path, folder / path.name)
    model.config.use_cache = True
    model.save_pretrained(folder, state_dict=dict(weights))
    model.config.use_cache = False
    _write_about(folder, {**about, "keys": key_hash(list(weights)), "weights": len(weights)})


def _write_about(folder: Path, about: dict[str, Any]) -> None:
    (folder / MANIFEST).write_text(json.dumps(about, indent=1, ensure_ascii=False))
    (folder / "README.md").write_text(card(about))


def card(about: Mapping[str, Any]) -> str:
    """The README of an adapter, with the front matter that model hubs read."""
    settings, base, data = about["settings"], about["base"], about["data"]
    lora = settings["lora"]
    how = f"LoRA, rank {lora['rank']}, alpha {lora['alpha']}" if lora else "all weights of the parts below"
    own = (
        "It has duplex attention beside its LoRA, an experiment. Only emo can use it.\n\n"
        if about.get(ATTENTION)
        else ""
    )
    parts = ", ".join(part for part, frozen in settings["freeze"].items() if not frozen)
    figures = "\n".join(f"- {key}: {_figure(value)}" for key, value in sorted(about["metrics"].items()))
    return (
        f"---\nbase_model: {base['model']}\nlibrary_name: {'peft' if lora else 'transformers'}\n"
        "tags:\n- emotion\n- video\n---\n\n"
        f"# {about['name']}\n\n"
        f"Describes how the person in a clip feels: {base['architecture']} finetuned by emo ({how}; trained: "
        f"{parts}).\n\n"
        f"Base: `{base['model']}`, revision `{base['revision']}`. It fits no other base.\n\n{own}"
        f"Data: {data.get('train', 0)} samples to train on and {data.get('held_out', 0)} held out, "
        f"fingerprint `{data['fingerprint']}`. Step {about['step']}, seed {about['seed']}, "
        f"{about['max_frames']} frames per clip.\n\n"
        f"## Figures on held-out samples\n\n{figures or '- none'}\n\n"
        "## Limits\n\nIt writes what captions like those of its data say. It names feelings that can be seen "
        "or heard, not those that a person has. Licence and limits of the base apply.\n"
    )


def _figure(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder that a run wrote; raises InputError where there is none."""
    try:
        return dict(json.loads((folder / MANIFEST).read_text()))
    except FileNotFoundError:
        raise InputError(f"{folder} holds no {MANIFEST}; it was not made by emo finetune") from None
    except ValueError as error:
        raise InputError(f"{folder / MANIFEST} is not JSON: {error}") from None


def gate_failures(metrics: Mapping[str, Any], base: Mapping[str, Any] | None, gate: Gate) -> list[str]:
    """Why an adapter with these figures is not promoted, one text each; [] where it is.

    metrics: of the adapter (f1, parse_failures); base: of the model that it was made from, on the same rows.
    """
    if "f1" not in metrics:
        why = metrics.get("not_answered", "no held-out sample was answered")
        return [f"it has no label F1: {why}"]
    reasons = []
    if metrics["f1"] < gate.min_f1:
        reasons.append(f"label F1 is {metrics['f1']:.3f}, gate.min_f1 is {gate.min_f1:g}")
    if metrics["parse_failures"] > gate.max_parse_failures:
        reasons.append(
            f"{metrics['parse_failures']:.1%} of its answers give no label, "
            f"gate.max_parse_failures is {gate.max_parse_failures:.1%}"
        )
    if gate.better_than_base:
        if base is None or "f1" not in base:
            reasons.append("the base has no figures to be better than")
        elif metrics["f1"] <= base["f1"]:
            reasons.append(f"label F1 is {metrics['f1']:.3f}, the base without it has {base['f1']:.3f}")
    return reasons


def merge(adapter: Path, base: Path, target: Path, dtype: str = "float32") -> float:
    """Write base plus adapter as one checkpoint; the largest difference of scores that this made.

    The merged folder is loaded again and compared with the adapter beside its base on a prompt with every
    medium of the family. The difference is a share of the scores' spread. Raises InputError where the adapter
    does not fit or `target` exists, EmoError (and leaves no folder) where the difference is too large.
    """
    # DeepSpeed, which PEFT imports, writes its warnings to standard output; that is for results.
    with redirect_stdout(sys.stderr):
        return _merge(adapter, base, target, dtype)


def _merge(adapter: Path, base: Path, target: Path, dtype: str) -> float:
    import torch
    import transformers

    from emo.finetuning.collate import collate
    from emo.finetuning.loss import on_device
    from emo.finetuning.masking import Encoder

    about = read_manifest(adapter)
    if about["kind"] != "lora":
        raise InputError(f"{adapter} is a whole model, there is nothing to merge")
    if about.get(ATTENTION):
        raise InputError(
            f"{adapter} has duplex attention (finetune.attention_module), which no change of the base's "
            "weights can do: it cannot be merged. Name it as the `adapter` of an expert"
        )
    check_manifest(adapter, base)
    if target.exists():
        raise InputError(f"{target} exists already")
    family = about["family"]
    cls = getattr(transformers, classes(family)[check_family(family, base)])
    encoder = Encoder(family, base, max_frames=about["max_frames"], max_tokens=1 << 20)
    kind = getattr(torch, dtype)
    batch = collate([encoder.dummy()], encoder.preprocessor, encoder.pad_token, None)
    inputs, _ = on_device(batch, encoder.preprocessor, torch.device("cpu"), kind)

    def scores(model: Any) -> Any:
        with torch.inference_mode():
            return model.eval()(**inputs, use_cache=False).logits.float()

    beside = scores(attach(cls.from_pretrained(base, dtype=kind), adapter, merge=False))
    merged = attach(cls.from_pretrained(base, dtype=kind), adapter, merge=True)
    partial = target.with_name(f"{target.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    weights = dict(merged.state_dict())
    tied = getattr(merged, "_tied_weights_keys", None) and merged.config.tie_word_embeddings
    write_model(
        partial,
        merged,
        {name: value for name, value in weights.items() if not (tied and name == "lm_head.weight")},
        base,
        {**about, "kind": "merged", "target_modules": []},
    )
    again = scores(cls.from_pretrained(partial, dtype=kind))
    difference = float((again - beside).abs().max() / beside.std())
    if not difference <= _MERGE_TOLERANCE[dtype]:
        shutil.rmtree(partial)
        raise EmoError(
            f"merged and unmerged scores differ by {difference:.2g} of their spread, "
            f"{_MERGE_TOLERANCE[dtype]:g} is allowed in {dtype}; nothing was written"
        )
    partial.replace(target)
    return difference
