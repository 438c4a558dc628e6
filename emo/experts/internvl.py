"""InternVL 2.5-MPO, 3 and 3.5 in the native layout of transformers: frames only."""

from typing import ClassVar

from emo.engines.preprocessing import ModelInput
from emo.experts.chat import ChatPreprocessor, model_input, picture_arguments, untouched_pixels
from emo.experts.family import LANGUAGE, Family
from emo.experts.in_process import FramesSettings, InProcessExpert, given
from emo.experts.media import evenly, frames_tensor
from emo.experts.protocol import FRAMES, Clip


class InternVLPreprocessor(ChatPreprocessor):
    """One tile per frame, each under `Frame1:`, `Frame2:`, ... as the model was trained on videos."""

    pixel_features = ("pixel_values",)

    def size(self, item: Clip) -> int:
        # A tile has the same number of tokens whatever the size of the frame.
        frames = min(len(item.frames), self.settings.max_frames)  # type: ignore[attr-defined]
        return frames * int(self.processor.image_seq_length) + len(self.question.text(item)) // 3

    def prepare(self, item: Clip) -> ModelInput:
        _, degraded = given(item, self.wanted)
        places = evenly(len(item.frames), self.settings.max_frames)  # type: ignore[attr-defined]
        inputs = self.processor(
            text=[self.written(item, ["video"])],
            videos=[frames_tensor(item, places)],
            return_tensors="pt",
            **untouched_pixels(),
        )
        return model_input(inputs, None, ["pixel_values"], degraded)

    def pictures(self, item: Clip) -> ModelInput:
        """Each picture cut into tiles by its processor, as the model was trained on pictures."""
        text = self.written(item, ["image"] * len(item.frames))
        inputs = self.processor(text=[text], return_tensors="pt", **picture_arguments(item))
        return model_input(inputs, None, ["pixel_values"], ())


class InternVLExpert(InProcessExpert):
    """With or without a LoRA adapter; describes what can be seen."""

    Settings = FramesSettings
    family: ClassVar[Family] = Family(
        classes={"InternVLForConditionalGeneration": "InternVLForConditionalGeneration"},
        senses=(FRAMES,),
        preprocessor=InternVLPreprocessor,
        prompts="internvl",
        parts={
            "projector": r"model\.multi_modal_projector\.",
            "vision": r"model\.vision_tower\.",
            "language": LANGUAGE,
        },
    )
