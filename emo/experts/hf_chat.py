"""How a clip becomes a chat for the processor of any family: by what the processor and the model have."""

from __future__ import annotations

import base64
import inspect
import logging
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emo.answers.thinking import is_mark
from emo.engines.chat_template import ChatTemplate
from emo.engines.generate import BatchPreprocessor
from emo.errors import InputError
from emo.experts.chat import AUDIO_TOKENS_PER_SECOND, marked_once
from emo.experts.in_process import Question, given
from emo.experts.media import audio_wave, evenly, frame_label, frame_size, frames_tensor, video_metadata
from emo.experts.protocol import AUDIO, FRAMES, TRANSCRIPT, Clip
from emo.media.wave import AUDIO_HZ, wav_of

if TYPE_CHECKING:
    import numpy as np
    import torch

    from emo.experts.hf import HfSettings

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Media:
    """What a checkpoint takes. frames: `video`, `image` or None; sound: whether it hears; rate: in Hz."""

    frames: str | None
    sound: bool
    rate: int

    @property
    def senses(self) -> tuple[str, ...]:
        return tuple(
            name for name, there in ((FRAMES, self.frames is not None), (AUDIO, self.sound)) if there
        )


def any_chat(folder: Path, settings: HfSettings, question: Question, cls: Any) -> AnyChat:
    """What prepares the inputs of this checkpoint; raises InputError as `AnyChat` does, or without one."""
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=settings.trust_remote_code)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise InputError(f"{folder}: its processor cannot be loaded: {error}") from error
    if getattr(processor, "tokenizer", None) is None:
        raise InputError(f"{folder}: it has no processor for pictures or sound; expected one")
    by_mistral = type(processor.tokenizer).__name__ == "MistralCommonBackend"
    return (MistralChat if by_mistral else AnyChat)(processor, folder, settings, question, cls)


class AnyChat(BatchPreprocessor[Clip]):
    """The processor of a checkpoint with its chat template, and the question to ask.

    cls: the class of the model, whose arguments say what it takes. Raises InputError where the checkpoint
    has no chat template, or takes neither pictures nor sound.
    """

    def __init__(
        self, processor: Any, folder: Path, settings: HfSettings, question: Question, cls: Any
    ) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.settings = settings
        self.question = question
        self._arguments = {
            name
            for method in (cls.forward, cls.prepare_inputs_for_generation)
            for name in inspect.signature(method).parameters
        }
        self.takes = self._taken(folder)
        self.wanted = (*self.takes.senses, *([TRANSCRIPT] if settings.give_transcript else []))
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        special = {token: text for token, text in self._special_tokens().items() if not is_mark(text)}
        self._control = frozenset(special)

    def size(self, item: Clip) -> int:
        width, height = frame_size(item) if item.frames and self.takes.frames else (0, 0)
        pictures = min(len(item.frames), self.settings.max_frames) * width * height / (28 * 28)
        heard = item.audio is not None and self.takes.sound
        sound = item.duration_s * AUDIO_TOKENS_PER_SECOND if heard else 0.0
        return int(pictures + sound + len(self.question.text(item)) / 3)

    def kind(self, item: Clip) -> Hashable:
        there, _ = given(item, self.wanted)
        # Many processors make one block of the pictures of a batch.
        frames = len(self._places(item)) if FRAMES in there else 0
        return frames, frame_size(item) if frames else None, AUDIO in there

    def degraded(self, item: Clip) -> tuple[str, ...]:
        return given(item, self.wanted)[1]

    def text(self, token_ids: Sequence[int]) -> str:
        """Without control tokens, but for those that part a thought from the answer."""
        kept = [token for token in token_ids if token not in self._control]
        return str(self.tokenizer.decode(kept, skip_special_tokens=False)).strip()

    def batch(self, items: Sequence[Clip]) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        there = set(given(items[0], self.wanted)[0])
        if FRAMES in there and self.takes.frames == "video":
            arguments["videos"] = [[frames] for frames in _of_each(self._frames, items)]
            arguments["videos_kwargs"] = {
                "do_sample_frames": False,
                "video_metadata": [[video_metadata(clip, self._places(clip))] for clip in items],
            }
        elif FRAMES in there:
            arguments["images"] = [list(frames) for frames in _of_each(self._frames, items)]
        if AUDIO in there:
            arguments["audio"] = _of_each(self._wave, items)
            arguments["audio_kwargs"] = {"sampling_rate": self.takes.rate}
        texts = [self._written(clip, there) for clip in items]
        # A template writes the token that begins a text itself, or leaves it to the tokenizer.
        begins = self.tokenizer.bos_token
        arguments["text_kwargs"] = {
            "padding": True,
            "padding_side": "left",
            "add_special_tokens": not (begins and texts[0].startswith(begins)),
        }
        inputs = self.processor(text=texts, return_tensors="pt", **arguments)
        return self._used(inputs)

    def _used(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What the model takes of that; `generate` refuses the rest."""
        return {name: value for name, value in inputs.items() if name in self._arguments}

    def _special_tokens(self) -> dict[int, str]:
        added = self.tokenizer.added_tokens_decoder
        return {token: str(entry) for token, entry in added.items() if entry.special}

    def _taken(self, folder: Path) -> Media:
        """What the processor makes, the template writes and the model takes, all three."""
        self.chat = ChatTemplate(self.processor, folder, self.settings.template)
        processor, settings = self.processor, self.settings
        hears = getattr(processor, "audio_processor", None) or getattr(processor, "feature_extractor", None)
        frames = next(
            (
                kind
                for kind in ("video", "image")
                if settings.frames_as in ("auto", kind)
                and self._made_by(getattr(processor, f"{kind}_processor", None))
                and self._writes(kind)
            ),
            None,
        )
        sound = settings.sound and self._made_by(hears) and self._writes("audio")
        if settings.frames_as not in ("auto", "off") and frames is None:
            raise InputError(f"{folder}: frames_as: {settings.frames_as}: it takes none")
        if frames is None and not sound:
            raise InputError(f"{folder}: it takes no pictures and no sound, or the settings switch them off")
        return Media(frames, sound, int(getattr(hears, "sampling_rate", None) or AUDIO_HZ))

    def _made_by(self, part: Any) -> bool:
        return part is not None and not self._arguments.isdisjoint(getattr(part, "model_input_names", ()))

    def _writes(self, kind: str) -> bool:
        """Whether the template writes anything in the place of such a medium."""
        text = {"type": "text", "text": "?"}
        try:
            with_it, without = (
                self.chat.written([{"role": "user", "content": [*media, text]}])
                for media in ([{"type": kind}], [])
            )
        except Exception as error:  # a template may raise what it likes
            _log.info("the chat template takes no %s: %s", kind, error)
            return False
        return with_it != without

    def _places(self, clip: Clip) -> list[int]:
        places = evenly(len(clip.frames), self.settings.max_frames)
        # A patch of many video models spans two frames.
        return places * 2 if len(places) == 1 and self.takes.frames == "video" else places

    def _frames(self, clip: Clip) -> torch.Tensor:
        return frames_tensor(clip, self._places(clip))

    def _written(self, clip: Clip, there: set[str]) -> str:
        text = self.chat.written(self.question.turns(clip, self._parts(clip, there)))
        return marked_once(self.processor, text)

    def _parts(self, clip: Clip, there: set[str]) -> list[dict[str, Any]]:
        """The media of the chat, in order."""
        parts: list[dict[str, Any]] = []
        if FRAMES in there and self.takes.frames == "video":
            parts.append({"type": "video"})
        elif FRAMES in there:
            for place in self._places(clip):
                parts.append({"type": "text", "text": frame_label(clip, place)})
                parts.append({"type": "image"})
        if AUDIO in there:
            parts.append({"type": "audio"})
        return parts

    def _wave(self, clip: Clip) -> np.ndarray:
        wave = audio_wave(clip)
        if self.takes.rate == AUDIO_HZ:
            return wave
        from scipy.signal import resample_poly

        common = math.gcd(AUDIO_HZ, self.takes.rate)
        return resample_poly(wave, self.takes.rate // common, AUDIO_HZ // common)


class MistralChat(AnyChat):
    """For checkpoints whose chat the package mistral-common writes, with the sound in its place (Voxtral)."""

    def _taken(self, folder: Path) -> Media:
        if self.settings.template:
            raise InputError(f"{folder}: template: its chats are written without a template")
        if self.settings.frames_as not in ("auto", "off") or not self.settings.sound:
            raise InputError(f"{folder}: it takes sound and nothing else")
        return Media(None, True, int(self.processor.feature_extractor.sampling_rate))

    def _special_tokens(self) -> dict[int, str]:
        names = self.tokenizer.convert_ids_to_tokens(self.tokenizer.all_special_ids)
        return dict(zip(self.tokenizer.all_special_ids, names, strict=True))

    def batch(self, items: Sequence[Clip]) -> dict[str, Any]:
        sounds = [{"type": "audio", "base64": data} for data in _of_each(self._data, items)]
        chats = [self.question.turns(clip, [sound]) for clip, sound in zip(items, sounds, strict=True)]
        inputs = self.processor.apply_chat_template(
            chats, tokenize=True, return_dict=True, return_tensors="pt"
        )
        return self._used(inputs)

    def _data(self, clip: Clip) -> str:
        return base64.b64encode(wav_of(self._wave(clip), self.takes.rate)).decode()


def _of_each(make: Callable[[Clip], Any], clips: Sequence[Clip]) -> list[Any]:
    """What is made of each clip; of one that stands there several times, for its samples, once."""
    made = {id(clip): clip for clip in clips}
    ready = {number: make(clip) for number, clip in made.items()}
    return [ready[id(clip)] for clip in clips]
