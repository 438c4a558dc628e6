"""The model that is trained: base, frozen parts, LoRA."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emo.engines.adapters import DUPLEX
from emo.engines.models import architecture, load_whole, resolve_model
from emo.errors import InputError
from emo.experts.in_process import finetunable
from emo.finetuning import parts
from emo.finetuning.settings import Finetune
from emo.finetuning.starting import load_start


@dataclass(frozen=True)
class Prepared:
    """model: the base with LoRA around it, or the base itself where lora is null; targets: the layers with
    LoRA, by name; trained, total: numbers of parameters; attention: what the manifest tells of duplex
    attention, None without it.
    """

    model: Any
    targets: tuple[str, ...]
    trained: int
    total: int
    attention: dict[str, Any] | None = None


def classes(family: str) -> dict[str, str]:
    """The architectures that a family accepts and the class of transformers that loads each."""
    return dict(finetunable(family).family.classes)


def check_family(family: str, folder: Path) -> str:
    """The architecture of a checkpoint; raises InputError where it is not of the family."""
    try:
        return architecture(folder, classes(family))
    except InputError as error:
        raise InputError(f"finetune.model is not of the family {family!r}: {error}") from None


def prepare(settings: Finetune, folder: Path) -> Prepared:
    """Load the base and make it ready to be trained; raises InputError where that cannot be done.

    With ZeRO-3 every worker first loads the whole base into the memory of its machine; it is partitioned
    after that.
    """
    import torch
    import transformers

    cls = getattr(transformers, classes(settings.family)[check_family(settings.family, folder)])
    dtype = getattr(torch, settings.dtype)
    options: dict[str, Any] = {}
    if settings.quantise:
        options["quantization_config"] = _four_bits(dtype)
    base = load_whole(
        cls,
        folder,
        dtype=dtype,
        attn_implementation=settings.attention,
        trust_remote_code=settings.trust_remote_code,
        **options,
    )
    base.config.use_cache = False
    targets: list[str] = []
    attention = None
    if settings.lora is None:
        parts.freeze_parts(base, settings.freeze, finetunable(settings.family).family)
        model = base
    else:
        model, targets = _with_lora(base, settings)
        if settings.attention_module is not None:
            attention = _connected(base, settings, folder)
    if settings.gradient_checkpointing:
        # After PEFT, which asks every embedding for a gradient where this is on already, and so does
        # transformers: those of the frozen towers too, which then run backward for nothing. The text's alone
        # is enough, see `_asks_for_gradient`.
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        base.disable_input_require_grads()
        base.get_input_embeddings().register_forward_hook(_asks_for_gradient)
    counts = [(value.numel(), value.requires_grad) for value in model.parameters()]
    trained = sum(number for number, wanted in counts if wanted)
    return Prepared(model, tuple(targets), trained, sum(number for number, _ in counts), attention)


def attention_layers(base: Any, family: str) -> list[str]:
    """Where duplex attention goes into a model; raises InputError where it has no place."""
    from emo.engines.duplex_attention import layers

    return layers(base, finetunable(family).family.parts["language"])


def _connected(base: Any, settings: Finetune, folder: Path) -> dict[str, Any]:
    """Let the duplex attention in a model act, and what the manifest tells of it."""
    from emo.engines.duplex_attention import Marks, connect
    from emo.finetuning.masking import Encoder

    trusted = settings.trust_remote_code
    encoder = Encoder(settings.family, folder, max_frames=1, max_tokens=1 << 20, trust_remote_code=trusted)
    marks = Marks(tuple(sorted(encoder.media_tokens)), encoder.end_token, encoder.pad_token)
    connect(base, marks)
    return {"kind": settings.attention_module, **asdict(marks)}


def _asks_for_gradient(module: Any, given: Any, made: Any) -> None:
    """Frozen embeddings give hidden states without a gradient, through which no checkpoint passes one."""
    made.requires_grad_(True)


def _with_lora(base: Any, settings: Finetune) -> tuple[Any, list[str]]:
    import torch
    from peft import LoraConfig, get_peft_model

    lora = settings.lora
    assert lora is not None
    if settings.attention_module is not None:
        from emo.engines.duplex_attention import insert

        insert(base, attention_layers(base, settings.family))
    linears = [name for name, module in base.named_modules() if isinstance(module, torch.nn.Linear)]
    wanted = parts.trained_parts(settings.freeze)
    targets = parts.lora_targets(linears, wanted, finetunable(settings.family).family)
    pattern = parts.target_pattern(targets)
    torch.manual_seed(settings.seed)  # every worker draws the same first weights
    model = get_peft_model(
        base,
        LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            use_rslora=lora.rank_stabilised,
            target_modules=pattern,
            # For mixtures of experts PEFT turns the pattern into the last parts of its names, which stand
            # in the towers too.
            exclude_modules=f"(?!(?:{pattern})$).*",
            bias="none",
            modules_to_save=None if settings.attention_module is None else [DUPLEX],
        ),
    )
    matched = sorted(model.base_model.targeted_module_names)
    if matched != targets:
        raise InputError(f"LoRA was put on {len(matched)} layers instead of {len(targets)}")
    if settings.adapter is not None:
        load_start(model, resolve_model(settings.adapter))
    return model, targets


def _four_bits(dtype: Any) -> Any:
    try:
        import bitsandbytes  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        raise InputError("finetune.quantise needs the package: pip install bitsandbytes") from None
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
