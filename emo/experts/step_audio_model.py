"""Step-Audio-2-mini (Wu et al. 2025, arXiv 2507.16632): its encoder of sound and its adapter.

The encoder is that of Whisper without a fixed length, and one step of it in two; the adapter halves its steps
again: 12.5 vectors a second stand in the prompt of Qwen2.5-7B. Names and shapes are those of the file.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emo.engines.models import read_config
from emo.engines.published import check, load_layers, shapes_of
from emo.engines.senses import Perceiving
from emo.errors import InputError
from emo.experts.step_audio import PATCH
from emo.media.wave import AUDIO_HZ

CHUNK_S = 25
_WINDOW, _HOP = 400, 160  # samples: 25 and 10 ms
_SILENCE = 479  # samples behind each chunk
_ADAPTER_WIDTH = 2048
_ADAPTER = {"kernel_size": 3, "adapter_stride": 2}
_HEARS, _ADAPTS = "encoder.", "adapter."


def read_configs(folder: Path) -> tuple[Any, dict[str, int]]:
    """The configuration of the language model and that of the encoder.

    Raises InputError where config.json describes another adapter.
    """
    from transformers import Qwen2Config

    given = read_config(folder)
    text, sound = given.get("text_config"), given.get("audio_encoder_config")
    if not isinstance(text, dict) or not isinstance(sound, dict):
        raise InputError(f"{folder}: config.json lacks text_config or audio_encoder_config")
    for key, value in _ADAPTER.items():
        if sound.get(key) != value:
            raise InputError(f"{folder}: audio_encoder_config.{key} is {sound.get(key)}, expected {value}")
    return Qwen2Config(**{"tie_word_embeddings": False, **text}), sound


def check_keys(folder: Path, llm: Any, sound: Mapping[str, int], ignore_unknown: bool) -> tuple[str, ...]:
    """Compare the files with what all parts need; as `check` of emo.engines.published."""
    from transformers import Qwen2ForCausalLM

    with torch.device("meta"):
        expected = shapes_of(Qwen2ForCausalLM(llm))
        for prefix, part in _layers(sound).items():
            expected |= shapes_of(part, prefix)
    return check(folder, expected, ignore_unknown=ignore_unknown)


def _layers(sound: Mapping[str, int]) -> dict[str, nn.Module]:
    return {_HEARS: Encoder(sound), _ADAPTS: Adapter(sound["n_audio_state"], sound["llm_dim"])}


class Attention(nn.Module):
    """Multi-head attention of Whisper: no bias on the keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """states: [B, S, width]; mask: bool [B, 1, 1, S], where there is sound to look at."""
        query, key, value = (
            part(states).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        found = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out(found.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """One layer of the encoder, norms first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(width, heads)
        self.attn_ln = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.mlp_ln = nn.LayerNorm(width)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        states = states + self.attn(self.attn_ln(states), mask)
        return states + self.mlp(self.mlp_ln(states))


class Encoder(nn.Module):
    """sizes: the section audio_encoder_config."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        super().__init__()
        width = sizes["n_audio_state"]
        self.conv1 = nn.Conv1d(sizes["n_mels"], width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.positional_embedding = nn.Embedding(sizes["n_audio_ctx"], width)
        self.blocks = nn.ModuleList(
            Block(width, sizes["n_audio_head"]) for _ in range(sizes["n_audio_layer"])
        )
        self.after_norm = nn.LayerNorm(width)

    def forward(self, mel: Tensor, frames: Tensor) -> Tensor:
        """[B, bands, T] and int64 [B], how many of the T frames are sound, to [B, T / 4, width]."""
        states = nn.functional.gelu(self.conv1(mel))
        states = nn.functional.gelu(self.conv2(states)).transpose(1, 2)
        states = states + self.positional_embedding.weight[: states.shape[1]]
        total = mel.shape[-1]
        # The published mask takes every second frame, and which ones depends on the longest chunk.
        every = torch.arange(total, device=mel.device)[(total + 1) % 2 :: 2]
        mask = every[None] < (frames - 2)[:, None]
        # A chunk of a few samples has nothing to look at: it looks at its own beginning.
        mask[:, 0] = True
        for block in self.blocks:
            states = block(states, mask[:, None, None])
        pooled = nn.functional.avg_pool1d(states.transpose(1, 2), 2, 2).transpose(1, 2)
        return self.after_norm(pooled)


class Adapter(nn.Module):
    """[B, S, width] to [B, S / 2, H]."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.linear1 = nn.Linear(width, _ADAPTER_WIDTH)
        self.linear2 = nn.Linear(_ADAPTER_WIDTH, hidden)

    def forward(self, states: Tensor) -> Tensor:
        states = nn.functional.gelu(self.conv(states.transpose(1, 2))).transpose(1, 2)
        return self.linear2(nn.functional.relu(self.linear1(states)))


def vectors_of(frames: int) -> int:
    """How many vectors stand for a chunk of so many frames."""
    return max(0, ((frames - 1) // 2 // 2 - 1) // 2 + 1)


class StepAudio(Perceiving):
    """The language model behind its encoder.

    mel: float [chunks, bands, T]; frames: int64 [chunks], those that are sound; chunks: int64 [B], how many
    belong to each prompt, in order.
    """

    features = ("mel", "frames", "chunks")

    def __init__(self, llm: Any, encoder: Encoder, adapter: Adapter, placeholders: Mapping[str, int]) -> None:
        super().__init__(llm, placeholders)
        self.encoder = encoder
        self.adapter = adapter

    def vectors(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        sizes = features["chunks"].tolist()
        found: list[Tensor] = []
        # One prompt at a time: the last vector of a chunk depends on how far it is filled up, and that has to
        # be the same whatever other prompts there are.
        for mel, frames in zip(features["mel"].split(sizes), features["frames"].split(sizes), strict=True):
            lengths = frames.tolist()
            heard = self.adapter(self.encoder(mel[..., : max(lengths)], frames))
            found += [one[: vectors_of(length)] for one, length in zip(heard, lengths, strict=True)]
        return {PATCH: torch.cat(found)}


def load_sound(folder: Path, sound: Mapping[str, int], dtype: torch.dtype) -> tuple[Encoder, Adapter]:
    """Encoder and adapter of a checkpoint whose keys have been checked, on the CPU."""
    with torch.device("meta"):
        layers = _layers(sound)
    encoder, adapter = (load_layers(part, folder, prefix, dtype) for prefix, part in layers.items())
    return encoder, adapter


def log_mel(wave: np.ndarray, bands: int) -> Tensor:
    """16 kHz mono, float32 [samples], to float32 [bands, frames], ten milliseconds each."""
    padded = nn.functional.pad(torch.from_numpy(wave), (0, _SILENCE))
    window = torch.hann_window(_WINDOW)
    spectrum = torch.stft(padded, _WINDOW, _HOP, window=window, return_complex=True)[..., :-1]
    found = (_filters(bands) @ spectrum.abs() ** 2).clamp(min=1e-10).log10()
    return (torch.maximum(found, found.max() - 8.0) + 4.0) / 4.0


@cache
def _filters(bands: int) -> Tensor:
    from transformers.audio_utils import mel_filter_bank

    made = mel_filter_bank(
        _WINDOW // 2 + 1, bands, 0.0, AUDIO_HZ / 2, AUDIO_HZ, norm="slaney", mel_scale="slaney"
    )
    return torch.from_numpy(made.T.astype(np.float32))
