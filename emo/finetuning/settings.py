"""What a user may set for a finetuning run (the section `finetune` of the configuration)."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from emo import marks
from emo.errors import InputError
from emo.experts.in_process import finetunable
from emo.marks import NoResult


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Lora(_Section):
    """rank: of the added matrices; alpha: their scale; dropout: share of their input that is left out in
    training; rank_stabilised: scale by alpha / sqrt(rank) instead of alpha / rank (arXiv 2312.03732).
    """

    rank: int = Field(16, ge=1, le=512)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.05, ge=0, lt=1)
    rank_stabilised: bool = False


class Freeze(_Section):
    """Parts that are not trained. A part that is not frozen is trained through LoRA, or whole where lora is
    null.

    vision: what sees and what hears; projector: what lies between it and the language part; language: the
    language part.
    """

    vision: bool = True
    projector: bool = True
    language: bool = False


class Validation(_Section):
    """What is measured on held-out samples.

    samples: so many of them get an answer at every checkpoint, 0: none; loss_samples: over so many the loss
    is taken; max_new_tokens: of one answer, at most; gpus: how many the answers need (a share is possible),
    None: one where it trains on CUDA, and answers wait until one is free; extract: the kind of the extractor
    that reads them.
    """

    samples: int = Field(64, ge=0)
    loss_samples: int = Field(256, ge=1)
    max_new_tokens: int = Field(256, ge=1)
    gpus: float | None = Field(None, ge=0)
    extract: str = "rules"


class Gate(_Section):
    """What an adapter must reach on held-out samples before it is promoted.

    min_f1: F1 of its labels, at least; max_parse_failures: share of answers without a label, at most;
    better_than_base: its F1 must be above that of the base.
    """

    min_f1: float = Field(0.0, ge=0, le=1)
    max_parse_failures: float = Field(0.1, ge=0, le=1)
    better_than_base: bool = True


class Finetune(_Section):
    """What `emo finetune` trains an adapter on, and how.

    family: the kind of the expert that the adapter is for, one with a chat model in
    this process; model: the base, a folder or a hub id; revision: of a hub id;
    data: `captions` for the table of OUT, a file of chats (JSONL, JSON or Parquet), a folder of such files as
    hubs hand them out, or captions that others published (CSV or JSON: MER-Caption, OV-MERD, EMER, MERR)
    about the clips in the folder `videos`, as answers to the caption prompt `prompt`; videos: the folder with
    the clips of published captions; prompt: the caption prompt that these answer; held_out: a second such
    file; other_senses: train also on answers that speak of what the family cannot sense, such as a voice
    where it is given pictures alone; trust_remote_code: run the Python code that comes with the base; system:
    the system turn, None for what the chat template does without one.

    max_frames: frames per clip, as the expert shows them; max_tokens: longer samples are refused, never cut;
    seed: decides the order of the samples and all other random numbers.
    epochs: passes over the data; max_steps: the run ends there at the latest; learning_rate: the highest of
    the run; warmup_share: share of all steps until the learning rate is reached; weight_decay: that of AdamW;
    clip: the largest norm of a gradient.
    device: where it trains; precision: `auto` is bfloat16 on CUDA and float32 on a CPU; attention: as for
    experts; gradient_checkpointing: compute again instead of keeping, slower with less memory;
    max_failures: how often the run starts again after a worker died.
    lora: `null` trains the parts that are not frozen whole. quantise: the base in 4 bits (CUDA only).
    zero: the stage of DeepSpeed's ZeRO. workers: processes, or [min, max] for as many as the cluster has.
    batch: samples per step over all workers; batch_tokens: padded tokens of one forward pass of one worker.
    tensorboard: write event files to OUT/finetune/NAME/tensorboard.
    save_every: steps between checkpoints; data_workers: processes per worker that read and tokenise ahead.
    """

    family: str = "internvl"
    model: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    data: str = "captions"
    held_out: str | None = None
    videos: str | None = None
    prompt: str = "person"
    other_senses: bool = False
    system: str | None = None
    max_frames: int = Field(8, ge=1)
    max_tokens: int = Field(4096, ge=16)
    lora: Lora | None = Lora()
    freeze: Freeze = Freeze()
    quantise: bool = False
    device: Literal["cuda", "cpu"] = "cuda"
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    attention: Literal["sdpa", "flash_attention_2", "eager"] = "sdpa"
    gradient_checkpointing: bool = True
    zero: Literal[0, 1, 2, 3] = 2
    workers: NoResult[int | tuple[int, int]] = 1
    epochs: int = Field(1, ge=1)
    max_steps: int | None = Field(None, ge=1)
    batch: int = Field(16, ge=1)
    batch_tokens: NoResult[int] = Field(8192, ge=16)
    learning_rate: float = Field(4e-5, gt=0)
    warmup_share: float = Field(0.03, ge=0, lt=1)
    weight_decay: float = Field(0.05, ge=0)
    clip: float = Field(1.0, gt=0)
    seed: int = 0
    save_every: NoResult[int] = Field(200, ge=1)
    max_failures: NoResult[int] = Field(3, ge=0)
    data_workers: NoResult[int] = Field(1, ge=1)
    validation: NoResult[Validation] = Validation()
    gate: NoResult[Gate] = Gate()
    tensorboard: NoResult[bool] = False

    @field_validator("family")
    @classmethod
    def _trained(cls, value: str) -> str:
        try:
            finetunable(value)
        except InputError as error:
            raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _possible(self) -> "Finetune":
        if self.freeze.vision and self.freeze.projector and self.freeze.language:
            raise ValueError("freeze: vision, projector and language are all frozen, nothing is trained")
        if self.quantise and self.device == "cpu":
            raise ValueError("quantise: 4-bit weights need device cuda")
        if self.quantise and self.lora is None:
            raise ValueError("quantise: 4-bit weights cannot be trained themselves; set lora")
        if self.quantise and self.zero == 3:
            raise ValueError("quantise: 4-bit weights cannot be partitioned; use zero 0, 1 or 2")
        fewest, most = self.worker_range
        if fewest < 1 or most < fewest:
            raise ValueError("workers: expected a whole number of at least 1, or [min, max]")
        return self

    @property
    def worker_range(self) -> tuple[int, int]:
        """Fewest and most workers."""
        return (self.workers, self.workers) if isinstance(self.workers, int) else self.workers

    @property
    def answer_gpus(self) -> float:
        """How many GPUs a model holds that answers held-out samples."""
        if self.validation.gpus is not None:
            return self.validation.gpus
        return 1.0 if self.device == "cuda" else 0.0

    @property
    def dtype(self) -> str:
        """The precision by its name in torch."""
        if self.precision == "auto":
            return "bfloat16" if self.device == "cuda" else "float32"
        return self.precision


def differences(before: dict[str, object], now: dict[str, object]) -> list[str]:
    """What differs between two runs' settings (`model_dump(mode="json")`), one text for each key."""
    return marks.differences(marks.deciding(before, Finetune), marks.deciding(now, Finetune))
