"""Qwen2-Audio: sound only."""

from typing import ClassVar

from emo.engines.preprocessing import ModelInput
from emo.experts.chat import ChatPreprocessor, model_input
from emo.experts.family import LANGUAGE, Family
from emo.experts.in_process import InProcessExpert, InProcessSettings, given
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
    family: ClassVar[Family] = Family(
        classes={"Qwen2AudioForConditionalGeneration": "Qwen2AudioForConditionalGeneration"},
        senses=(AUDIO,),
        preprocessor=QwenAudioPreprocessor,
        prompts="qwen-audio",
        parts={
            "projector": r"model\.multi_modal_projector\.",
            "vision": r"model\.audio_tower\.",
            "language": LANGUAGE,
        },
    )
