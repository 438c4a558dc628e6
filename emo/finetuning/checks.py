"""What is looked at before a run starts: the base, and the adapter that training goes on from."""

from emo.engines.adapters import adapter_mark, check_manifest
from emo.engines.models import content_of, resolve_model, weight_files
from emo.errors import InputError
from emo.experts.in_process import finetunable
from emo.finetuning.masking import skeleton
from emo.finetuning.model import attention_layers, check_family
from emo.finetuning.settings import Finetune
from emo.finetuning.starting import check_start


def base_here(settings: Finetune) -> str:
    """The mark of the content of the base, and of the adapter that training goes on from, on this machine.

    Raises InputError with what is missing here.
    """
    assert settings.model is not None
    if settings.device == "cuda":
        import torch

        if settings.worker_range[1] == 1 and not torch.cuda.is_available():
            raise InputError(
                "finetune.device is 'cuda', but torch sees no CUDA device; set it to 'cpu' to run without one"
            )
    folder = resolve_model(settings.model, settings.revision, settings.trust_remote_code)
    check_family(settings.family, folder)
    weight_files(folder)
    if settings.attention_module is not None:
        attention_layers(
            skeleton(finetunable(settings.family).family, folder, settings.trust_remote_code), settings.family
        )
    if settings.adapter is None:
        return content_of(folder)
    adapter = resolve_model(settings.adapter)
    check_start(adapter, settings)
    check_manifest(adapter, folder)
    return f"{content_of(folder)} and adapter {adapter_mark(adapter)}"
