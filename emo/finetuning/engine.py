"""One training step with DeepSpeed: ZeRO, gradient accumulation, clipping, checkpoints that resume."""

from __future__ import annotations

import math
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from emo.errors import EmoError
from emo.experts.in_process import finetunable
from emo.finetuning import parts
from emo.finetuning.collate import Batch
from emo.finetuning.loss import loss_sum, on_device
from emo.finetuning.settings import Finetune

_SHARDS = "ds"
_TAG = "step"
# Of a loss computed again after loading: what rounding of another number of workers can do.
_PROBE_TOLERANCE = {"float32": 1e-3, "bfloat16": 2e-2}


class NotANumberError(EmoError):
    """The loss or the gradient became NaN or infinite."""


@dataclass(frozen=True)
class StepResult:
    """loss: the mean over the trained tokens of all workers; norm: of the gradient before clipping, None
    where DeepSpeed does not say (stage 0); tokens, trained: over all workers.
    """

    loss: float
    norm: float | None
    tokens: int
    trained: int


def initialise_communication(device: str) -> None:
    """Let DeepSpeed use the process group that is there (Ray Train or torchrun made it)."""
    import deepspeed
    import deepspeed.ops

    if device == "cpu":
        # Its shared-memory kernels for CPUs are compiled at first use, which takes half a minute and fails
        # without a C++ compiler; gloo does the same.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend="nccl" if device == "cuda" else "gloo", verbose=False)


def deepspeed_config(settings: Finetune) -> dict[str, Any]:
    """What DeepSpeed is told; the steps' boundaries, learning rate and batches are ours."""
    config: dict[str, Any] = {
        # Nominal: a step has as many passes as its samples need, the boundary is set by hand.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": settings.clip,
        "zero_optimization": {
            "stage": settings.zero,
            "overlap_comm": settings.device == "cuda",
            "contiguous_gradients": True,
            "reduce_bucket_size": 50_000_000,
        },
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 10**9,
    }
    if settings.dtype == "bfloat16":
        config["bf16"] = {"enabled": True}
        # Sums of many micro-batches lose what a bfloat16 cannot hold.
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    return config


class TrainingEngine:
    """A model, its optimizer and DeepSpeed around them, on one worker.

    All methods are called by all workers together.
    """

    def __init__(self, model: Any, preprocessor: Any, settings: Finetune, universal: bool = False) -> None:
        """universal: whether `load` will be given a checkpoint of another number of workers."""
        import deepspeed

        self.settings = settings
        self.model = model
        self._preprocessor = preprocessor
        self.device = (
            torch.device("cuda", torch.cuda.current_device())
            if settings.device == "cuda"
            else (torch.device("cpu"))
        )
        self.dtype = getattr(torch, settings.dtype)
        self.rank, self.workers = dist.get_rank(), dist.get_world_size()
        groups = parts.optimizer_groups(model, settings, finetunable(settings.family).family)
        # Of the rate of a step: a part with a rate of its own follows the same curve.
        self._shares = [group["lr"] / settings.learning_rate for group in groups]
        config = deepspeed_config(settings)
        if universal:
            config["checkpoint"] = {"load_universal": True}
        optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.999), eps=1e-8)
        with redirect_stdout(sys.stderr):
            self.engine, self.optimizer, _, _ = deepspeed.initialize(
                model=model, optimizer=optimizer, config=config
            )
        self._output_layer = _base(model).get_output_embeddings()

    def step(self, batches: Sequence[Batch], rate: float, seed: int) -> StepResult:
        """Train on one step: the same number of batches on every worker, at this learning rate.

        seed: of the dropout, so that a repeated step is the same step. Raises NotANumberError, on all
        workers, before any weight has changed.
        """
        torch.manual_seed(seed * self.workers + self.rank)
        self.engine.train()
        for group, share in zip(self.engine.optimizer.param_groups, self._shares, strict=True):
            group["lr"] = rate * share
        tokens, trained = self._sum([sum(b.tokens for b in batches), sum(b.trained for b in batches)])
        total = torch.zeros((), dtype=torch.float64)
        for number, batch in enumerate(batches):
            self.engine.set_gradient_accumulation_boundary(number + 1 == len(batches))
            summed = self._loss_sum(batch)
            # DeepSpeed averages over the workers: this makes it the mean over all trained tokens.
            self.engine.backward(summed * (self.workers / trained), scale_wrt_gas=False)
            total += summed.detach().double().cpu()
        loss = self._sum([float(total)])[0] / trained
        if not math.isfinite(loss):
            raise NotANumberError("the loss is not a number")
        self.engine.step()
        norm = self.engine.get_global_grad_norm()
        return StepResult(loss, None if norm is None else float(norm), int(tokens), int(trained))

    def evaluate(self, batches: Iterable[Batch]) -> float:
        """The mean loss over the trained tokens of the batches of all workers, without dropout.

        Every worker gives the same number of batches; NaN where none has a trained token.
        """
        self.engine.eval()
        total, count = 0.0, 0
        with torch.no_grad():
            for batch in batches:
                total += float(self._loss_sum(batch))
                count += batch.trained
        summed, trained = self._sum([total, count])
        return summed / trained if trained else float("nan")

    def _loss_sum(self, batch: Batch) -> torch.Tensor:
        inputs, labels = on_device(batch, self._preprocessor, self.device, self.dtype)
        return loss_sum(self.engine, self._output_layer, inputs, labels)

    def _sum(self, values: Sequence[float]) -> list[float]:
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor.cpu()]

    def weights(self, all_of_them: bool = False) -> dict[str, torch.Tensor]:
        """The trained weights, or all, by name on the CPU of worker 0, whole also under ZeRO-3; else {}."""
        import deepspeed

        found: dict[str, torch.Tensor] = {}
        for name, value in self.model.named_parameters():
            if not (all_of_them or value.requires_grad):
                continue
            with deepspeed.zero.GatheredParameters([value], enabled=self.settings.zero == 3):
                if self.rank == 0:
                    found[name] = value.detach().to("cpu", copy=True)
        return found

    def save(self, folder: Path) -> None:
        """Write this worker's part of a checkpoint into `folder/ds`."""
        with redirect_stdout(sys.stderr):
            self.engine.save_checkpoint(str(folder / _SHARDS), tag=_TAG, exclude_frozen_parameters=True)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, or what `to_universal` made of it for another number of workers."""
        with redirect_stdout(sys.stderr):
            path, _ = self.engine.load_checkpoint(
                str(folder / _SHARDS), tag=_TAG, load_module_strict=False, load_lr_scheduler_states=False
            )
        if path is None:
            raise EmoError(f"the checkpoint {folder} cannot be loaded")

    def check_probe(self, batches: Sequence[Batch], expected: float) -> float:
        """Compute the loss of the probe again after loading; raises EmoError where it is another one."""
        found = self.evaluate(batches)
        tolerance = _PROBE_TOLERANCE[self.settings.dtype]
        if not abs(found - expected) <= tolerance * max(1.0, abs(expected)):
            raise EmoError(
                f"the checkpoint was not restored: the loss of its probe is {found:.5f}, "
                f"it was {expected:.5f} when it was saved"
            )
        return found


def _base(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def to_universal(source: Path, target: Path, stage: int) -> None:
    """Make a checkpoint that any number of workers can load; source, target: folders that hold `ds`."""
    if stage == 0:
        # Every worker has the whole optimizer: the files fit any number of workers as they are.
        shutil.copytree(source / _SHARDS, target / _SHARDS, dirs_exist_ok=True)
        return
    from deepspeed.checkpoint import ds_to_universal

    with redirect_stdout(sys.stderr):
        ds_to_universal.main(
            Namespace(
                input_folder=str(source / _SHARDS / _TAG),
                output_folder=str(target / _SHARDS / _TAG),
                num_extract_workers=1,
                num_merge_workers=1,
                keep_temp_folder=False,
                strict=True,
                inject_missing_state=True,
            )
        )
