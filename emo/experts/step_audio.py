"""Step-Audio-2-mini: sound only, heard in chunks of 25 s; its variant that thinks first as well.

The chat is written and cut into tokens piece by piece as in the published code. What is asked is emo's own.
No code of the checkpoint is run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emo.engines.models import NamedModel, missing_model, named_models
from emo.engines.preprocessing import ModelInput, Preprocessor
from emo.engines.settings import ModelSettings
from emo.errors import InputError, RowError
from emo.experts import protocol
from emo.experts.in_process import EngineExpert, given
from emo.experts.media import audio_wave
from emo.experts.prompts import load_prompt, prompt_sha
from emo.experts.protocol import AUDIO, Card, Clip
from emo.experts.trained_on import trained_on
from emo.media.wave import AUDIO_HZ

if TYPE_CHECKING:
    import torch

_ARCHITECTURE = "StepAudio2ForCausalLM"
PATCH = "<audio_patch>"
_BEGINS, _ENDS, _TURN_ENDS = "<audio_start>", "<audio_end>", "<|EOT|>"


class StepAudioSettings(protocol.Settings, ModelSettings):
    """A checkpoint in the layout of Step-Audio-2-mini."""

    model: str = "stepfun-ai/Step-Audio-2-mini"
    """The checkpoint: a local folder, an `s3://` folder, or a hub id."""
    prompt: str = "description"
    """What the expert is asked: `description`, `open-vocabulary`, or a text file."""
    system: str | None = "You are a helpful assistant."
    """The system turn, by default that of the published examples. `null` is none."""
    think: bool = False
    """Whether the answer begins with a thought, for Step-Audio-2-mini-Think. The thought is kept apart."""
    ignore_unknown_keys: bool = False
    """Whether the expert goes on although the files hold weights that this code has no place for."""


class StepAudioExpert(EngineExpert):
    """Describes what can be heard."""

    Settings = StepAudioSettings

    def __init__(self, settings: StepAudioSettings) -> None:
        from emo.engines.model_cards import described, licence_of
        from emo.engines.models import memory_gib, resolve_model
        from emo.engines.published import without_reports
        from emo.engines.transformers_engine import TransformersEngine
        from emo.experts import step_audio_model as parts

        self.settings = settings
        question = _question(settings)
        folder = resolve_model(settings.model, settings.revision)
        llm, sound = parts.read_configs(folder)
        ignored = parts.check_keys(folder, llm, sound, settings.ignore_unknown_keys)
        with without_reports():
            self.engine = TransformersEngine(
                settings,
                lambda folder: StepAudioPreprocessor(folder, settings, question, sound["n_mels"]),
                {_ARCHITECTURE: "Qwen2ForCausalLM"},
                llm,
            )
        preprocessor = self.engine.preprocessor
        assert isinstance(preprocessor, StepAudioPreprocessor)
        weight = self.engine.model.get_input_embeddings().weight
        encoder, adapter = parts.load_sound(folder, sound, weight.dtype)
        self.engine.model = parts.StepAudio(
            self.engine.model,
            encoder.to(weight.device),
            adapter.to(weight.device),
            {PATCH: preprocessor.tokens[PATCH]},
        ).requires_grad_(False)
        self.engine.end_tokens |= {preprocessor.tokens[_TURN_ENDS]}
        self.card = Card(
            name=settings.name,
            modalities=(AUDIO,),
            model=settings.model + (f", without {', '.join(ignored)}" if ignored else ""),
            revision=self.engine.revision,
            adapter=self.engine.adapter,
            prompt_sha=prompt_sha(question, settings.system or "", "think" if settings.think else ""),
            licence=licence_of(folder),
            trained_on=trained_on(settings.model, card=described(folder)),
            memory_gib=round(memory_gib(folder), 3),
            engine=self.engine.name,
        )

    @classmethod
    def models(cls, settings: StepAudioSettings) -> list[NamedModel]:
        return named_models(settings)

    @classmethod
    def missing(cls, settings: StepAudioSettings) -> list[str]:
        lines = missing_model(settings, [_ARCHITECTURE])
        folder = Path(settings.model).expanduser()
        try:
            _question(settings)
            if not lines and folder.is_dir():
                from emo.experts import step_audio_model as parts

                parts.check_keys(folder, *parts.read_configs(folder), settings.ignore_unknown_keys)
        except InputError as error:
            lines.append(str(error))
        return lines


class StepAudioPreprocessor(Preprocessor[Clip]):
    """Writes the chat in the published form, and prepares the sound.

    bands: of the spectrum; tokens: the ids of the four tokens that the form needs. Raises InputError where
    the tokenizer lacks one.
    """

    def __init__(self, folder: Path, settings: StepAudioSettings, question: str, bands: int) -> None:
        from transformers import PreTrainedTokenizerFast

        self._bands = bands
        try:
            self.tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise InputError(f"{folder}: its tokenizer cannot be loaded: {error}") from error
        known: Mapping[str, int] = self.tokenizer.get_vocab()
        absent = [token for token in (_BEGINS, PATCH, _ENDS, _TURN_ENDS) if token not in known]
        if absent:
            raise InputError(f"{folder}: its tokenizer has no {', '.join(absent)}")
        self.tokens = {token: known[token] for token in (_BEGINS, PATCH, _ENDS, _TURN_ENDS)}
        system = [] if settings.system is None else [f"<|BOT|>system\n{settings.system}{_TURN_ENDS}"]
        self._before = self._tokens([*system, "<|BOT|>human\n", question])
        thought = "\n<think>\n" if settings.think else ""
        self._after = self._tokens([_TURN_ENDS, f"<|BOT|>assistant\n{thought}"])

    def _tokens(self, pieces: Sequence[str]) -> list[int]:
        """The pieces are cut into tokens one by one, as published: a token never spans two of them."""
        return [
            token
            for piece in pieces
            for token in self.tokenizer(piece, add_special_tokens=False)["input_ids"]
        ]

    def size(self, item: Clip) -> int:
        return len(self._before) + len(self._after) + int(13 * item.duration_s)

    def prepare(self, item: Clip) -> ModelInput:
        import torch

        from emo.experts.step_audio_model import CHUNK_S, log_mel, vectors_of

        given(item, (AUDIO,))
        wave = audio_wave(item)
        span = CHUNK_S * AUDIO_HZ
        chunks = [log_mel(wave[start : start + span], self._bands) for start in range(0, len(wave), span)]
        frames = [chunk.shape[1] for chunk in chunks]
        counts = list(map(vectors_of, frames))
        if not any(counts):
            raise RowError("bad_audio", "the sound is too short: not one vector stands for it")
        heard = []
        for count in counts:
            heard += [self.tokens[_BEGINS], *[self.tokens[PATCH]] * count, self.tokens[_ENDS]]
        ids = torch.tensor([*self._before, *heard, *self._after])
        features = {
            "mel": self.stack("mel", [chunk[None] for chunk in chunks]),
            "frames": torch.tensor(frames),
            "chunks": torch.tensor([len(chunks)]),
        }
        return ModelInput(ids, torch.arange(len(ids))[None], features)

    def stack(self, name: str, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        import torch

        if name != "mel":
            return torch.cat(list(parts))
        longest = max(part.shape[-1] for part in parts)
        return torch.cat([torch.nn.functional.pad(part, (0, longest - part.shape[-1])) for part in parts])

    def on_device(self, features: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
        if "mel" in features:
            features["mel"] = features["mel"].to(dtype)
        return features

    def text(self, token_ids: Sequence[int]) -> str:
        """Without what is no text: all tokens from the first of sound on."""
        kept = [token for token in token_ids if token < self.tokens[_BEGINS]]
        return str(self.tokenizer.decode(kept, skip_special_tokens=False)).strip()


def _question(settings: StepAudioSettings) -> str:
    """Those of the family that hears as much."""
    name = settings.prompt
    return load_prompt(name if name.endswith(".txt") else f"qwen-audio-{name}").text
