"""R1-Omni (Zhao, Wei and Bo 2025, arXiv 2503.05379): HumanOmni-0.5B as its checkpoint is laid out.

One file holds Qwen2-0.5B, SigLIP, the encoder of Whisper, BERT and the layers between them. SigLIP's features
of eight frames go through three branches, which BERT weighs by the question; Whisper's, three steps averaged
into one, through two layers. The published code loads SigLIP and Whisper anew from their own checkpoints;
both were frozen in training, and here the copies in the file are used.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from emo.engines.models import read_config
from emo.engines.published import check, load_layers, load_tower, shapes_of
from emo.engines.senses import Perceiving
from emo.errors import InputError
from emo.experts.r1_omni import SOUND, VIDEO
from emo.experts.r1_omni_projector import Branches, Gate, sound_projector

_STEPS_IN_ONE = 3

_SEES = "model.vision_tower.vision_tower.vision_model."
_HEARS = "model.audio_tower.audio_tower.encoder."
_BERT = "model.bert_model."
_BRANCHES = "model.mm_projector."
_SOUND_LAYERS = "model.audio_projector."
_GATE = "model.bert_gate."
# The class of the sound tower classifies, and SigLIP and BERT pool; nothing here uses either.
_UNREAD = (
    r"model\.audio_tower\.audio_tower\.(projector|classifier)\."
    r"|model\.vision_tower\.vision_tower\.vision_model\.head\.|model\.bert_model\.pooler\."
)

# What config.json has to say: another value is another arithmetic.
_KNOWN = {
    "mm_projector_type": "all_in_one_small",
    "mm_audio_projector_type": "mlp2x_gelu",
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "mm_use_x_start_end": True,
}
# The towers, which config.json names by path alone: siglip-base-patch16-224, whisper-large-v3 and
# bert-base-uncased.
_SIGLIP = {"image_size": 224, "patch_size": 16}
_WHISPER = {
    "d_model": 1280,
    "encoder_layers": 32,
    "encoder_attention_heads": 20,
    "encoder_ffn_dim": 5120,
    "num_mel_bins": 128,
    "max_source_positions": 1500,
}


@dataclass(frozen=True)
class Sizes:
    """The configurations of the parts. side: of a frame in pixels; seconds: of sound that are heard."""

    llm: Any
    vision: Any
    audio: Any
    router: Any
    frames: int

    @property
    def side(self) -> int:
        return int(self.vision.image_size)

    @property
    def seconds(self) -> int:
        return int(self.audio.max_source_positions) // 50

    @property
    def video_tokens(self) -> int:
        return int(self.frames * (self.side // self.vision.patch_size) ** 2 // 4)

    @property
    def audio_tokens(self) -> int:
        return int(self.audio.max_source_positions) // _STEPS_IN_ONE


def read_sizes(folder: Path) -> Sizes:
    """What config.json says; `vision_config`, `audio_config` and `router_config`, which the published file
    does not have, change the sizes of the towers.

    Raises InputError where it describes another model, such as HumanOmni-7B.
    """
    from transformers import BertConfig, Qwen2Config, SiglipVisionConfig, WhisperConfig

    given = read_config(folder)
    other = [
        f"{key} is {given.get(key)!r}, expected {value!r}"
        for key, value in _KNOWN.items()
        if given.get(key) != value
    ]
    if other:
        raise InputError(f"{folder}: config.json is not that of HumanOmni-0.5B: {'; '.join(other)}")
    sizes = Sizes(
        Qwen2Config(**{key: value for key, value in given.items() if key != "model_type"}),
        SiglipVisionConfig(**{**_SIGLIP, "vision_use_head": False, **given.get("vision_config", {})}),
        WhisperConfig(**{**_WHISPER, **given.get("audio_config", {})}),
        BertConfig(**given.get("router_config", {})),
        int(given.get("num_frames", 8)),
    )
    if (sizes.side // sizes.vision.patch_size) % 2:
        raise InputError(f"{folder}: a frame has an odd number of patches on a side; expected an even one")
    return sizes


def check_keys(folder: Path, sizes: Sizes, ignore_unknown: bool) -> tuple[str, ...]:
    """Compare the file with what all parts need; as `check` of emo.engines.published."""
    from transformers import BertModel, Qwen2ForCausalLM, SiglipVisionModel
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    with torch.device("meta"):
        expected = {
            **shapes_of(Qwen2ForCausalLM(sizes.llm)),
            **shapes_of(SiglipVisionModel(sizes.vision), _SEES),
            **shapes_of(WhisperEncoder(sizes.audio), _HEARS),
            **shapes_of(BertModel(sizes.router, add_pooling_layer=False), _BERT),
            **{
                prefix + name: shape
                for prefix, part in _layers(sizes).items()
                for name, shape in shapes_of(part).items()
            },
        }
    absent = ["lm_head.weight"] if sizes.llm.tie_word_embeddings else []
    return check(folder, expected, absent=absent, unread=_UNREAD, ignore_unknown=ignore_unknown)


def _layers(sizes: Sizes) -> dict[str, nn.Module]:
    hidden = sizes.llm.hidden_size
    return {
        _BRANCHES: Branches(sizes.vision.hidden_size, hidden),
        _SOUND_LAYERS: sound_projector(sizes.audio.d_model, hidden),
        _GATE: Gate(sizes.router.hidden_size),
    }


class R1Omni(Perceiving):
    """The language model with its senses.

    pixels: float [B, frames, 3, side, side], from -1 to 1; mel: [B, bands, steps], as Whisper's extractor
    makes it; shares: [3], how much of each visual branch the question asks for.
    """

    features = ("pixels", "mel")

    def __init__(self, llm: Any, senses: "Senses", shares: Tensor, placeholders: Mapping[str, int]) -> None:
        super().__init__(llm, placeholders)
        self.senses = senses
        self.register_buffer("shares", shares, persistent=False)

    def vectors(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = {}
        if "pixels" in features:
            found[VIDEO] = self.senses.see(features["pixels"], self.shares).flatten(0, 1)
        if "mel" in features:
            found[SOUND] = self.senses.hear(features["mel"]).flatten(0, 1)
        return found


class Senses(nn.Module):
    """SigLIP, the encoder of Whisper, and the layers behind them."""

    def __init__(self, vision: Any, audio: Any, branches: Branches, sound_layers: nn.Module) -> None:
        super().__init__()
        self.vision = vision
        self.audio = audio
        self.branches = branches
        self.sound_layers = sound_layers

    def see(self, pixels: Tensor, shares: Tensor) -> Tensor:
        """[B, frames, 3, side, side] to [B, tokens, H]; the features are those before SigLIP's last layer."""
        inputs = self.vision.embeddings(pixels.flatten(0, 1))
        found = self.vision.encoder(inputs_embeds=inputs).last_hidden_state
        return self.branches(found.unflatten(0, pixels.shape[:2]), shares)

    def hear(self, mel: Tensor) -> Tensor:
        """[B, bands, steps] to [B, tokens, H]."""
        heard = self.audio(mel).last_hidden_state.transpose(1, 2)
        pooled = nn.functional.avg_pool1d(heard, _STEPS_IN_ONE, _STEPS_IN_ONE).transpose(1, 2)
        return self.sound_layers(pooled)


def load_senses(folder: Path, sizes: Sizes, dtype: torch.dtype) -> Senses:
    """The senses of a checkpoint whose keys have been checked, on the CPU."""
    from transformers import SiglipVisionModel
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    with torch.device("meta"):
        layers = _layers(sizes)
    vision = load_tower(SiglipVisionModel, sizes.vision, folder, _SEES, dtype)
    vision.encoder.layers = vision.encoder.layers[:-1]
    branches, sound_layers = (
        load_layers(layers[prefix], folder, prefix, dtype) for prefix in (_BRANCHES, _SOUND_LAYERS)
    )
    return Senses(
        vision, load_tower(WhisperEncoder, sizes.audio, folder, _HEARS, dtype), branches, sound_layers
    )


@torch.inference_mode()
def branch_shares(folder: Path, sizes: Sizes, router_tokenizer: Path, question: str) -> Tensor:
    """How much of the video, the body and the face branch a question asks for: float32 [3].

    router_tokenizer: a folder with BERT's vocabulary. The question is cut at 512 tokens.
    """
    from transformers import BertModel, BertTokenizer

    bert = load_tower(BertModel, sizes.router, folder, _BERT, torch.float32)
    with torch.device("meta"):
        gate = Gate(sizes.router.hidden_size)
    gate = load_layers(gate, folder, _GATE, torch.float32)
    try:
        tokenizer = BertTokenizer.from_pretrained(router_tokenizer)
    except (OSError, ValueError) as error:
        raise InputError(f"router_tokenizer {router_tokenizer}: cannot be loaded: {error}") from error
    if len(tokenizer) > sizes.router.vocab_size:
        raise InputError(
            f"router_tokenizer {router_tokenizer}: {len(tokenizer)} words, the router knows "
            f"{sizes.router.vocab_size}; expected the vocabulary of bert-base-uncased"
        )
    words = tokenizer(question, return_tensors="pt", truncation=True, max_length=512)
    shares: Tensor = gate(bert(**words).last_hidden_state[:, 0])[0]
    return shares
