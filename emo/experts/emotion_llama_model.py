"""Emotion-LLaMA version 2 (Cheng et al. 2024, arXiv 2406.11161, and its successor): its senses and its file.

The published file holds the trained weights only, over three base models: Llama-2-7b-chat, EVA-CLIP-g and the
encoder of Whisper. EVA sees one large picture and sixteen small ones, Whisper hears 30 s; a fusion of the
three, the picture, the sixteen and the sound follow each other in the place of one word of the prompt.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from emo.engines.senses import Perceiving
from emo.errors import InputError
from emo.experts.affectgpt_model import Checkpoint
from emo.experts.eva_vision import IMAGE_BLOCKS, Eva

MARK = "<VideoHere>"
IMAGE_SIDE, VIDEO_SIDE = 448, 224  # pixels
STEPS = 64  # vectors of the video, of the sound and of their fusion
FRAMES = 16
IN_ONE = 4  # neighbouring patches of the picture that become one vector
LORA_ALPHA = 16.0
_HIDDEN, _INNER, _FUSED = 512, 128, 256
_LLM = "llama_model.base_model.model."
# Newer versions of PEFT write the name of the adapter too.
_LORA = re.compile(
    re.escape(_LLM) + r"(model\.layers\.\d+\.self_attn\.[qv]_proj)\.lora_([AB])(?:\.default)?\.weight"
)
_FIRST_VERSION = "feats_llama_proj1.weight"
# What old versions of transformers wrote into every file.
_UNREAD = re.compile(r"llama_model\..*rotary_emb\.inv_freq$")


class Gated(nn.Module):
    """x times its own sigmoid."""

    def forward(self, values: Tensor) -> Tensor:
        return values * values.sigmoid()


class ConvBlock(nn.Module):
    """A convolution over time and a gate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv1d(width, width, 3, padding=1), Gated())

    def forward(self, values: Tensor) -> Tensor:
        return self.conv_block(values)


def _layers(inside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inside, _HIDDEN), nn.ReLU(), nn.Dropout(0.1),
        nn.Linear(_HIDDEN, _INNER), nn.ReLU(), nn.Dropout(0.1),
    )  # fmt: skip


class Fusion(nn.Module):
    """Sound, picture and video step by step: weighed without a softmax, and convolved over time."""

    def __init__(self, audio: int, vision: int) -> None:
        super().__init__()
        self.feats_prep = nn.ModuleList(map(_layers, (audio, vision, vision)))
        self.attention_mlp = _layers(3 * _INNER)
        self.fc_att = nn.Linear(_INNER, 3)
        self.conv_entry = nn.Conv1d(3 * _INNER, _INNER, 1)
        self.conv_module = nn.ModuleDict({"conv_blocks": nn.ModuleList(ConvBlock(_INNER) for _ in range(4))})
        self.fc_final = nn.Linear(_INNER, _FUSED)

    def forward(self, audio: Tensor, image: Tensor, video: Tensor) -> Tensor:
        """[B, 64, A], [B, 64, V] twice, to [B, 64, 256]."""
        parts = [prepare(one) for prepare, one in zip(self.feats_prep, (audio, image, video), strict=True)]
        side_by_side = torch.cat(parts, dim=2)
        weights = self.fc_att(self.attention_mlp(side_by_side))
        weighed = (torch.stack(parts, dim=3) * weights[:, :, None]).sum(dim=3)
        found = self.conv_entry(side_by_side.transpose(1, 2))
        for block in self.conv_module["conv_blocks"]:
            found = found + block(found)
        return self.fc_final(weighed + found.transpose(1, 2))


class Trained(nn.Module):
    """The trained layers outside the language model, named as in the file; audio, vision, hidden: widths."""

    def __init__(self, audio: int, vision: int, hidden: int) -> None:
        super().__init__()
        # Frozen and never saved in training: a file without it means its first values.
        self.ln_vision = nn.LayerNorm(vision)
        self.llama_proj = nn.Linear(IN_ONE * vision, hidden)
        self.llama_proj_video = nn.Linear(vision, hidden)
        self.llama_proj_audio = nn.Linear(audio, hidden)
        self.llama_proj_fusion = nn.Linear(_FUSED, hidden)
        self.conv_pro_module = Fusion(audio, vision)


@dataclass(frozen=True)
class Weights:
    """A file that fits its base models. layers: of `Trained`, ln_vision only where the file has it."""

    layers: Mapping[str, Tensor]
    lora: Checkpoint


def match(state: Mapping[str, Tensor], audio: int, vision: int, llm: Any, ignore_unknown: bool) -> Weights:
    """Fit a published file to its base models; every key has its place or is named.

    audio, vision: the widths of Whisper and EVA; llm: the configuration of the language model. Raises
    InputError where the file is one of version 1, and that names every key that is missing, of another shape,
    or not understood (the last unless `ignore_unknown`).
    """
    if _FIRST_VERSION in state:
        raise InputError(
            "this checkpoint is one of Emotion-LLaMA version 1; two of the three features that it was "
            "trained on (FaceMAE and VideoMAE) come from weights that were never published, so it cannot be "
            "asked here; expected one of version 2"
        )
    lora = {(found[1], found[2]): key for key in state if (found := _LORA.fullmatch(key))}
    ranks = {state[key].shape[0] for (_, part), key in lora.items() if part == "A"}
    if len(ranks) != 1:
        raise InputError(
            f"expected LoRA weights of one rank in the checkpoint, found {sorted(ranks) or 'none'}"
        )
    rank = ranks.pop()
    with torch.device("meta"):
        layers = {
            key: tuple(value.shape)
            for key, value in Trained(audio, vision, llm.hidden_size).state_dict().items()
        }
    expected = dict(layers)
    head = getattr(llm, "head_dim", None) or llm.hidden_size // llm.num_attention_heads
    sizes = {"q_proj": llm.num_attention_heads * head, "v_proj": llm.num_key_value_heads * head}
    modules = {}
    for layer in range(llm.num_hidden_layers):
        for name, size in sizes.items():
            module = f"model.layers.{layer}.self_attn.{name}"
            modules[module] = tuple(
                lora.get((module, part), f"{_LLM}{module}.lora_{part}.weight") for part in "AB"
            )
            expected[modules[module][0]], expected[modules[module][1]] = (rank, llm.hidden_size), (size, rank)
    problems = [f"{key} is missing" for key in expected if key not in state and "ln_vision" not in key]
    problems += [
        f"{key} is {list(state[key].shape)}, expected {list(shape)}"
        for key, shape in expected.items()
        if key in state and tuple(state[key].shape) != shape
    ]
    unknown = sorted(key for key in state if key not in expected and not _UNREAD.match(key))
    if not ignore_unknown:
        problems += [f"{key} is not understood (allow with ignore_unknown_keys)" for key in unknown]
    if problems:
        raise InputError(f"the checkpoint does not fit its base models: {'; '.join(problems[:12])}")
    pairs = {module: (state[first], state[second]) for module, (first, second) in modules.items()}
    return Weights(
        {key: state[key].float() for key in layers if key in state},
        Checkpoint(fusion={}, lora=pairs, rank=rank, ignored=tuple(unknown)),
    )


class Senses(nn.Module):
    """EVA, the encoder of Whisper and the trained layers, all in float32.

    norm: that behind EVA's last block, for the video; the picture is taken without.
    """

    def __init__(self, eva: Eva, norm: nn.Module, whisper: nn.Module, trained: Trained) -> None:
        super().__init__()
        self.eva, self.norm, self.whisper, self.trained = eva, norm, whisper, trained

    def image(self, pixels: Tensor) -> Tensor:
        """[B, 3, 448, 448] to [B, 1 + patches, V]."""
        return self.trained.ln_vision(self.eva(pixels, IMAGE_BLOCKS))

    def video(self, pixels: Tensor) -> Tensor:
        """[B, 16, 3, 224, 224] to [B, 64, V]: of each picture the means of its quarters."""
        seen = self.norm(self.eva(pixels.flatten(0, 1), len(self.eva.blocks)))[:, 1:]
        side = int(seen.shape[1] ** 0.5)
        squares = seen.transpose(1, 2).unflatten(2, (side, side))
        quarters = nn.functional.adaptive_avg_pool2d(squares, 2).flatten(2).transpose(1, 2)
        return quarters.unflatten(0, pixels.shape[:2]).flatten(1, 2)

    def audio(self, mel: Tensor) -> Tensor:
        """[B, bands, steps] to [B, 64, A]."""
        heard = self.whisper(mel).last_hidden_state.transpose(1, 2)
        return nn.functional.adaptive_avg_pool1d(heard, STEPS).transpose(1, 2)

    def forward(self, image: Tensor, video: Tensor, audio: Tensor) -> Tensor:
        """What `image`, `video` and `audio` give, to [B, 3 * 64 + patches / 4, H]."""
        trained = self.trained
        whole = image[:, :1].expand(-1, STEPS, -1)
        patches = image[:, 1:].unflatten(1, (-1, IN_ONE)).flatten(2)
        fused = trained.conv_pro_module(audio, whole, video)
        found = (
            trained.llama_proj_fusion(fused),
            trained.llama_proj(patches),
            trained.llama_proj_video(video),
            trained.llama_proj_audio(audio),
        )
        return torch.cat(found, dim=1)


class EmotionLlama(Perceiving):
    """The language model behind its one word.

    image: float [B, 3, 448, 448]; video: float [B, 16, 3, 224, 224]; mel: float [B, bands, steps]; seen,
    heard: bool [B], whether a prompt has them: what it has not is zeros, as published.
    """

    features = ("image", "video", "mel", "seen", "heard")

    def __init__(self, llm: Any, senses: Senses, placeholders: Mapping[str, int]) -> None:
        super().__init__(llm, placeholders)
        self.senses = senses

    def vectors(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        senses, image = self.senses, features["image"]
        # On a GPU the picture and the trained layers run in half precision, as published, the rest in full.
        half = {"device_type": image.device.type, "dtype": self.dtype, "enabled": self.dtype != torch.float32}
        video = senses.video(features["video"]) * features["seen"][:, None, None]
        audio = senses.audio(features["mel"]) * features["heard"][:, None, None]
        with torch.autocast(**half):
            found = senses(senses.image(image), video, audio)
        return {MARK: found.flatten(0, 1)}
