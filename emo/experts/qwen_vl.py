"""Qwen2.5-VL and Qwen3-VL (VidEmo and other finetunes load the same way): frames only."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from emo.engines.preprocessing import ModelInput
from emo.experts.chat import model_input
from emo.experts.in_process import FramesSettings, InProcessExpert, Question, given
from emo.experts.protocol import FRAMES, Clip
from emo.experts.qwen_media import QwenPreprocessor


class QwenVLPreprocessor(QwenPreprocessor):
    """The frames as one video."""

    def prepare(self, item: Clip) -> ModelInput:
        _, degraded = given(item, self.wanted)
        inputs = self.processor(text=[self.written(item, ["video"])], return_tensors="pt", **self.video(item))
        return model_input(
            inputs, self.positions(inputs), ["pixel_values_videos", "video_grid_thw"], degraded
        )


class QwenVLExpert(InProcessExpert):
    """Describes what can be seen."""

    Settings = FramesSettings
    senses: ClassVar[tuple[str, ...]] = (FRAMES,)
    classes: ClassVar[dict[str, str]] = {
        name: name
        for name in (
            "Qwen2_5_VLForConditionalGeneration",
            "Qwen3VLForConditionalGeneration",
            "Qwen3VLMoeForConditionalGeneration",
        )
    }

    @classmethod
    def preprocessor(
        cls, settings: Any, question: Question, wanted: tuple[str, ...]
    ) -> Callable[[Path], QwenVLPreprocessor]:
        return partial(QwenVLPreprocessor, settings=settings, question=question, wanted=wanted)
