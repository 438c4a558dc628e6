"""What the Qwen families with pictures have in common: frames as a video with its times, 3-D positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emo.experts.chat import ChatPreprocessor, untouched_pixels
from emo.experts.media import evenly, frame_spacing, frames_tensor, video_metadata
from emo.experts.protocol import Clip

if TYPE_CHECKING:
    import torch

MERGERS = r"model\.visual\.(merger|merger_list|deepstack_merger_list)\."
"""The weights between what sees and the language part."""


class QwenPreprocessor(ChatPreprocessor):
    """Pictures as patches, positions along time, height and width."""

    pixel_features = ("pixel_values_videos", "pixel_values")

    def video(self, clip: Clip) -> dict[str, Any]:
        """The processor's arguments for the frames of this clip at their times."""
        places = evenly(len(clip.frames), self.settings.max_frames)  # type: ignore[attr-defined]
        if len(places) == 1:  # a patch of these models spans two frames
            places = places * 2
        return {
            "videos": [frames_tensor(clip, places)],
            "videos_kwargs": {**untouched_pixels(), "video_metadata": [video_metadata(clip, places)]},
        }

    def seconds_between_frames(self, clip: Clip) -> float:
        return frame_spacing(clip, evenly(len(clip.frames), self.settings.max_frames))  # type: ignore[attr-defined]

    def positions(self, inputs: Mapping[str, Any], **more: Any) -> torch.Tensor:
        """[3, length]: those that the model itself would make for its `generate`."""
        from emo.engines.private import positions

        return positions(self.model, inputs["input_ids"], {**inputs, **more})[1:, 0]
