"""AffectGPT (Lian et al. 2025, arXiv 2501.16566): its checkpoint, its encoders and its fusion.

The published file holds the trained weights only, over three base models: CLIP ViT-L/14 (C = 768, the size
of its projection), chinese-hubert-large (A = 1024, its hidden size) and Qwen2.5-7B-Instruct (H = 3584). Two
frozen encoders give eight vectors each, attention pooling and a pre-fusion turn them into three vectors of
the size of the language model, and these stand for three words of the prompt.
"""

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emo.engines.pickled import read_pth, weights_in
from emo.engines.senses import WithSenses
from emo.errors import InputError
from emo.media.wave import AUDIO_HZ

STEPS = 8  # frames, and windows of sound, per clip
SIDE = 224  # pixels
WINDOW_S = 2
LORA_ALPHA = 32.0  # fixed in the published training, not written in the file
ENCODER_CHUNK = 32  # images or windows at a time: HuBERT's first layer takes 13 MB per window

# In the order in which the published tokenizer adds them.
PLACEHOLDERS = ("<ImageHere>", "<AudioHere>", "<FrameHere>", "<FaceHere>", "<MultiHere>")

_LORA_PREFIX = "llama_model.base_model.model."
_QFORMER_MARKS = ("_Qformer.", "_query_tokens", "_position_embedding")


def uniform_indices(count: int) -> list[int]:
    """Which of `count` images are used: eight, evenly from the first; the last one repeated if too few."""
    if count < 1:
        raise ValueError("no images to choose from")
    wanted = min(STEPS, count)
    indices = [int(i) for i in np.arange(0, count, count / wanted)]
    return indices + [indices[-1]] * (STEPS - wanted)


def windows_of_sound(samples: np.ndarray) -> np.ndarray:
    """Eight windows of 2 s from 16 kHz mono, float32 [8, 32000].

    They start at equal distances from 0 to duration - 2 s (and so overlap where the sound is shorter than
    16 s); shorter sound is padded with zeros. Fractions as in the published sampler decide the rounding.
    """
    length = WINDOW_S * AUDIO_HZ
    if len(samples) < length:
        samples = np.pad(samples, (0, length - len(samples)))
    last = Fraction(max(len(samples) / AUDIO_HZ - WINDOW_S, 0))
    starts = [int(last / (STEPS - 1) * step * AUDIO_HZ) for step in range(STEPS)]
    return np.stack([samples[start : start + length] for start in starts]).astype(np.float32)


class Fusion(nn.Module):
    """The trained layers outside the language model, named as in the file (section 3.3 of the paper).

    vision, audio, hidden: C, A and H. None of the attention weights goes through a softmax, and nothing but
    linear layers stands between them, as trained.
    """

    def __init__(self, vision: int, audio: int, hidden: int) -> None:
        super().__init__()
        merged = max(vision, audio)
        self.image_llama_proj = nn.Linear(vision, hidden)  # for still images; no part of a video's path
        self.video_attention_mlp = nn.Linear(vision, 1)
        self.affectgpt_proj = nn.Linear(vision, hidden)
        self.audio_attention_mlp = nn.Linear(audio, 1)
        self.audio_llama_proj = nn.Linear(audio, hidden)
        self.multi_audio_embs = nn.Linear(audio, merged)
        self.multi_video_embs = nn.Linear(vision, merged)
        self.attention_mlp = nn.Linear(2 * merged, merged)
        self.fc_att = nn.Linear(merged, 2)
        self.multi_llama_proj = nn.Linear(merged, hidden)

    def video(self, seen: Tensor) -> Tensor:
        """[B, 8, C] to [B, H]."""
        return self.affectgpt_proj((seen * self.video_attention_mlp(seen)).sum(dim=1))

    def audio(self, heard: Tensor) -> Tensor:
        """[B, 8, A] to [B, H]."""
        return self.audio_llama_proj((heard * self.audio_attention_mlp(heard)).sum(dim=1))

    def multi(self, seen: Tensor, heard: Tensor) -> Tensor:
        """[B, 8, C] and [B, 8, A] to [B, H]."""
        video = self.multi_video_embs(seen.mean(dim=1))
        audio = self.multi_audio_embs(heard.mean(dim=1))
        share = self.fc_att(self.attention_mlp(torch.cat([video, audio], dim=1)))
        return self.multi_llama_proj(share[:, :1] * video + share[:, 1:] * audio)


@dataclass(frozen=True)
class Checkpoint:
    """The trained weights. fusion: by key; lora: (A [r, in], B [out, r]) by module of the language model."""

    fusion: Mapping[str, Tensor]
    lora: Mapping[str, tuple[Tensor, Tensor]]
    rank: int
    ignored: tuple[str, ...]


def lora_modules(llm: Any) -> dict[str, tuple[int, int]]:
    """The seven linear layers of every block that the LoRA covers, with (in, out), from a Qwen2 config."""
    hidden, inner = llm.hidden_size, llm.intermediate_size
    head = getattr(llm, "head_dim", None) or hidden // llm.num_attention_heads
    queries, keys = llm.num_attention_heads * head, llm.num_key_value_heads * head
    sizes = {
        "self_attn.q_proj": (hidden, queries),
        "self_attn.k_proj": (hidden, keys),
        "self_attn.v_proj": (hidden, keys),
        "self_attn.o_proj": (queries, hidden),
        "mlp.gate_proj": (hidden, inner),
        "mlp.up_proj": (hidden, inner),
        "mlp.down_proj": (inner, hidden),
    }
    return {
        f"model.layers.{block}.{name}": size
        for block in range(llm.num_hidden_layers)
        for name, size in sizes.items()
    }


def read_state(path: Path) -> dict[str, Tensor]:
    """The `model` entry of a published file; raises InputError where the file is not one.

    Only tensors and plain containers are unpickled; a file that asks for anything else is refused.
    """
    return dict(weights_in(read_pth(path), path, "an AffectGPT"))


def match(state: Mapping[str, Tensor], vision: int, audio: int, llm: Any, ignore_unknown: bool) -> Checkpoint:
    """Fit a checkpoint to its base models; every key has its place or is named.

    vision, audio: C and A; llm: the configuration of the language model. Raises InputError that names the
    fusion variant where it is one with a Q-Former, and otherwise every key that is missing, that has another
    shape than the base models ask for, or that is not understood (the last unless `ignore_unknown`).
    """
    qformer = sorted(key for key in state if any(mark in key for mark in _QFORMER_MARKS))
    if qformer:
        variants = sorted({key.split("_")[0] for key in qformer})
        raise InputError(
            f"this AffectGPT checkpoint was trained with fusion 'qformer' for {', '.join(variants)} "
            f"(it holds {', '.join(qformer[:3])}{', ...' if len(qformer) > 3 else ''}); "
            "only the released fusion 'attention' is known here"
        )
    modules = lora_modules(llm)
    a_key = _LORA_PREFIX + "{}.lora_A.default.weight"
    b_key = _LORA_PREFIX + "{}.lora_B.default.weight"
    ranks = [state[key].shape[0] for key in (a_key.format(name) for name in modules) if key in state]
    rank = max(set(ranks), key=ranks.count) if ranks else 0
    with torch.device("meta"):
        expected = {
            key: tuple(value.shape)
            for key, value in Fusion(vision, audio, llm.hidden_size).state_dict().items()
        }
    fusion_keys = list(expected)
    for name, (size_in, size_out) in modules.items():
        expected[a_key.format(name)] = (rank, size_in)
        expected[b_key.format(name)] = (size_out, rank)

    problems = []
    missing = [key for key in expected if key not in state]
    if missing:
        problems.append(f"missing: {', '.join(missing)}")
    misfits = [
        f"{key} is {list(state[key].shape)}, expected {list(shape)}"
        for key, shape in expected.items()
        if key in state and tuple(state[key].shape) != shape
    ]
    if misfits:
        problems.append(f"of another shape: {', '.join(misfits)}")
    unknown = sorted(set(state) - set(expected))
    if unknown and not ignore_unknown:
        problems.append(f"not understood (allow with ignore_unknown_keys): {', '.join(unknown)}")
    if problems:
        raise InputError("the AffectGPT checkpoint does not fit its base models; " + "; ".join(problems))
    return Checkpoint(
        fusion={key: state[key] for key in fusion_keys},
        lora={name: (state[a_key.format(name)], state[b_key.format(name)]) for name in modules},
        rank=rank,
        ignored=tuple(unknown),
    )


@torch.no_grad()
def merge_lora(llm: nn.Module, checkpoint: Checkpoint, alpha: float = LORA_ALPHA) -> None:
    """Add alpha / r · B A to the layers, in float32, then back to the type that the layer has."""
    for name, (a, b) in checkpoint.lora.items():
        weight = llm.get_submodule(name).weight
        factors = (b.to(weight.device, torch.float32), a.to(weight.device, torch.float32))
        update = torch.matmul(*factors) * (alpha / checkpoint.rank)
        weight.copy_((weight.to(torch.float32) + update).to(weight.dtype))


class Encoders(nn.Module):
    """The two frozen encoders and the trained layers behind them, all in float32.

    vision: a CLIP model; images: its image processor; audio: a HuBERT model;
    standardise: whether its feature extractor asks for sound of zero mean and unit variance.
    """

    def __init__(self, vision: Any, images: Any, audio: nn.Module, standardise: bool, fusion: Fusion) -> None:
        super().__init__()
        self.vision = vision
        self.images = images
        self.audio = audio
        self.standardise = standardise
        self.fusion = fusion

    def see(self, images: Tensor) -> Tensor:
        """uint8 [B, 8, 3, 224, 224] to [B, 8, C]; the pixels travel as bytes, the device normalises them."""

        def encode(chunk: Tensor) -> Tensor:
            inputs = self.images(images=list(chunk), return_tensors="pt", device=str(chunk.device))
            return self.vision.get_image_features(pixel_values=inputs["pixel_values"]).pooler_output

        return _in_chunks(encode, images)

    def hear(self, windows: Tensor) -> Tensor:
        """float32 [B, 8, 32000] to [B, 8, A]: the mean of the last four layers, then over time.

        The published code hands the eight windows of a clip to the feature extractor as if they were one
        example, so the weights have seen sound normalised over a whole clip, not window by window.
        """
        if self.standardise:
            mean = windows.mean(dim=(1, 2), keepdim=True)
            variance = windows.var(dim=(1, 2), keepdim=True, correction=0)
            windows = (windows - mean) / torch.sqrt(variance + 1e-7)

        def encode(chunk: Tensor) -> Tensor:
            layers = self.audio(chunk, output_hidden_states=True).hidden_states
            return torch.stack(layers[-4:]).mean(dim=0).mean(dim=1)

        return _in_chunks(encode, windows)


def load_encoders(vision: Path, audio: Path, checkpoint: Checkpoint, hidden: int) -> Encoders:
    """The encoders of two folders with the trained layers, float32, on the CPU; hidden: H.

    Raises InputError where a folder cannot be loaded or weights are not in it.
    """
    from transformers import AutoFeatureExtractor, AutoImageProcessor, CLIPModel, HubertModel

    sees = _loaded(CLIPModel, vision, frozenset())
    del sees.text_model  # a third of CLIP's weights, and no text is encoded here
    # A vector for masked training; nothing is masked here, and some files leave it out.
    hears = _loaded(HubertModel, audio, frozenset({"masked_spec_embed"}))
    extractor = AutoFeatureExtractor.from_pretrained(audio)
    if extractor.sampling_rate != AUDIO_HZ:
        raise InputError(f"{audio}: made for {extractor.sampling_rate} Hz; expected {AUDIO_HZ}")
    fusion = Fusion(sees.config.projection_dim, hears.config.hidden_size, hidden)
    fusion.load_state_dict(dict(checkpoint.fusion))
    images = AutoImageProcessor.from_pretrained(vision)
    return Encoders(sees, images, hears, extractor.do_normalize, fusion)


def _loaded(cls: Any, folder: Path, optional: frozenset[str]) -> Any:
    try:
        model, info = cls.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
        raise InputError(f"{folder}: cannot be loaded: {error}") from error
    absent = sorted(set(info["missing_keys"]) - optional)
    if absent:
        raise InputError(f"{folder}: weights are not in the checkpoint: {', '.join(absent)}")
    return model


def _in_chunks(encode: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    flat = inputs.flatten(0, 1)
    return torch.cat([encode(chunk) for chunk in flat.split(ENCODER_CHUNK)]).float().unflatten(0, (-1, STEPS))


class AffectGPT(WithSenses):
    """The language model behind its three modality words, called like any causal model of transformers.

    placeholders: the token ids of the words by their text. A prompt has at most one of each word; the k-th
    prompt with a picture word belongs to the k-th entry of `images`, likewise `<AudioHere>` and `windows`;
    `<MultiHere>` stands only in prompts that have both.
    """

    def __init__(self, llm: Any, encoders: Encoders, placeholders: Mapping[str, int]) -> None:
        super().__init__(llm, placeholders)
        self.encoders = encoders

    def forward(
        self,
        input_ids: Tensor,
        images: Tensor | None = None,
        windows: Tensor | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> Any:
        """The scores of the language model; input_ids: int64 [B, L]; images, windows: for the encoders."""
        if images is None and windows is None:
            return self.llm(input_ids=input_ids, logits_to_keep=logits_to_keep, **kwargs)
        words = torch.tensor(list(self.placeholders.values()), device=input_ids.device)
        # The published code looks the words up as token 0: their own ids lie beyond the trained rows.
        embeddings = self.get_input_embeddings()(input_ids.masked_fill(torch.isin(input_ids, words), 0))
        for at, vectors in self._modality_words(input_ids, images, windows):
            embeddings[at] = vectors.to(embeddings)
        return self.llm(inputs_embeds=embeddings, logits_to_keep=logits_to_keep, **kwargs)

    def _modality_words(
        self, input_ids: Tensor, images: Tensor | None, windows: Tensor | None
    ) -> list[tuple[Tensor, Tensor]]:
        """Where the words stand (bool [B, L]) and what replaces them ([k, H])."""
        video = (input_ids == self.placeholders["<FaceHere>"]) | (
            input_ids == self.placeholders["<FrameHere>"]
        )
        audio = input_ids == self.placeholders["<AudioHere>"]
        multi = input_ids == self.placeholders["<MultiHere>"]
        fusion = self.encoders.fusion
        found = []
        # On a GPU as published: float32 weights under autocast.
        with torch.autocast(input_ids.device.type, self.dtype, enabled=self.dtype != torch.float32):
            if images is not None:
                seen = self.encoders.see(images)
                found.append((video, fusion.video(seen)))
            if windows is not None:
                heard = self.encoders.hear(windows)
                found.append((audio, fusion.audio(heard)))
            if images is not None and windows is not None and multi.any():
                rows = multi.any(dim=1)
                both = seen[rows[video.any(dim=1)]], heard[rows[audio.any(dim=1)]]
                found.append((multi, fusion.multi(*both)))
        return found
