"""Choosing the next token so that a row's text depends on the row alone."""

import hashlib
from dataclasses import dataclass

import torch

NOT_A_NUMBER = -1  # in place of a token where the model's scores were NaN


@dataclass(frozen=True)
class Sampling:
    """temperature: 0 takes the likeliest token; top_p: the nucleus; repetition_penalty: 1 is none."""

    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0


def row_seed(seed: int, name: str, video_id: str, sample: int) -> int:
    """The seed of one sample of one row: the same whatever the batch, the worker or the order."""
    digest = hashlib.sha256(f"{seed}\0{name}\0{video_id}\0{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def row_uniforms(seed: int, count: int) -> torch.Tensor:
    """The random numbers of one row, float64 in [0, 1), shape [count]; drawn on the CPU for every device."""
    return torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pick(
    logits: torch.Tensor, uniforms: torch.Tensor, sampling: Sampling, seen: torch.Tensor | None
) -> torch.Tensor:
    """The next token of each row.

    logits: [rows, vocabulary]; uniforms: [rows] in [0, 1), one draw per row; seen: [rows, vocabulary] bool,
    the tokens of prompt and answer so far, needed for a repetition penalty only. Returns int64 [rows], and
    NOT_A_NUMBER for a row whose scores are NaN. The draw walks the cumulative distribution in the order of
    the vocabulary: rounding then moves a boundary by as much as itself, where an order by probability could
    swap two tokens.
    """
    logits = logits.float()
    broken = logits.isnan().any(dim=-1)
    if sampling.repetition_penalty != 1.0 and seen is not None:
        penalised = torch.where(
            logits < 0, logits * sampling.repetition_penalty, logits / sampling.repetition_penalty
        )
        logits = torch.where(seen, penalised, logits)
    if sampling.temperature == 0.0:
        return logits.argmax(dim=-1).masked_fill(broken, NOT_A_NUMBER)
    probabilities = torch.softmax(logits.nan_to_num() / sampling.temperature, dim=-1)
    if sampling.top_p < 1.0:
        ordered = probabilities.sort(dim=-1, descending=True).values
        inside = ordered.cumsum(dim=-1) - ordered < sampling.top_p
        smallest = ordered.masked_fill(~inside, torch.inf).amin(dim=-1, keepdim=True)
        probabilities = probabilities.masked_fill(probabilities < smallest, 0.0)
    cumulative = probabilities.double().cumsum(dim=-1)
    target = uniforms.to(cumulative)[:, None] * cumulative[:, -1:]
    token = torch.searchsorted(cumulative, target, right=True).squeeze(-1)
    return token.clamp(max=logits.shape[-1] - 1).masked_fill(broken, NOT_A_NUMBER)
