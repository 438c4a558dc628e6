"""R1-Omni: eight frames and the sound, one word for the emotion after reasons for it.

What is asked, how it is written and cut into tokens, and what frames look like are as in the published
inference. Which frames are seen is not: it takes the middles of eight equal parts of the video, and here
those frames of the clip that lie nearest to them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from emo.engines.models import NamedModel, missing_model, named_models
from emo.engines.preprocessing import ModelInput, Preprocessor, normalise
from emo.engines.settings import ModelSettings, weights_dtype
from emo.errors import InputError
from emo.experts import protocol
from emo.experts.in_process import EngineExpert, given
from emo.experts.media import audio_wave, frames_tensor
from emo.experts.prompts import Prompt, load_prompt
from emo.experts.protocol import AUDIO, FRAMES, Card, Clip
from emo.experts.trained_on import trained_on
from emo.media.wave import AUDIO_HZ

if TYPE_CHECKING:
    import torch

    from emo.experts.r1_omni_model import Sizes

ARCHITECTURE = "HumanOmniQwen2ForCausalLM"
VIDEO, SOUND = "<video>", "<audio>"
_BOTH = (VIDEO, SOUND)
_GREY = 127  # of what training filled up to a square


class R1OmniSettings(protocol.Settings, ModelSettings):
    """A checkpoint in the layout of R1-Omni-0.5B: that, its cold start EMER-SFT-0.5B, or HumanOmni-0.5B.

    Type `auto` is float16 on CUDA, as published.
    """

    model: str = "StarJiaxing/R1-Omni-0.5B"
    """The checkpoint: a local folder, an `s3://` folder, or a hub id."""
    router_tokenizer: str = "google-bert/bert-base-uncased"
    """BERT's vocabulary, which the checkpoint lacks: a folder with `vocab.txt`, or a hub id."""
    prompt: str = "emotion"
    """What the expert is asked: `emotion`, the question that it was trained on, or a text file."""
    shape: Literal["squash", "pad"] = "squash"
    """How a frame becomes square. The published inference squashes, its training padded with grey."""
    ignore_unknown_keys: bool = False
    """Whether the expert goes on although the file holds weights that this code has no place for."""
    max_new_tokens: int = Field(2048, ge=1)
    """The most tokens of one answer, its thought included. A longer answer is cut off."""


class R1OmniExpert(EngineExpert):
    """Names one emotion and says why; of a clip without sound it is asked about the frames alone."""

    Settings = R1OmniSettings

    def __init__(self, settings: R1OmniSettings) -> None:
        import torch

        from emo.engines.model_cards import described, licence_of
        from emo.engines.models import memory_gib, resolve_model
        from emo.engines.published import without_reports
        from emo.engines.transformers_engine import TransformersEngine
        from emo.experts import r1_omni_model as parts

        self.settings = settings
        question = _question(settings)
        folder = resolve_model(settings.model, settings.revision)
        sizes = parts.read_sizes(folder)
        ignored = parts.check_keys(folder, sizes, settings.ignore_unknown_keys)
        dtype = weights_dtype(settings.dtype, settings.device, "float16")
        with without_reports():
            self.engine = TransformersEngine(
                settings.model_copy(update={"dtype": dtype}),
                lambda folder: R1OmniPreprocessor(folder, settings, sizes, question.text),
                {ARCHITECTURE: "Qwen2ForCausalLM"},
            )
        preprocessor = self.engine.preprocessor
        assert isinstance(preprocessor, R1OmniPreprocessor)
        tokenizer = resolve_model(settings.router_tokenizer, weights=False)
        shares = parts.branch_shares(folder, sizes, tokenizer, question.text)
        senses = parts.load_senses(folder, sizes, getattr(torch, dtype))
        weight = self.engine.model.get_input_embeddings().weight
        self.engine.model = parts.R1Omni(
            self.engine.model,
            senses.to(weight.device),
            shares.to(weight.device, weight.dtype),
            preprocessor.placeholders,
        ).requires_grad_(False)
        self.card = Card(
            name=settings.name,
            modalities=(FRAMES, AUDIO),
            model=settings.model + (f", without {', '.join(ignored)}" if ignored else ""),
            revision=self.engine.revision,
            adapter=self.engine.adapter,
            prompt_sha=question.sha,
            licence=licence_of(folder),
            trained_on=trained_on(settings.model, card=described(folder)),
            memory_gib=round(memory_gib(folder), 3),
            engine=self.engine.name,
        )

    @classmethod
    def models(cls, settings: R1OmniSettings) -> list[NamedModel]:
        return [*named_models(settings), _router(settings)]

    @classmethod
    def missing(cls, settings: R1OmniSettings) -> list[str]:
        lines = missing_model(settings, [ARCHITECTURE])
        folder = Path(settings.model).expanduser()
        try:
            _question(settings)
            if not lines and folder.is_dir():
                from emo.experts import r1_omni_model as parts

                parts.check_keys(folder, parts.read_sizes(folder), settings.ignore_unknown_keys)
        except InputError as error:
            lines.append(str(error))
        return lines + _missing_vocabulary(settings)


class R1OmniPreprocessor(Preprocessor[Clip]):
    """Writes the chat in the published form, and prepares pictures and sound.

    placeholders: rows of the vocabulary that no text reaches, for the two media. Raises InputError where
    there are none, and where the checkpoint has no chat template.
    """

    def __init__(self, folder: Path, settings: R1OmniSettings, sizes: Sizes, question: str) -> None:
        from transformers import Qwen2Tokenizer, WhisperFeatureExtractor

        from emo.engines.chat_template import ChatTemplate

        self._settings = settings
        self._sizes = sizes
        self.tokenizer: Any = Qwen2Tokenizer.from_pretrained(folder)
        rows = sizes.llm.vocab_size
        if len(self.tokenizer) > rows - len(_BOTH):
            raise InputError(f"{folder}: {len(self.tokenizer)} tokens leave no row of {rows} for the media")
        self.placeholders = {mark: rows - 1 - place for place, mark in enumerate(_BOTH)}
        self._extractor = WhisperFeatureExtractor(
            feature_size=sizes.audio.num_mel_bins, chunk_length=sizes.seconds
        )
        chat = ChatTemplate(self.tokenizer, folder, settings.template)
        self._ids: dict[tuple[str, ...], list[int]] = {
            marks: self._tokens(chat, marks, question) for marks in (_BOTH, _BOTH[:1])
        }

    def _tokens(self, chat: Any, marks: Sequence[str], question: str) -> list[int]:
        """The prompt; what stands between the media is cut into tokens piece by piece, as in training."""
        content = "\n".join([*marks, question])
        text = chat.written([{"role": "user", "content": content}])
        # None of these four is a token of its own: the model was trained on them as plain text.
        text = text.replace(VIDEO, f"<vi_start>{VIDEO}<vi_end>")
        text = text.replace(SOUND, f"<au_start>{SOUND}<au_end>")
        counts = {VIDEO: self._sizes.video_tokens, SOUND: self._sizes.audio_tokens}
        ids: list[int] = []
        for piece in re.split(f"({'|'.join(_BOTH)})", text):
            if piece in self.placeholders:
                ids += [self.placeholders[piece]] * counts[piece]
            else:
                ids += self.tokenizer(piece, add_special_tokens=False)["input_ids"]
        return ids

    def size(self, item: Clip) -> int:
        return len(self._ids[_BOTH if item.audio is not None else _BOTH[:1]])

    def prepare(self, item: Clip) -> ModelInput:
        import torch

        # Of frames there have to be some: sound alone was never what the model was asked about.
        given(item, (FRAMES,))
        features = {"pixels": self._pixels(item)[None]}
        if item.audio is not None:
            mel = self._extractor(audio_wave(item), sampling_rate=AUDIO_HZ, return_tensors="pt")
            features["mel"] = mel.input_features
        ids = torch.tensor(self._ids[_BOTH if item.audio is not None else _BOTH[:1]])
        degraded = () if item.audio is not None else (AUDIO,)
        return ModelInput(ids, torch.arange(len(ids))[None], features, degraded)

    def on_device(self, features: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
        import torch

        if "pixels" in features:
            half = torch.tensor(0.5, device=features["pixels"].device)
            features["pixels"] = normalise(features["pixels"], half, half, dtype)
        if "mel" in features:
            features["mel"] = features["mel"].to(dtype)
        return features

    def _pixels(self, clip: Clip) -> torch.Tensor:
        """uint8 [frames, 3, side, side]."""
        from torchvision.transforms.v2.functional import InterpolationMode, pad, resize

        frames = frames_tensor(clip, nearest(clip.frame_times, clip.duration_s, self._sizes.frames))
        if self._settings.shape == "pad":
            height, width = frames.shape[-2:]
            side = max(height, width)
            left, top = (side - width) // 2, (side - height) // 2
            frames = pad(frames, [left, top, side - width - left, side - height - top], fill=_GREY)
        return resize(frames, [self._sizes.side] * 2, InterpolationMode.BICUBIC)


def nearest(times: Sequence[float], duration: float, count: int) -> list[int]:
    """The places of the frames that lie nearest to the middles of `count` equal parts; some more than once.

    times: seconds, in order, at least one; duration: of the clip.
    """
    middles = (np.arange(count) + 0.5) * max(duration, times[-1]) / count
    return [int(np.abs(np.asarray(times) - middle).argmin()) for middle in middles]


def _question(settings: R1OmniSettings) -> Prompt:
    name = settings.prompt
    prompt = load_prompt(name if name.endswith(".txt") else f"r1-omni-{name}")
    if any(mark in prompt.text for mark in _BOTH):
        raise InputError(f"prompt {name!r}: {' and '.join(_BOTH)} stand for the media; leave them out")
    return prompt


def _router(settings: R1OmniSettings) -> NamedModel:
    return NamedModel("router_tokenizer", settings.router_tokenizer, weights=False)


def _missing_vocabulary(settings: R1OmniSettings) -> list[str]:
    router = _router(settings)
    if router.remote:
        given = {"model": router.model, "device": "cpu"}
        return missing_model(ModelSettings.model_validate(given), None)
    try:
        router.check(Path(router.model).expanduser())
    except InputError as error:
        return [f"router_tokenizer: {error}"]
    return []
