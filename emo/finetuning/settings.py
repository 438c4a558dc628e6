"""What a user may set for a finetuning run (the section `finetune` of the configuration)."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from emo import marks
from emo.errors import InputError
from emo.experts.in_process import finetunable
from emo.marks import NoResult
from emo.section import Section


class Lora(Section):
    """The matrices that are trained beside the frozen weights."""

    rank: int = Field(16, ge=1, le=512)
    """The rank of the added matrices."""
    alpha: int = Field(32, ge=1)
    """The scale of the added matrices."""
    dropout: float = Field(0.05, ge=0, lt=1)
    """The share of their input that is left out in training."""
    rank_stabilised: bool = False
    """Whether the scale is alpha / sqrt(rank) instead of alpha / rank (arXiv 2312.03732)."""


class Freeze(Section):
    """Parts that are not trained. A part that is not frozen is trained through LoRA, or whole where `lora`
    is `null`.
    """

    vision: bool = True
    """Whether the part that sees, or hears, stays as it is."""
    projector: bool = True
    """Whether what lies between that part and the language model stays as it is."""
    language: bool = False
    """Whether the language model stays as it is."""


class LearningRates(Section):
    """Highest learning rates of single parts. A part without one has `learning_rate`."""

    vision: float | None = Field(None, gt=0)
    """That of the part that sees, or hears."""
    projector: float | None = Field(None, gt=0)
    """That of what lies between that part and the language model."""
    language: float | None = Field(None, gt=0)
    """That of the language model."""


class Source(Section):
    """One of several sources that a run is trained on."""

    data: str = "captions"
    """What is trained on, as in `finetune.data`."""
    weight: float = Field(1.0, gt=0)
    """How often an epoch uses each sample, on the mean. 2 is twice. 0.5 is every second one, and the next
    epoch goes on with the others.
    """
    held_out: str | None = None
    """A second file of the same form with held-out samples."""
    videos: str | None = None
    """The folder with the clips of published captions. `null` is `finetune.videos`."""
    prompt: str | None = None
    """The caption prompt that published captions answer. `null` is `finetune.prompt`."""


class Validation(Section):
    """What is measured on held-out samples."""

    samples: int = Field(64, ge=0)
    """The number of held-out samples that get an answer at every checkpoint. With 0 none does."""
    test_samples: int = Field(256, ge=0)
    """The number of samples of the split `test` that the base and the best adapter answer at the end. With 0
    none is. No choice depends on them.
    """
    loss_samples: int = Field(256, ge=1)
    """The number of held-out samples over which the loss is taken."""
    max_new_tokens: int = Field(256, ge=1)
    """The most tokens of one answer."""
    gpus: float | None = Field(None, ge=0)
    """The GPUs that the answers need. A share of one is possible. `null` is one where the model is trained
    on CUDA, and the answers wait until one is free.
    """
    extract: str = "rules"
    """The kind of the extractor that reads the answers."""


class Wandb(Section):
    """A project of Weights and Biases. The key is read from `WANDB_API_KEY`, or from where `wandb login` put
    it, on the machine of the command.
    """

    project: str
    """The project that the run is shown in."""
    entity: str | None = None
    """The person or team of the project. `null` is that of the key."""


class Mlflow(Section):
    """An experiment of MLflow. Names and passwords are read from MLflow's own variables on the machine of the
    command.
    """

    uri: str
    """The address of the server, or where MLflow keeps its files."""
    experiment: str = "emo"
    """The experiment that the run is shown in. It is made where it is not there."""


class Gate(Section):
    """What an adapter must reach on held-out samples before it is promoted."""

    min_f1: float = Field(0.0, ge=0, le=1)
    """The lowest F1 of its labels."""
    max_parse_failures: float = Field(0.1, ge=0, le=1)
    """The largest share of answers without a label."""
    better_than_base: bool = True
    """Whether its F1 must be above that of the base."""


class Finetune(Section):
    """What `emo finetune` trains an adapter on, and how."""

    family: str = "internvl"
    """The kind of the expert that the adapter is for: one with a chat model that runs in the process of the
    worker.
    """
    model: str | None = None
    """The base: a local folder or a hub id."""
    revision: str | None = None
    """The commit, branch or tag of a hub id."""
    trust_remote_code: bool = False
    """Whether the Python code that comes with the base is run."""
    adapter: str | None = None
    """A local or `s3://` folder with a LoRA adapter of this base. Training goes on from it, and what it makes
    must be better than it. It has the rank and the layers that are set here.
    """
    data: str | tuple[Source, ...] = "captions"
    """What is trained on, or a list of sources. `captions` is the table of OUT. A file holds chats (JSONL,
    JSON or Parquet), or captions that others published (CSV or JSON: MER-Caption, OV-MERD, EMER, MERR) about
    the clips in the folder `videos`. A folder holds such files as hubs hand them out.
    """
    held_out: str | None = None
    """A second file of the same form with held-out samples."""
    held_out_share: float = Field(0.0, ge=0, lt=1)
    """The share of the samples of files that is held out where no file of them is given. Samples about one
    medium, or about pictures of one folder, stay together.
    """
    videos: str | None = None
    """The folder with the clips of published captions."""
    prompt: str = "person"
    """The caption prompt that published captions answer."""
    label_question: float = Field(0.5, ge=0, le=1)
    """The share of captions of the whole person (prompts `person` and `person-with-label`) that are trained
    as answers to the question that `emo label` asks. The others answer the question of their prompt. Chats
    of files stay as they are.
    """
    other_senses: bool = False
    """Whether answers are trained on that speak of what the family cannot sense, such as a voice where it is
    given pictures alone.
    """
    system: str | None = None
    """The system turn. `null` is what the chat template does without one."""
    max_frames: int = Field(8, ge=1)
    """The most frames of a clip, as the expert shows them."""
    max_tokens: int = Field(4096, ge=16)
    """The most tokens of a sample. A longer one is refused, never cut."""
    lora: Lora | None = Lora()
    """The matrices that are trained. With `null` the parts that are not frozen are trained whole."""
    attention_module: Literal["moda"] | None = None
    """An experiment: what is trained beside the LoRA in each layer of attention of the language model. `moda`
    is a reconstruction of MODA's duplex attention between the media and the words of a prompt. Only emo can
    use such an adapter. It cannot be merged.
    """
    freeze: Freeze = Freeze()
    quantise: bool = False
    """Whether the base is held in 4 bits. It needs CUDA."""
    device: Literal["cuda", "cpu"] = "cuda"
    """Where the model is trained."""
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """The type that is computed in. `auto` is bfloat16 on CUDA and float32 on a CPU."""
    attention: Literal["sdpa", "flash_attention_2", "eager"] = "sdpa"
    """How attention is computed, as for experts."""
    gradient_checkpointing: bool = True
    """Whether activations are computed again instead of kept. It is slower and needs less memory."""
    zero: Literal[0, 1, 2, 3] = 2
    """The stage of DeepSpeed's ZeRO."""
    workers: NoResult[int | tuple[int, int]] = 1
    """The number of processes that train, or `[min, max]` for as many as the cluster has room for."""
    epochs: int = Field(1, ge=1)
    """The number of passes over the data."""
    max_steps: int | None = Field(None, ge=1)
    """The step after which the run ends at the latest."""
    batch: int = Field(16, ge=1)
    """The number of samples of a step, over all workers."""
    batch_tokens: NoResult[int] = Field(8192, ge=16)
    """The most padded tokens of one forward pass of one worker."""
    learning_rate: float = Field(4e-5, gt=0)
    """The highest learning rate of the run."""
    learning_rates: LearningRates = LearningRates()
    """Those of single parts."""
    warmup_share: float = Field(0.03, ge=0, lt=1)
    """The share of all steps until that rate is reached."""
    weight_decay: float = Field(0.05, ge=0)
    """The weight decay of AdamW."""
    clip: float = Field(1.0, gt=0)
    """The largest norm of a gradient."""
    seed: int = 0
    """The seed of the order of samples and of all other random numbers."""
    save_every: NoResult[int] = Field(200, ge=1)
    """The number of steps between checkpoints."""
    max_failures: NoResult[int] = Field(3, ge=0)
    """How often a run starts again after a worker died."""
    data_workers: NoResult[int] = Field(1, ge=1)
    """The number of processes per worker that read and tokenise ahead."""
    validation: NoResult[Validation] = Validation()
    gate: NoResult[Gate] = Gate()
    tensorboard: NoResult[bool] = False
    """Whether event files are written to OUT/finetune/NAME/tensorboard."""
    wandb: NoResult[Wandb | None] = None
    """The project of Weights and Biases that shows the run."""
    mlflow: NoResult[Mlflow | None] = None
    """The experiment of MLflow that shows the run."""

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
        if self.attention_module is not None and (self.lora is None or self.freeze.language):
            raise ValueError(
                "attention_module: it is trained beside a LoRA of the language model; set lora, and "
                "freeze.language to false"
            )
        if self.adapter is not None and self.lora is None:
            raise ValueError("adapter: training goes on from a LoRA; set lora")
        if not isinstance(self.data, str):
            named = [one.data for one in self.data]
            if not named:
                raise ValueError("data: the list of sources is empty")
            if len(set(named)) < len(named):
                raise ValueError("data: a source is named twice; give it a weight instead")
            if self.held_out is not None:
                raise ValueError("held_out: with several sources each names its own file")
        for part, rate in self.learning_rates:
            if rate is not None and getattr(self.freeze, part):
                raise ValueError(f"learning_rates.{part}: freeze.{part} is true, the part is not trained")
        fewest, most = self.worker_range
        if fewest < 1 or most < fewest:
            raise ValueError("workers: expected a whole number of at least 1, or [min, max]")
        return self

    @property
    def sources(self) -> tuple[Source, ...]:
        """What the run is trained on, one or several, with all that concerns each."""
        if isinstance(self.data, str):
            return (Source(data=self.data, held_out=self.held_out, videos=self.videos, prompt=self.prompt),)
        own = {"videos": self.videos, "prompt": self.prompt}
        return tuple(
            one.model_copy(update={key: getattr(one, key) or value for key, value in own.items()})
            for one in self.data
        )

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
