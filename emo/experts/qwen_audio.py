"""Qwen2-Audio: sound only."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from emo.engines.preprocessing import ModelInput
from emo.experts.chat import ChatPreprocessor, model_input
from emo.experts.in_process import InProcessExpert, InProcessSettings, Question, given
from emo.experts.media import audio_wave
from emo.experts.protocol import AUDIO, Clip
from emo.media.wave import AUDIO_HZ


class QwenAudioPreprocessor(ChatPreprocessor):
    """The sound in pieces of 30 s, which is as much as the encoder hears at once; none is left out."""

    def prepare(self, item: Clip) -> ModelInput:
        _, degraded = given(item, self.wanted)
        wave = audio_wave(item)
        span = int(self.processor.feature_extractor.n_samples)
        pieces = [wave[start : start + span] for start in range(0, len(wave), span)]
        inputs = self.processor(
            text=[self.written(item, ["audio"] * len(pieces))],
            audio=pieces,
            sampling_rate=AUDIO_HZ,
            return_tensors="pt",
        )
        return model_input(inputs, None, ["input_features", "feature_attention_mask"], degraded)


class QwenAudioExpert(InProcessExpert):
    """Describes what can be heard."""

    Settings = InProcessSettings
    senses: ClassVar[tuple[str, ...]] = (AUDIO,)
    classes: ClassVar[dict[str, str]] = {
        "Qwen2AudioForConditionalGeneration": "Qwen2AudioForConditionalGeneration"
    }

    @classmethod
    def preprocessor(
        cls, settings: Any, question: Question, wanted: tuple[str, ...]
    ) -> Callable[[Path], QwenAudioPreprocessor]:
        return partial(QwenAudioPreprocessor, settings=settings, question=question, wanted=wanted)
