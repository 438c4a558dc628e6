"""How a clip goes to a server of the worker's own: pictures with their times in words, sound as WAV."""

from collections.abc import Sequence
from typing import Any

from emo.engines.openai_client import audio_part, image_part
from emo.experts.in_process import Question, given
from emo.experts.media import audio_wave, evenly, frame_label
from emo.experts.protocol import AUDIO, FRAMES, Clip
from emo.media.wave import AUDIO_HZ, wav_of


def asked(
    clip: Clip, *, question: Question, wanted: Sequence[str], max_frames: int
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The messages of one request, and what the clip lacks; raises RowError as `given` does."""
    there, degraded = given(clip, wanted)
    parts: list[dict[str, Any]] = []
    if FRAMES in there:
        for place in evenly(len(clip.frames), max_frames):
            parts.append({"type": "text", "text": frame_label(clip, place)})
            parts.append(image_part(clip.frames[place]))
    if AUDIO in there:
        parts.append(audio_part(wav_of(audio_wave(clip), AUDIO_HZ), "wav"))
    return question.turns(clip, parts), degraded


def media(wanted: Sequence[str], max_frames: int) -> dict[str, int]:
    """How many of each medium a request may have."""
    return {
        name: count
        for name, sense, count in (("image", FRAMES, max_frames), ("audio", AUDIO, 1))
        if sense in wanted
    }
