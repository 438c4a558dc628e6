"""Qwen2.5-VL and Qwen3-VL (VidEmo and other finetunes load the same way): frames only."""

from typing import ClassVar

from emo.engines.preprocessing import ModelInput
from emo.experts.chat import marked_once, model_input, picture_arguments
from emo.experts.family import LANGUAGE, Family
from emo.experts.in_process import FramesSettings, InProcessExpert, given
from emo.experts.protocol import FRAMES, Clip
from emo.experts.qwen_media import MERGERS, QwenPreprocessor


class QwenVLPreprocessor(QwenPreprocessor):
    """The frames as one video."""

    def prepare(self, item: Clip) -> ModelInput:
        _, degraded = given(item, self.wanted)
        text = marked_once(self.processor, self.written(item, ["video"]))
        inputs = self.processor(text=[text], return_tensors="pt", **self.video(item))
        return model_input(
            inputs, self.positions(inputs), ["pixel_values_videos", "video_grid_thw"], degraded
        )

    def pictures(self, item: Clip) -> ModelInput:
        text = self.written(item, ["image"] * len(item.frames))
        inputs = self.processor(text=[text], return_tensors="pt", **picture_arguments(item))
        return model_input(inputs, self.positions(inputs), ["pixel_values", "image_grid_thw"], ())


class QwenVLExpert(InProcessExpert):
    """Describes what can be seen."""

    Settings = FramesSettings
    family: ClassVar[Family] = Family(
        classes={
            name: name
            for name in (
                "Qwen2_5_VLForConditionalGeneration",
                "Qwen3VLForConditionalGeneration",
                "Qwen3VLMoeForConditionalGeneration",
            )
        },
        senses=(FRAMES,),
        preprocessor=QwenVLPreprocessor,
        prompts="qwen-vl",
        parts={"projector": MERGERS, "vision": r"model\.visual\.", "language": LANGUAGE},
    )
