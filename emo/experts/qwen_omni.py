"""The thinkers of Qwen2.5-Omni and Qwen3-Omni (HumanOmniV2 loads the same way): frames and sound."""

from typing import Any, ClassVar

import numpy as np

from emo.engines.preprocessing import ModelInput
from emo.experts.chat import model_input, picture_arguments, sound_options
from emo.experts.family import LANGUAGE, Family
from emo.experts.in_process import FramesSettings, InProcessExpert, given
from emo.experts.media import audio_wave
from emo.experts.protocol import AUDIO, FRAMES, Clip
from emo.experts.qwen_media import MERGERS, QwenPreprocessor

_FEATURES = [
    *("pixel_values_videos", "video_grid_thw"),
    *("pixel_values", "image_grid_thw"),
    *("input_features", "feature_attention_mask"),
]


class QwenOmniPreprocessor(QwenPreprocessor):
    """Frames and sound interleaved by time, as the models were trained on videos with a sound track.

    A clip with one of the two is shown, or played, alone.
    """

    def prepare(self, item: Clip) -> ModelInput:
        there, degraded = given(item, self.wanted)
        arguments: dict[str, Any] = {}
        both = FRAMES in there and AUDIO in there
        if FRAMES in there:
            arguments |= self.video(item)
            arguments["videos_kwargs"]["fps"] = 1.0 / self.seconds_between_frames(item)
        if AUDIO in there:
            wave = at_least_one_window(self.processor, audio_wave(item))
            arguments |= {"audio": [wave], "audio_kwargs": sound_options(self.processor, wave)}
        if both:
            arguments |= {"load_audio_from_video": True, "audio_from_video_indices": [0]}
        medium = "video" if FRAMES in there else "audio"
        inputs = self.processor(text=[self.written(item, [medium])], return_tensors="pt", **arguments)
        return model_input(inputs, self.positions(inputs, use_audio_in_video=both), _FEATURES, degraded)

    def pictures(self, item: Clip) -> ModelInput:
        """The sound stands where its tag does, and is not spread over the pictures."""
        arguments, media = picture_arguments(item), ["image"] * len(item.frames)
        if item.audio is not None:
            wave = at_least_one_window(self.processor, audio_wave(item))
            arguments |= {"audio": [wave], "audio_kwargs": sound_options(self.processor, wave)}
            media.append("audio")
        inputs = self.processor(text=[self.written(item, media)], return_tensors="pt", **arguments)
        return model_input(inputs, self.positions(inputs), _FEATURES, ())


def at_least_one_window(processor: Any, wave: np.ndarray) -> np.ndarray:
    """A sound shorter than the encoder's window (1 s) of Qwen3-Omni filled up with silence.

    Its encoder pads windows to the longest of the batch and its convolutions see the padding, so that the
    features of a shorter sound would depend on the clips beside it. Qwen2.5-Omni masks it.
    """
    frames = 2 * int(getattr(processor, "n_window", 0))
    missing = frames * int(processor.feature_extractor.hop_length) - len(wave)
    return np.pad(wave, (0, missing)) if missing > 0 else wave


class QwenOmniExpert(InProcessExpert):
    """Describes what can be seen and heard; the talker of a full checkpoint is not loaded."""

    Settings = FramesSettings
    family: ClassVar[Family] = Family(
        classes={
            "Qwen2_5OmniModel": "Qwen2_5OmniThinkerForConditionalGeneration",
            "Qwen2_5OmniForConditionalGeneration": "Qwen2_5OmniThinkerForConditionalGeneration",
            "Qwen2_5OmniThinkerForConditionalGeneration": "Qwen2_5OmniThinkerForConditionalGeneration",
            "Qwen3OmniMoeForConditionalGeneration": "Qwen3OmniMoeThinkerForConditionalGeneration",
            "Qwen3OmniMoeThinkerForConditionalGeneration": "Qwen3OmniMoeThinkerForConditionalGeneration",
        },
        senses=(FRAMES, AUDIO),
        preprocessor=QwenOmniPreprocessor,
        prompts="qwen-omni",
        parts={
            "projector": rf"{MERGERS}|model\.audio_tower\.(proj|proj1|proj2|conv_out)\.",
            "vision": r"model\.(visual|audio_tower)\.",
            "language": LANGUAGE,
        },
    )
