"""What the Qwen families with pictures have in common: frames as a video with its times, 3-D positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emo.experts.chat import ChatPreprocessor, untouched_pixels
from emo.experts.media import evenly, frame_spacing, frames_tensor
from emo.experts.protocol import Clip

if TYPE_CHECKING:
    import torch

MERGERS = r"model\.visual\.(merger|merger_list|deepstack_merger_list)\."
"""The weights between what sees and the language part."""

# The clock of the frame times that is given to the processor, in ticks per second.
_TICKS = 1000


class QwenPreprocessor(ChatPreprocessor):
    """Pictures as patches, positions along time, height and width."""

    pixel_features = ("pixel_values_videos",)

    def video(self, clip: Clip) -> dict[str, Any]:
        """The processor's arguments for the frames of this clip at their times."""
        places = evenly(len(clip.frames), self.settings.max_frames)  # type: ignore[attr-defined]
        if len(places) == 1:  # a patch of these models spans two frames
            places = places * 2
        spacing = frame_spacing(clip, places)
        ticks = [round(clip.frame_times[place] * _TICKS) for place in places]
        return {
            "videos": [frames_tensor(clip, places)],
            "videos_kwargs": {
                **untouched_pixels(),
                "video_metadata": [
                    {
                        "fps": _TICKS,
                        "frames_indices": ticks,
                        # What the processor takes for the rate of these frames is count / this * fps.
                        "total_num_frames": max(1, round(spacing * len(places) * _TICKS)),
                    }
                ],
            },
        }

    def seconds_between_frames(self, clip: Clip) -> float:
        return frame_spacing(clip, evenly(len(clip.frames), self.settings.max_frames))  # type: ignore[attr-defined]

    def positions(self, inputs: Mapping[str, Any], **more: Any) -> torch.Tensor:
        """[3, length]: those that the model itself would make for its `generate`."""
        # The first of four axes counts plain places, for packed batches only.
        made = self.model._prepare_position_ids_for_generation(inputs["input_ids"], {**inputs, **more})
        return made[1:, 0]
