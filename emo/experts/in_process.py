"""What the experts that run a model of transformers in their own process have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from emo import experts
from emo.aus.tables import missing_tables
from emo.engines.model_cards import described, licence_of
from emo.engines.models import (
    NamedModel,
    memory_gib,
    missing_model,
    named_models,
)
from emo.engines.settings import EngineSettings
from emo.errors import InputError, RowError
from emo.experts.family import Family
from emo.experts.peak import check_one_frame, described_at_peaks
from emo.experts.prompts import load_prompt, prompt_sha
from emo.experts.prompts.plain import as_text
from emo.experts.prompts.turns import PreviousTurns
from emo.experts.protocol import (
    AUDIO,
    FRAMES,
    TRANSCRIPT,
    Card,
    Clip,
    Description,
    Expert,
    Resources,
    Settings,
)
from emo.experts.trained_on import trained_on

if TYPE_CHECKING:
    from emo.engines.generate import GenerateEngine
    from emo.engines.transformers_engine import TransformersEngine
    from emo.engines.vllm import VllmEngine
    from emo.engines.vllm_server import VllmSettings


class InProcessSettings(EngineSettings, Settings):
    """A model of transformers that runs in the worker, or in a server that the worker starts."""

    prompt: str | None = "description"
    """What the expert is asked: `description`, `open-vocabulary`, or a text file. `null` asks nothing, for a
    model that takes no question.
    """
    system: str | None = None
    """The system turn. `null` is what the checkpoint's chat template does without one."""
    give_transcript: bool = False
    """Whether the expert is told what is said. By default a text model takes the words in later."""
    previous_turns: int = Field(0, ge=0, le=100)
    """The number of turns of the dialogue before a clip that the expert is told, by the columns `dialogue_id`
    and `turn` of the manifest. Captions and training are told none.
    """


class FramesSettings(InProcessSettings):
    """A model that sees frames."""

    max_frames: int = Field(8, ge=1)
    """The most frames of a clip that the expert is shown, at even distances."""
    peak_tables: str | None = None
    """The folder with the CSV of OpenFace for each clip, for `max_frames: 1`. The one frame is then where the
    face moves most, and not the middle one.
    """

    @model_validator(mode="after")
    def _one_frame(self) -> FramesSettings:
        check_one_frame(self.peak_tables, self.max_frames)
        return self


class Question:
    """What is asked about a clip, with its hash; prompts: whose texts the names of prompts mean."""

    def __init__(self, settings: InProcessSettings, prompts: str) -> None:
        name = settings.prompt
        self._asked = ""
        if name is not None:
            self._asked = load_prompt(name if name.endswith(".txt") else f"{prompts}-{name}").text
        self._transcript = load_prompt("transcript") if settings.give_transcript else None
        self._turns = PreviousTurns() if settings.previous_turns else None
        parts = [self._asked, settings.system or ""]
        parts += [self._transcript.text] if self._transcript else []
        parts += [self._turns.sha] if self._turns else []
        self.sha = prompt_sha(*parts)
        self.system = settings.system

    def text(self, clip: Clip) -> str:
        parts = [self._asked]
        if self._turns is not None:
            parts.append(self._turns.told(clip.before, clip.speaker))
        if self._transcript is not None and clip.transcript:
            parts.append(self._transcript.text.replace("{transcript}", as_text(clip.transcript)))
        return "\n".join(part for part in parts if part)

    def turns(self, clip: Clip, media: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The chat: the media, in order, before the question."""
        text = self.text(clip)
        content = [*media, *([{"type": "text", "text": text}] if text else [])]
        user = {"role": "user", "content": content}
        if self.system is None:
            return [user]
        return [{"role": "system", "content": [{"type": "text", "text": self.system}]}, user]


def given(clip: Clip, wanted: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Which of the wanted modalities the clip has, and which it has not.

    Raises RowError `modality_missing` where it has none that the model could look at or listen to: a model
    that is asked about nothing invents an answer.
    """
    have = {FRAMES: bool(clip.frames), AUDIO: clip.audio is not None, TRANSCRIPT: bool(clip.transcript)}
    there = [modality for modality in wanted if have[modality]]
    if not set(there) & {FRAMES, AUDIO}:
        senses = [modality for modality in wanted if modality != TRANSCRIPT]
        raise RowError("modality_missing", f"the clip has no {' and no '.join(senses)}")
    return there, tuple(modality for modality in wanted if not have[modality])


class EngineExpert(Expert):
    """An expert whose answers an engine in this process writes; a subclass sets its settings and engine."""

    settings: Settings
    engine: TransformersEngine[Clip] | GenerateEngine[Clip] | VllmEngine[Clip]

    @classmethod
    def resources(cls, settings: Any) -> Resources:
        """One core for the model's loop and one for each thread that prepares its inputs."""
        on_gpu = settings.device == "cuda"
        return Resources(cpus=1.0 + settings.workers, gpus=float(settings.gpus) if on_gpu else 0.0)

    def describe(self, clips: Sequence[Clip]) -> list[list[Description] | RowError]:
        answers = self.engine.generate(
            clips,
            [clip.video_id for clip in clips],
            name=self.settings.name,
            samples=self.settings.samples,
            seed=self.settings.seed,
            chosen=[clip.samples for clip in clips],
        )
        return [
            answer
            if isinstance(answer, RowError)
            else [
                Description(
                    text=completion.text,
                    degraded=completion.degraded,
                    prompt_tokens=completion.prompt_tokens,
                    output_tokens=completion.output_tokens,
                    finish_reason=completion.finish_reason,
                    thought=completion.thought,
                )
                for completion in answer
            ]
            for answer in answers
        ]

    def close(self) -> None:
        self.engine.close()


class ChatExpert(EngineExpert):
    """A chat model with its processor; prompts: whose texts the names of prompts mean."""

    settings: InProcessSettings

    prompts: ClassVar[str]

    def describe(self, clips: Sequence[Clip]) -> list[list[Description] | RowError]:
        return described_at_peaks(clips, getattr(self.settings, "peak_tables", None), super().describe)

    def _card(self, question: Question, wanted: Sequence[str]) -> Card:
        settings = self.settings
        about = described(self.engine.folder)
        return Card(
            name=settings.name,
            modalities=tuple(wanted),
            model=settings.model,
            revision=self.engine.revision,
            adapter=self.engine.adapter,
            prompt_sha=question.sha,
            licence=licence_of(self.engine.folder),
            trained_on=trained_on(settings.model, settings.adapter, card=about),
            memory_gib=round(memory_gib(self.engine.folder), 3),
            engine=self.engine.name,
        )

    def _vllm(self, served: VllmSettings, question: Question, wanted: Sequence[str]) -> VllmEngine[Clip]:
        """The engine of these settings behind vLLM."""
        from emo.engines.vllm import VllmEngine
        from emo.experts.served import asked, media

        settings = self.settings
        frames = getattr(settings, "max_frames", 0)
        making = partial(asked, question=question, wanted=wanted, max_frames=frames)
        return VllmEngine(settings, served, making, media(wanted, frames))

    @classmethod
    def reads_transcript(cls, settings: InProcessSettings) -> bool:
        return settings.give_transcript

    @classmethod
    def previous_turns(cls, settings: InProcessSettings) -> int:
        return settings.previous_turns

    @classmethod
    def resources(cls, settings: InProcessSettings) -> Resources:
        """On a CPU with the memory of the weights."""
        needed = super().resources(settings)
        if settings.device == "cuda":
            return needed
        try:
            return replace(needed, memory_gib=memory_gib(Path(settings.model).expanduser()))
        except InputError:  # not here yet: its size is unknown
            return needed

    @classmethod
    def models(cls, settings: InProcessSettings) -> list[NamedModel]:
        return named_models(settings)

    @classmethod
    def missing(cls, settings: InProcessSettings) -> list[str]:
        lines = cls._missing_model(settings) + settings.missing_engine()
        if (tables := getattr(settings, "peak_tables", None)) is not None:
            lines += missing_tables(tables)
        try:
            Question(settings, cls.prompts)
        except InputError as error:
            lines.append(str(error))
        return lines

    @classmethod
    @abstractmethod
    def _missing_model(cls, settings: InProcessSettings) -> list[str]:
        """What keeps this checkpoint from running here, one line each."""


class InProcessExpert(ChatExpert):
    """A model of a family that emo's own loop runs; a subclass says which."""

    family: ClassVar[Family]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.prompts = cls.family.prompts

    def __init__(self, settings: InProcessSettings) -> None:
        from emo.engines.transformers_engine import TransformersEngine

        self.settings = settings
        family = self.family
        wanted = (*family.senses, TRANSCRIPT) if settings.give_transcript else family.senses
        question = Question(settings, family.prompts)
        if settings.served:
            self.engine = self._vllm(settings.served, question, wanted)
            self.card = self._card(question, wanted)
            return
        preprocessor = partial(family.preprocessor, settings=settings, question=question, wanted=wanted)
        self.engine = TransformersEngine(settings, preprocessor, family.classes)
        self.card = self._card(question, wanted)

    @classmethod
    def _missing_model(cls, settings: InProcessSettings) -> list[str]:
        return missing_model(settings, cls.family.classes)


def finetunable(kind: str) -> type[InProcessExpert]:
    """The class of an expert that an adapter can be trained for; raises InputError where it is none."""
    cls = experts.expert_class(kind)
    if issubclass(cls, InProcessExpert) and cls.family.parts:
        return cls
    raise InputError(f"an expert of the kind {kind!r} has no chat model in this process that can be trained")
