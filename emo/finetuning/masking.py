"""A sample as token ids with the places that are trained.

The prompt comes from the expert's own preprocessor, so that a model is trained on exactly what it will be
given; the answers are tokenised apart and put behind it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emo.captions.messages import TAGS, Turn
from emo.engines.preprocessing import ModelInput
from emo.errors import InputError, RowError
from emo.experts.family import Family
from emo.experts.in_process import finetunable
from emo.experts.prompts.plain import as_text, turns_as_text
from emo.experts.protocol import Clip
from emo.finetuning.samples import Sample

if TYPE_CHECKING:
    import torch


_NO_CLIP = Clip("", (), (), None, None, None, 0.0)
# What is not trained, as torch's cross entropy expects it.
IGNORED = -100


@dataclass(frozen=True)
class TrainingInput:
    """One sample on the CPU, unpadded.

    input_ids, labels: int64 [length], labels[i] is input_ids[i] where that token is trained, else -100 (not
    shifted); positions: int64 or float32 [axes, length]; features: what the model takes besides, see
    ModelInput; prompt: tokens before the first answer.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    positions: torch.Tensor
    features: Mapping[str, torch.Tensor] = field(default_factory=dict)
    prompt: int = 0

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def trained(self) -> int:
        """How many tokens count in the loss; the first token of a row is nobody's successor."""
        return int((self.labels[1:] != IGNORED).sum())


# The tags between the texts of a turn that shows pictures.
_TAGS = re.compile("(" + "|".join(TAGS.values()) + ")")


class _Chat:
    """What a preprocessor asks of its question: the turns of a sample up to one of its answers."""

    def __init__(self, system: str | None, turns: Sequence[Turn], pictures: bool = False) -> None:
        self.system = system
        self._turns = turns
        self._pictures = pictures

    def text(self, clip: Clip) -> str:
        return self._turns[0].content

    def turns(self, clip: Clip, media: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        chat: list[dict[str, Any]] = []
        if self.system is not None:
            chat.append({"role": "system", "content": [{"type": "text", "text": as_text(self.system)}]})
        for number, turn in enumerate(self._turns):
            if number == 0 and self._pictures:
                chat.append({"role": turn.role, "content": _in_place(turn.content, media)})
                continue
            shown = list(media) if number == 0 else []
            said = turns_as_text(turn.content) if turn.role == "assistant" else as_text(turn.content)
            chat.append({"role": turn.role, "content": [*shown, {"type": "text", "text": said}]})
        return chat


def _in_place(text: str, media: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The text with each medium where its tag stands; a tag of a kind that is not among them goes."""
    kinds = {one["type"] for one in media}
    parts: list[dict[str, Any]] = []
    for part in _TAGS.split(text):
        if part in TAGS.values():
            parts += [{"type": part.strip("<>")}] if part.strip("<>") in kinds else []
        elif part:
            parts.append({"type": "text", "text": as_text(part)})
    return parts


class Encoder:
    """Encodes samples for one family and checkpoint.

    max_frames: as in the expert's settings; max_tokens: longer samples are refused. Raises InputError where
    the checkpoint's chat template cannot be trained on.
    """

    def __init__(
        self, family: str, folder: Path, *, max_frames: int, max_tokens: int, trust_remote_code: bool = False
    ) -> None:
        cls = finetunable(family)
        values: dict[str, Any] = {"name": "train", "kind": family, "model": str(folder), "device": "cpu"}
        values["trust_remote_code"] = trust_remote_code
        if "max_frames" in cls.Settings.model_fields:
            values["max_frames"] = max_frames
        settings: Any = cls.Settings(**values)
        empty = _Chat(None, [Turn("user", "")])
        self.max_tokens = max_tokens
        of_family = cls.family
        self.preprocessor = of_family.preprocessor(folder, settings, empty, of_family.senses)
        self.preprocessor.model = skeleton(of_family, folder, trust_remote_code)
        self.tokenizer = self.preprocessor.tokenizer
        self.end_token, self._end_text = self._end_of_answer(folder)
        self.pad_token = (
            self.end_token if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id
        )
        self.media_tokens = _media_tokens(self.preprocessor.model.config)

    def encode(self, sample: Sample, clip: Clip | None) -> TrainingInput:
        """The sample's ids, labels and features.

        Raises RowError: `too_long`, `untrained`, `template` where the chat template changes what the
        assistant said, `modality_missing`, `bad_frames`, `bad_audio`.
        """
        import torch

        turns = sample.turns
        answers = [number for number, turn in enumerate(turns) if turn.role == "assistant"]
        prompt_ids, positions, features = self._prompt(sample, clip)
        ids = [prompt_ids]
        labels = [torch.full_like(prompt_ids, IGNORED)]
        for place, number in enumerate(answers):
            turn = turns[number]
            answer = torch.tensor([*self._tokens(turn.content), self.end_token])
            ids.append(answer)
            labels.append(answer.clone() if turn.trained else torch.full_like(answer, IGNORED))
            if place + 1 < len(answers):
                between = torch.tensor(self._tokens(self._between(sample, number, answers[place + 1])))
                ids.append(between)
                labels.append(torch.full_like(between, IGNORED))
        input_ids, wanted = torch.cat(ids), torch.cat(labels)
        if len(input_ids) > self.max_tokens:
            raise RowError(
                "too_long", f"{len(input_ids)} tokens, max_tokens is {self.max_tokens}; nothing is cut"
            )
        added = len(input_ids) - len(prompt_ids)
        # Text goes on as it does when the model writes: one position further on every axis.
        onward = positions.max() + 1 + torch.arange(added).to(positions.dtype)
        positions = torch.cat([positions, onward.expand(len(positions), added)], dim=1)
        made = TrainingInput(input_ids, wanted, positions, features, len(prompt_ids))
        self._check(made)
        return made

    def prompt(self, sample: Sample, clip: Clip | None) -> ModelInput:
        """What the model is given before the first answer, as the expert would give it."""
        return ModelInput(*self._prompt(sample, clip))

    def dummy(self) -> TrainingInput:
        """A short row with every medium of the family and nothing to train.

        Under ZeRO-3 all ranks must run the same modules, so a batch without media gets this row.
        """
        clip = Clip("", (_grey_frame(),), (0.0,), _silence(), None, None, 1.0)
        sample = Sample("", None, (Turn("user", "."),), True)
        ids, positions, features = self._prompt(sample, clip)
        import torch

        return TrainingInput(ids, torch.full_like(ids, IGNORED), positions, features, len(ids))

    def show(self, made: TrainingInput) -> str:
        """The text of a row with what is trained in «» and every media token as `·`."""
        parts: list[str] = []
        inside = False
        run: list[int] = []

        def flush() -> None:
            text = "".join(
                "·" if token in self.media_tokens else self.tokenizer.decode([token]) for token in run
            )
            parts.append(f"«{text}»" if inside else text)
            run.clear()

        for token, label in zip(made.input_ids.tolist(), made.labels.tolist(), strict=True):
            if (label != IGNORED) != inside:
                flush()
                inside = not inside
            run.append(token)
        flush()
        return "".join(parts)

    def _prompt(
        self, sample: Sample, clip: Clip | None
    ) -> tuple[torch.Tensor, torch.Tensor, Mapping[str, torch.Tensor]]:
        import torch

        preprocessor = self.preprocessor
        preprocessor.question = _Chat(sample.system, sample.turns[:1], sample.pictures)
        if sample.has_media:
            if clip is None:
                raise RowError("modality_missing", "the sample's clip is not there")
            prompt = preprocessor.pictures(clip) if sample.pictures else preprocessor.prepare(clip)
            return prompt.input_ids, prompt.positions, prompt.features
        ids = torch.tensor(self._tokens(self._written(sample, 1)))
        axes = 3 if hasattr(preprocessor, "positions") else 1
        return ids, torch.arange(len(ids)).expand(axes, len(ids)), {}

    def _written(self, sample: Sample, count: int) -> str:
        """The first turns as text that ends where the assistant begins, without media."""
        self.preprocessor.question = _Chat(sample.system, sample.turns[:count], sample.pictures)
        return self.preprocessor.written(_NO_CLIP, [])

    def _between(self, sample: Sample, answer: int, following: int) -> str:
        """What the template writes between the end token of one answer and the next answer."""
        before = self._written(sample, answer) + sample.turns[answer].content + self._end_text
        whole = self._written(sample, following)
        if not whole.startswith(before):
            raise RowError("template", "the chat template changes an earlier answer; train on single answers")
        return whole[len(before) :]

    def _tokens(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _end_of_answer(self, folder: Path) -> tuple[int, str]:
        """The token that the template writes behind an answer: the model has to learn to end with it."""
        answer = "The answer."
        chat = [Turn("user", "The question."), Turn("assistant", answer)]
        processor: Any = self.preprocessor.processor
        asked = processor.apply_chat_template(
            _Chat(None, chat[:1]).turns(_NO_CLIP, []),
            tokenize=False,
            add_generation_prompt=True,
        )
        whole = processor.apply_chat_template(
            _Chat(None, chat).turns(_NO_CLIP, []),
            tokenize=False,
            add_generation_prompt=False,
        )
        if not whole.startswith(asked + answer):
            raise InputError(f"{folder}: the chat template writes an answer otherwise than the model does")
        tokens = self._tokens(whole[len(asked + answer) :])
        ends = {self.tokenizer.eos_token_id}
        generation = getattr(self.preprocessor.model, "generation_config", None)
        named = getattr(generation, "eos_token_id", None)
        ends |= set(named if isinstance(named, list) else [named])
        if not tokens or tokens[0] not in ends:
            raise InputError(f"{folder}: the chat template ends an answer with no token that ends writing")
        return tokens[0], str(self.tokenizer.decode(tokens[:1]))

    def _check(self, made: TrainingInput) -> None:
        if not made.trained:
            raise RowError("untrained", "nothing of the sample is trained")
        trained = set(made.labels[made.labels != IGNORED].tolist())
        if trained & self.media_tokens:
            raise RowError("bad_messages", "an answer contains a placeholder of media")
        if self.end_token not in trained:
            raise RowError("untrained", "the end of no answer is trained")


def skeleton(family: Family, folder: Path, trust_remote_code: bool) -> Any:
    """The model without weights: some families know only there where a token of a picture stands."""
    import torch
    import transformers

    from emo.engines.models import architecture

    name = family.classes[architecture(folder, family.classes)]
    model_class = getattr(transformers, name)
    config = model_class.config_class.from_pretrained(folder, trust_remote_code=trust_remote_code)
    with torch.device("meta"):
        model = model_class(config)
    if (folder / "generation_config.json").exists():
        model.generation_config = transformers.GenerationConfig.from_pretrained(folder)
    return model


def _media_tokens(config: Any) -> set[int]:
    names = ("image_token_id", "video_token_id", "audio_token_id", "audio_token_index", "image_token_index")
    found = {getattr(config, name, None) for name in (*names, "video_token_index")}
    return {int(token) for token in found if token is not None}


def _grey_frame() -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(buffer, "JPEG")
    return buffer.getvalue()


def _silence() -> bytes:
    import numpy as np

    from emo.media.audio import flac
    from emo.media.wave import AUDIO_HZ

    return flac(np.zeros(AUDIO_HZ, dtype=np.int16))
