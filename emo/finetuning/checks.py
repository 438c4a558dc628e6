"""What is looked at before a run starts: the base, and whether TensorBoard files can be written."""

from emo.engines.models import content_of, resolve_model, weight_files
from emo.errors import InputError
from emo.finetuning.model import check_family
from emo.finetuning.settings import Finetune
from emo.store.storage import Storage


def base_here(settings: Finetune) -> str:
    """The mark of the base's content, on this machine; raises InputError with what is missing here."""
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
    return content_of(folder)


def check_tensorboard(place: Storage) -> None:
    """Raise InputError where no TensorBoard files can be written."""
    if place.on_s3:
        raise InputError("finetune.tensorboard writes local files, and OUT is on S3; leave it out")
    try:
        import tensorboardX  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        raise InputError(
            "finetune.tensorboard needs the package tensorboardX: pip install 'emo[tensorboard]'"
        ) from None
