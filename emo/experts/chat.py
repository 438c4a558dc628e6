"""How a clip becomes a chat for the processor of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emo.engines.chat_template import ChatTemplate
from emo.engines.preprocessing import ModelInput, Preprocessor, normalise
from emo.errors import RowError
from emo.experts.family import Asking
from emo.experts.in_process import InProcessSettings
from emo.experts.media import frame_size, pictures
from emo.experts.protocol import Clip
from emo.media.wave import AUDIO_HZ

if TYPE_CHECKING:
    import numpy as np
    import torch

# Whisper's window reaches this far past the last sample: with so much silence behind the sound its last
# feature frames are those that padding to the longest length of the extractor gives.
_SILENCE = 400
AUDIO_TOKENS_PER_SECOND = 25


class ChatPreprocessor(Preprocessor[Clip]):
    """A checkpoint's processor and chat template, and the question to ask.

    pixel_features: the features that hold uint8 pictures. Raises InputError where the checkpoint has no
    chat template.
    """

    pixel_features: tuple[str, ...] = ()

    def __init__(
        self, folder: Path, settings: InProcessSettings, question: Asking, wanted: Sequence[str]
    ) -> None:
        from transformers import AutoProcessor

        self.settings = settings
        self.question = question
        self.wanted = tuple(wanted)
        self.processor: Any = AutoProcessor.from_pretrained(
            folder, trust_remote_code=settings.trust_remote_code
        )
        self.tokenizer = self.processor.tokenizer
        self.chat = ChatTemplate(self.processor, folder, settings.template)

    def written(self, clip: Clip, media: Sequence[str]) -> str:
        """The chat as text, with a placeholder for each medium (`video`, `audio`), in their order."""
        turns = self.question.turns(clip, [{"type": medium} for medium in media])
        return self.chat.written(turns)

    def pictures(self, item: Clip) -> ModelInput:
        """The frames as pictures that stand beside each other, for training on sets of them."""
        raise RowError("modality_missing", "the family takes no pictures")

    def size(self, item: Clip) -> int:
        width, height = frame_size(item) if item.frames else (0, 0)
        pictures = min(len(item.frames), getattr(self.settings, "max_frames", 0)) * width * height
        sound = item.duration_s * AUDIO_TOKENS_PER_SECOND if item.audio is not None else 0.0
        return int(pictures / (28 * 28) + sound + len(self.question.text(item)) / 3)

    def stack(self, name: str, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        import torch

        # Sound features differ in length; their mask says what is padding.
        longest = max(part.shape[-1] for part in parts)
        if name in ("input_features", "feature_attention_mask"):
            parts = [torch.nn.functional.pad(part, (0, longest - part.shape[-1])) for part in parts]
        return torch.cat(list(parts))

    def on_device(self, features: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
        if "input_features" in features:
            features["input_features"] = features["input_features"].to(dtype)
        for name in self.pixel_features:
            if name in features:
                # InternVL has one feature for both, and one way to make them.
                alone = name == "pixel_values" and len(self.pixel_features) > 1
                source = self.processor.image_processor if alone else self.processor.video_processor
                features[name] = self._normalised(features[name], dtype, source)
        return features

    def _normalised(self, pixels: torch.Tensor, dtype: torch.dtype, source: Any) -> torch.Tensor:
        """[tiles, 3, height, width], or patches [patches, 3 * the rest] with the colours outermost."""
        import torch

        mean = torch.tensor(source.image_mean, device=pixels.device)[:, None]
        std = torch.tensor(source.image_std, device=pixels.device)[:, None]
        by_colour = pixels.reshape(len(pixels), 3, -1)
        return normalise(by_colour, mean, std, dtype).reshape(pixels.shape)


def marked_once(processor: Any, text: str) -> str:
    """The chat without the marks around its videos where the processor sets marks around every frame itself.

    The templates of Qwen3-VL write `<|vision_start|><|video_pad|><|vision_end|>`. Its processor replaced all
    three when the model was released (transformers 4.57), and vLLM does. Since transformers 5 it replaces the
    one in the middle, and each video has a second pair of marks that no training ever showed.
    """
    if not any(cls.__name__ == "Qwen3VLProcessor" for cls in type(processor).__mro__):
        return text
    video = processor.video_token
    return text.replace(f"{processor.vision_start_token}{video}{processor.vision_end_token}", video)


def untouched_pixels() -> dict[str, Any]:
    """What keeps a processor from normalising, so that pictures stay uint8, a quarter of the bytes."""
    return {"do_rescale": False, "do_normalize": False, "do_sample_frames": False}


def picture_arguments(item: Clip) -> dict[str, Any]:
    """The processor's arguments for the frames as pictures, whose values stay bytes."""
    return {"images": pictures(item), "images_kwargs": {"do_rescale": False, "do_normalize": False}}


def sound_options(processor: Any, wave: np.ndarray) -> dict[str, Any]:
    """Features for as long as the sound lasts, where the processor would fill up to its longest length."""
    if processor.audio_kwargs.get("padding") is True:
        return {"sampling_rate": AUDIO_HZ}
    return {"sampling_rate": AUDIO_HZ, "padding": "max_length", "max_length": len(wave) + _SILENCE}


def model_input(
    inputs: Mapping[str, Any], positions: torch.Tensor | None, names: Sequence[str], degraded: tuple[str, ...]
) -> ModelInput:
    """One prompt from what a processor returned; names: the features that the model's forward takes."""
    import torch

    ids = torch.as_tensor(inputs["input_ids"])[0]
    if positions is None:
        positions = torch.arange(len(ids))[None]
    return ModelInput(
        ids, positions, {name: torch.as_tensor(inputs[name]) for name in names if name in inputs}, degraded
    )
