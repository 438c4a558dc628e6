"""Whether the nodes of a cluster can do a finetuning run: is the base there, is room for its workers."""

from dataclasses import dataclass

from emo.errors import EmoError, InputError
from emo.experts.protocol import Resources
from emo.finetuning.checks import base_here
from emo.finetuning.settings import Finetune
from emo.run import nodes
from emo.store.s3 import S3Settings, use_s3
from emo.terminal.progress import say


def base_on_node(settings: Finetune, s3: S3Settings) -> str:
    """The mark of the base's content, on a node that a training worker fits on.

    Raises InputError with what is missing there; it names the node.
    """
    needed = Resources(cpus=1.0, gpus=1.0 if settings.device == "cuda" else 0.0)
    question = nodes.Question("finetune", needed, _LookAtBase(settings, s3))
    [reply] = nodes.ask([question], say, lambda: None)
    if isinstance(reply, str):
        raise InputError(reply)
    content, fault = reply.answer
    if content is None:
        raise InputError(f"finetune: on node {reply.node}: {fault}")
    return content


@dataclass(frozen=True)
class _LookAtBase:
    """Asks a node for the base; content: the mark of what it holds, or None, and then fault."""

    settings: Finetune
    s3: S3Settings

    def __call__(self) -> tuple[str | None, str]:
        use_s3(self.s3)
        try:
            return base_here(self.settings), ""
        except EmoError as error:
            return None, str(error)


def check_resources(settings: Finetune) -> None:
    """Raise InputError where the cluster never has a place for as many workers as the run needs."""
    import ray

    total = ray.cluster_resources()
    kind, per_worker = ("GPU", 1) if settings.device == "cuda" else ("CPU", 1)
    fewest = settings.worker_range[0]
    # Where an autoscaler is there, the training's own demand brings the nodes.
    if nodes.autoscaler() is None and total.get(kind, 0) < fewest * per_worker:
        raise InputError(
            f"finetune.workers is {fewest} and the cluster has {total.get(kind, 0):g} {kind}s; each worker "
            "needs one"
        )
    gpus = settings.answer_gpus if settings.validation.samples else 0.0
    if nodes.autoscaler() is None and total.get("GPU", 0) < gpus:
        raise InputError(
            f"finetune.validation.gpus is {gpus:g} and the cluster has {total.get('GPU', 0):g} GPUs; a model "
            "that answers held-out samples needs them"
        )
