"""What a user may set for one model that runs in this process."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from emo.marks import NoResult


class ModelSettings(BaseModel):
    """Which checkpoint, where it runs, and how it writes; expert and extractor settings inherit it.

    model: a local folder, an `s3://` folder, or a hub id; revision: of a hub id; adapter: a local or `s3://`
    folder with a LoRA adapter; merge_adapter: add its weights into the base (other rounding, faster) instead
    of keeping them beside it; trust_remote_code: run the Python code that comes with the checkpoint.
    device: where it runs; gpus: a model of several is spread over them layer by layer; dtype: `auto` is
    bfloat16 on CUDA and float32 on a CPU; attention: `sdpa` runs torch's own flash kernels wherever nothing
    is masked, the package flash-attn copies the cache in every masked step.
    template: variables of the checkpoint's chat template, such as `{enable_thinking: false}`.
    max_new_tokens: of one answer, at most, its thought included; top_p: of the likeliest tokens so much
    probability takes part.
    temperature: 0 takes the likeliest token; None is 0 for one sample and 1 for several, because several
    samples at 0 are one sample repeated; repetition_penalty: None takes the checkpoint's own.
    token_budget: tokens (prompts and answers, rows times longest row) held at once, None: what fits the
    memory; prefill_tokens: those of one forward pass over prompts, None: what fits. workers: threads that
    prepare inputs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model: str
    revision: str | None = None
    adapter: str | None = None
    merge_adapter: bool = False
    trust_remote_code: bool = False
    device: NoResult[Literal["cuda", "cpu"]] = "cuda"
    gpus: NoResult[int] = Field(1, ge=1)
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    attention: NoResult[Literal["sdpa", "flash_attention_2", "eager"]] = "sdpa"
    template: dict[str, Any] = {}
    max_new_tokens: int = Field(256, ge=1)
    temperature: float | None = Field(None, ge=0)
    top_p: float = Field(0.9, gt=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0)
    token_budget: NoResult[int | None] = Field(None, ge=1)
    prefill_tokens: NoResult[int | None] = Field(None, ge=1)
    workers: NoResult[int] = Field(2, ge=1)
