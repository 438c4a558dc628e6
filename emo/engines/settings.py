"""What a user may set for one model that runs in this process."""

from typing import Any, Literal

from pydantic import Field

from emo.engines.vllm_server import VllmSettings
from emo.marks import NoResult
from emo.section import Section


def weights_dtype(dtype: str, device: str, on_cuda: Literal["bfloat16", "float16"] = "bfloat16") -> str:
    """The name of the type of the weights; `auto` is `on_cuda` on CUDA and float32 on a CPU."""
    if dtype != "auto":
        return dtype
    return on_cuda if device == "cuda" else "float32"


class ModelSettings(Section):
    """Which checkpoint, where it runs, and how it writes. Settings of experts and extractors extend it."""

    model: str
    """The checkpoint: a local folder, an `s3://` folder, or a hub id."""
    revision: str | None = None
    """The commit, branch or tag of a hub id."""
    adapter: str | None = None
    """A local or `s3://` folder with a LoRA adapter for the checkpoint."""
    merge_adapter: bool = False
    """Whether the adapter is added into the weights, which is faster and rounds otherwise, or is kept beside
    them.
    """
    trust_remote_code: bool = False
    """Whether the Python code that comes with the checkpoint is run."""
    device: NoResult[Literal["cuda", "cpu"]] = "cuda"
    """Where the model runs."""
    gpus: NoResult[int] = Field(1, ge=1)
    """The number of GPUs of one worker. A model of several is spread over them layer by layer."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """The type of the weights. `auto` is bfloat16 on CUDA and float32 on a CPU."""
    attention: NoResult[Literal["sdpa", "flash_attention_2", "eager"]] = "sdpa"
    """How attention is computed. `sdpa` uses torch's own flash kernels wherever nothing is masked.
    `flash_attention_2` needs the package flash-attn, and copies the cache in every masked step.
    """
    template: dict[str, Any] = Field({})
    """Variables that the checkpoint's chat template is given, such as `{enable_thinking: false}`."""
    max_new_tokens: int = Field(256, ge=1)
    """The most tokens of one answer, its thought included. A longer answer is cut off."""
    temperature: float | None = Field(None, ge=0)
    """How freely the model chooses its words. 0 always takes the likeliest token. `null` is 0 for one sample
    and 1 for several, because several samples at 0 are one sample repeated.
    """
    top_p: float = Field(0.9, gt=0, le=1)
    """Each token is drawn from the likeliest ones, as many as hold this share of the probability. 1 draws
    from all tokens.
    """
    repetition_penalty: float | None = Field(None, gt=0)
    """A number above 1 makes words that were said before less likely. `null` takes the checkpoint's own."""
    token_budget: NoResult[int | None] = Field(None, ge=1)
    """The most tokens that are held at once, as rows times the longest row, prompts and answers together.
    `null` is what fits the memory.
    """
    prefill_tokens: NoResult[int | None] = Field(None, ge=1)
    """The most tokens of prompts in one forward pass. `null` is what fits the memory."""
    workers: NoResult[int] = Field(2, ge=1)
    """The number of threads that prepare inputs."""


class EngineSettings(ModelSettings):
    """A model of transformers that runs in the worker, or in a server that the worker starts."""

    engine: Literal["emo", "vllm"] = "emo"
    """What runs the model. `emo` is the process of the worker. `vllm` is a vLLM server that the worker
    starts.
    """
    vllm: VllmSettings | None = None
    """Where vLLM is, and how its server is started."""

    @property
    def served(self) -> VllmSettings | None:
        """How vLLM is started; None where it does not run the model."""
        return (self.vllm or VllmSettings()) if self.engine == "vllm" else None

    def missing_engine(self) -> list[str]:
        """What the engine lacks beside the checkpoint, one line each; starts nothing."""
        return self.served.missing() if self.served else []
