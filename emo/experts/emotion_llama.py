"""Emotion-LLaMA version 2: one picture, sixteen small ones, the sound and what is said.

What is asked and how it is written is as published; the question `reason` is one of version 1. The sixteen
pictures are not: the published code takes sixteen neighbouring frames from anywhere in the video, half a
second of it, and a clip holds no neighbouring frames, so they are spread over it evenly. Version 1 is
refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from emo.aus.peaks import Peaks
from emo.aus.tables import missing_tables
from emo.engines.models import NamedModel, missing_model, named_models
from emo.engines.pickled import pth_file, read_pth, weights_in
from emo.engines.preprocessing import ModelInput, Preprocessor, normalise
from emo.engines.settings import ModelSettings, weights_dtype
from emo.errors import InputError
from emo.experts import protocol
from emo.experts.in_process import EngineExpert, given
from emo.experts.media import audio_wave, frames_tensor
from emo.experts.prompts import load_prompt, prompt_sha
from emo.experts.prompts.plain import as_text
from emo.experts.protocol import AUDIO, FRAMES, TRANSCRIPT, Card, Clip
from emo.media.wave import AUDIO_HZ

if TYPE_CHECKING:
    import torch

_CLASSES = {"LlamaForCausalLM": "LlamaForCausalLM"}
_LICENCE = "code BSD-3-Clause; no statement on the checkpoints; Llama 2's own licence for the base"
# Of CLIP for the picture, of ImageNet for the video: as published.
_IMAGE = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_VIDEO = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class EmotionLlamaSettings(protocol.Settings, ModelSettings):
    """A published checkpoint of Emotion-LLaMA version 2. Its parts are named one by one.

    Type `auto` is float16 on CUDA, as published.
    """

    model: str = "meta-llama/Llama-2-7b-chat-hf"
    """The language model: a local folder, an `s3://` folder, or a hub id."""
    vision: str
    """The published `eva_vit_g.pth` of BLIP-2, or a folder that holds it and no other `.pth`."""
    audio: str = "openai/whisper-large-v3"
    """The encoder of sound: a local folder, an `s3://` folder, or a hub id."""
    checkpoint: str
    """The published `.pth` of version 2, or a folder that holds one and no other."""
    prompt: str = "reason"
    """What the expert is asked: `reason`, `emotion` (one of six words, as its makers evaluate it), or a text
    file. The text begins with the task in brackets, such as `[emotion]`.
    """
    frame: Literal["middle", "first", "peak"] = "middle"
    """The picture that is seen large. `peak` is where the face moves most by `tables`, as in its training.
    """
    tables: str | None = None
    """The folder with the CSV of OpenFace for each clip, for `frame: peak`."""
    tag: Literal["Vid", "video"] = "Vid"
    """The word around the place of the pictures. Its training wrote `Vid`, its demonstration `video`."""
    ignore_unknown_keys: bool = False
    """Whether the expert goes on although the file holds weights that this code has no place for."""
    max_new_tokens: int = Field(500, ge=1)
    """The most tokens of one answer. A longer answer is cut off."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.adapter is not None or self.merge_adapter:
            raise ValueError(
                "emotion-llama has its LoRA in `checkpoint`; adapter and merge_adapter do not apply"
            )
        if (self.frame == "peak") != (self.tables is not None):
            raise ValueError("frame: peak needs tables, the folder of OpenFace's CSV; nothing else uses it")
        return self


class EmotionLlamaExpert(EngineExpert):
    """Names emotions and the clues for them; of what a clip lacks it is shown zeros, as published."""

    Settings = EmotionLlamaSettings

    def __init__(self, settings: EmotionLlamaSettings) -> None:
        import torch
        from transformers import AutoFeatureExtractor, WhisperModel

        from emo.engines.models import load_whole, memory_gib, resolve_model
        from emo.engines.transformers_engine import TransformersEngine
        from emo.experts import affectgpt_model
        from emo.experts import emotion_llama_model as parts
        from emo.experts.eva_vision import load_eva

        self.settings = settings
        question = _question(settings)
        vision, checkpoint = _files(settings)
        state = _vision_state(vision)
        eva = load_eva(state, vision.name)
        sound = resolve_model(settings.audio)
        whisper = load_whole(WhisperModel, sound, dtype=torch.float32).encoder.eval()
        extractor = AutoFeatureExtractor.from_pretrained(sound)
        dtype = weights_dtype(settings.dtype, settings.device, "float16")
        patches = (parts.IMAGE_SIDE // eva.patch) ** 2
        self.engine = TransformersEngine(
            settings.model_copy(update={"dtype": dtype}),
            lambda folder: EmotionLlamaPreprocessor(
                folder, settings, question, extractor, 3 * parts.STEPS + patches // parts.IN_ONE
            ),
            _CLASSES,
        )
        preprocessor = self.engine.preprocessor
        assert isinstance(preprocessor, EmotionLlamaPreprocessor)
        llm, width = self.engine.model.config, eva.cls_token.shape[-1]
        trained_state = weights_in(read_pth(checkpoint), checkpoint, "an Emotion-LLaMA")
        weights = parts.match(trained_state, whisper.config.d_model, width, llm, settings.ignore_unknown_keys)
        affectgpt_model.merge_lora(self.engine.model, weights.lora, parts.LORA_ALPHA)
        trained = parts.Trained(whisper.config.d_model, width, llm.hidden_size)
        trained.load_state_dict({**trained.state_dict(), **weights.layers})
        norm = torch.nn.LayerNorm(width, eps=1e-6)
        if "norm.weight" in state:
            norm.load_state_dict({name: state[f"norm.{name}"].float() for name in ("weight", "bias")})
        device = self.engine.model.get_input_embeddings().weight.device
        self.engine.model = parts.EmotionLlama(
            self.engine.model,
            parts.Senses(eva, norm, whisper, trained).to(device).eval(),
            preprocessor.placeholders,
        ).requires_grad_(False)
        with checkpoint.open("rb") as file:
            sha = hashlib.file_digest(file, "sha256").hexdigest()
        ignored = f", without {', '.join(weights.lora.ignored)}" if weights.lora.ignored else ""
        self.card = Card(
            name=settings.name,
            modalities=(FRAMES, AUDIO, TRANSCRIPT),
            model=f"{settings.model} + {vision.name} ({len(eva.blocks)} blocks) + {settings.audio}",
            revision=self.engine.revision,
            adapter=f"{checkpoint.name}@{sha[:16]} (merged{ignored})",
            prompt_sha=prompt_sha(question, settings.tag),
            licence=_LICENCE,
            trained_on=("MMEVerse",),
            memory_gib=round(memory_gib(self.engine.folder) + vision.stat().st_size * 2 / 1024**3, 3),
            engine=self.engine.name,
        )

    @classmethod
    def reads_transcript(cls, settings: EmotionLlamaSettings) -> bool:
        return True

    @classmethod
    def models(cls, settings: EmotionLlamaSettings) -> list[NamedModel]:
        """Its two base models on the hub; the two `.pth` are files that have to be there already."""
        return [*named_models(settings), NamedModel("audio", settings.audio)]

    @classmethod
    def missing(cls, settings: EmotionLlamaSettings) -> list[str]:
        lines = missing_model(settings, _CLASSES)
        sound = ModelSettings.model_validate({"model": settings.audio, "device": "cpu"})
        lines += missing_model(sound, ["WhisperForConditionalGeneration", "WhisperModel"])
        lines += missing_tables(settings.tables) if settings.tables is not None else []
        try:
            _question(settings)
            vision, checkpoint = _files(settings)
            if not lines and all(Path(name).is_dir() for name in (settings.model, settings.audio)):
                _match(settings, vision, checkpoint)
        except InputError as error:
            lines.append(str(error))
        return lines


def _match(settings: EmotionLlamaSettings, vision: Path, checkpoint: Path) -> None:
    """Raises InputError where the files do not fit the base models; none of these is loaded."""
    from transformers import LlamaConfig, WhisperConfig

    from emo.experts import emotion_llama_model as parts
    from emo.experts.eva_vision import fit_eva

    width = fit_eva(_vision_state(vision), vision.name).cls_token.shape[-1]
    audio = WhisperConfig.from_pretrained(settings.audio).d_model
    state = weights_in(read_pth(checkpoint), checkpoint, "an Emotion-LLaMA")
    parts.match(
        state, audio, width, LlamaConfig.from_pretrained(settings.model), settings.ignore_unknown_keys
    )


class EmotionLlamaPreprocessor(Preprocessor[Clip]):
    """Writes the prompt in the published form, and prepares pictures and sound.

    extractor: of Whisper; tokens: how many vectors stand for the clip; placeholders: an id beyond the
    vocabulary, for the one word that they replace.
    """

    def __init__(
        self, folder: Path, settings: EmotionLlamaSettings, question: str, extractor: Any, tokens: int
    ) -> None:
        from transformers import AutoTokenizer

        from emo.experts.emotion_llama_model import MARK

        self._settings, self._question = settings, question
        self._extractor, self._count, self._mark = extractor, tokens, MARK
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        if self.tokenizer.bos_token is None:
            raise InputError(
                f"{folder}: its tokenizer has no token that begins a text; expected that of Llama 2"
            )
        self.placeholders = {MARK: len(self.tokenizer)}
        self._peaks = None if settings.tables is None else Peaks(settings.tables)

    def size(self, item: Clip) -> int:
        return self._count + (len(self._question) + len(item.transcript or "")) // 3

    def prepare(self, item: Clip) -> ModelInput:
        import torch

        from emo.experts.emotion_llama_model import FRAMES as PICTURES
        from emo.experts.emotion_llama_model import IMAGE_SIDE, VIDEO_SIDE

        there, degraded = given(item, (FRAMES, AUDIO, TRANSCRIPT))
        features = {"seen": torch.tensor([FRAMES in there]), "heard": torch.tensor([AUDIO in there])}
        if FRAMES in there:
            chosen = self._place(item)
            spread = np.linspace(0, len(item.frames) - 1, PICTURES).astype(int).tolist()
            features["image"] = _resized(item, [chosen], IMAGE_SIDE, "bicubic")
            features["video"] = _resized(item, spread, VIDEO_SIDE, "bilinear")[None]
        else:
            features["image"] = torch.zeros(1, 3, IMAGE_SIDE, IMAGE_SIDE, dtype=torch.uint8)
            features["video"] = torch.zeros(1, PICTURES, 3, VIDEO_SIDE, VIDEO_SIDE, dtype=torch.uint8)
        wave = audio_wave(item) if AUDIO in there else np.zeros(AUDIO_HZ, np.float32)
        mel = self._extractor(wave, sampling_rate=AUDIO_HZ, return_tensors="pt")
        features["mel"] = mel.input_features
        ids = torch.tensor(self._ids((item.transcript or "").strip()))
        return ModelInput(ids, torch.arange(len(ids))[None], features, degraded)

    def on_device(self, features: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """The senses run in float32; a picture that is not there is zeros after this, not black."""
        import torch

        if "image" not in features:
            return features
        for name, (mean, std) in (("image", _IMAGE), ("video", _VIDEO)):
            shape = (3, 1, 1)
            mean_at, std_at = (
                torch.tensor(values, device=features[name].device).reshape(shape) for values in (mean, std)
            )
            pixels = normalise(features[name], mean_at, std_at, torch.float32)
            features[name] = pixels * features["seen"].reshape(-1, *[1] * (pixels.ndim - 1))
        return features

    def _place(self, clip: Clip) -> int:
        """Which frame is seen large."""
        if self._settings.frame == "first":
            return 0
        if self._settings.frame == "middle":
            return len(clip.frames) // 2
        assert self._peaks is not None
        # Where no face was found the middle, as in the published training.
        return self._peaks.place(clip.video_id, clip.frame_times)

    def _ids(self, subtitle: str) -> list[int]:
        subtitle = as_text(subtitle)
        tag = self._settings.tag
        # The text `<s>` becomes the token that begins a text, and the tokenizer writes its own before it.
        before = f"<s>[INST] <{tag}>"
        after = f"</{tag}> The person in video says: {subtitle}.  {self._question}  [/INST]"
        tokens: Sequence[int] = self.tokenizer(before)["input_ids"]
        more: Sequence[int] = self.tokenizer(after, add_special_tokens=False)["input_ids"]
        return [*tokens, *[self.placeholders[self._mark]] * self._count, *more]


def _resized(clip: Clip, places: Sequence[int], side: int, how: str) -> torch.Tensor:
    """uint8 [frames, 3, side, side]; the aspect is lost, as in training."""
    from torchvision.transforms.v2.functional import InterpolationMode, resize

    return resize(frames_tensor(clip, places), [side, side], InterpolationMode(how))


def _question(settings: EmotionLlamaSettings) -> str:
    name = settings.prompt
    text = load_prompt(name if name.endswith(".txt") else f"emotion-llama-{name}").text
    if not text.startswith("["):
        raise InputError(
            f"prompt {name!r}: expected the task in brackets at its beginning, such as [emotion]"
        )
    return text


def _files(settings: EmotionLlamaSettings) -> tuple[Path, Path]:
    return (
        pth_file(settings.vision, "vision", "eva_vit_g.pth"),
        pth_file(settings.checkpoint, "checkpoint", "Emotion-LLaMA's .pth"),
    )


def _vision_state(path: Path) -> dict[str, Any]:
    content = read_pth(path)
    state = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise InputError(f"{path}: not the file of EVA-CLIP-g: expected a dictionary of weights")
    return state
