"""A model behind an OpenAI-compatible server: vLLM, SGLang, `transformers serve`, or a provider."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from emo.engines.openai_client import (
    Answer,
    ChatRequest,
    OpenAIClient,
    ServerSettings,
    audio_part,
    image_part,
)
from emo.errors import InputError, RowError
from emo.experts import protocol
from emo.experts.in_process import Question, given
from emo.experts.media import audio_wave, evenly
from emo.experts.protocol import AUDIO, FRAMES, TRANSCRIPT, Card, Clip, Description, Expert
from emo.media.wave import AUDIO_HZ, wav_of


class OpenAISettings(protocol.Settings):
    """A model behind a server that speaks the OpenAI protocol."""

    server: ServerSettings
    """The server, and how it is asked."""
    prompt: str = "description"
    """What the expert is asked: `description`, `open-vocabulary`, or a text file."""
    system: str | None = None
    """The system turn. `null` sends none."""
    give_transcript: bool = False
    """Whether the expert is told what is said. By default a text model takes the words in later."""
    max_frames: int = Field(8, ge=0)
    """The most frames of a clip that are sent as images, at even distances. 0 sends none."""
    audio: Literal["off", "wav", "flac"] = "off"
    """Whether the sound is sent, and in which form the server takes it."""

    @model_validator(mode="after")
    def _sends_something(self) -> "OpenAISettings":
        if not self.max_frames and self.audio == "off":
            raise ValueError("nothing would be sent: max_frames is 0 and audio is off")
        return self

    @property
    def wanted(self) -> tuple[str, ...]:
        """The modalities that go along."""
        senses = [
            (FRAMES, self.max_frames > 0),
            (AUDIO, self.audio != "off"),
            (TRANSCRIPT, self.give_transcript),
        ]
        return tuple(name for name, goes in senses if goes)


class OpenAIExpert(Expert):
    """One model of one server. Nothing is loaded here; many requests are under way at once."""

    Settings = OpenAISettings

    def __init__(self, settings: OpenAISettings) -> None:
        self._settings = settings
        self._question = _question(settings)
        self._client = OpenAIClient(settings.server)
        self.card = Card(
            name=settings.name,
            modalities=settings.wanted,
            model=settings.server.model,
            prompt_sha=self._question.sha,
        )

    @classmethod
    def reads_transcript(cls, settings: OpenAISettings) -> bool:
        return settings.give_transcript

    @classmethod
    def missing(cls, settings: OpenAISettings) -> list[str]:
        lines = settings.server.missing()
        try:
            _question(settings)
        except InputError as error:
            lines.append(str(error))
        return lines

    def describe(self, clips: Sequence[Clip]) -> list[list[Description] | RowError]:
        asked = [self._asked(clip) for clip in clips]
        requests = [one[0] for one in asked if not isinstance(one, RowError)]
        answers = iter(self._client.chat(requests))
        return [one if isinstance(one, RowError) else _described(next(answers), one[1]) for one in asked]

    def close(self) -> None:
        self._client.close()

    def _asked(self, clip: Clip) -> tuple[ChatRequest, tuple[str, ...]] | RowError:
        """The request for one clip and what it lacks."""
        from emo.engines.sampling import row_seed

        settings = self._settings
        try:
            there, degraded = given(clip, settings.wanted)
            media = list(self._media(clip, there))
        except RowError as error:
            return error
        numbers = range(settings.samples) if clip.samples is None else clip.samples
        seeds = (row_seed(settings.seed, settings.name, clip.video_id, number) for number in numbers)
        # Servers take 32 bits; some refuse the sign bit.
        small = tuple(seed % 2**31 for seed in seeds)
        return ChatRequest(self._question.turns(clip, media), small), degraded

    def _media(self, clip: Clip, there: Sequence[str]) -> Iterator[dict[str, Any]]:
        if FRAMES in there:
            for place in evenly(len(clip.frames), self._settings.max_frames):
                yield image_part(clip.frames[place])
        if AUDIO in there:
            form = self._settings.audio
            assert clip.audio is not None
            yield audio_part(clip.audio if form == "flac" else wav_of(audio_wave(clip), AUDIO_HZ), form)


def _question(settings: OpenAISettings) -> Question:
    shared: Any = settings  # it reads the fields that both kinds of settings have
    return Question(shared, "openai")


def _described(answers: list[Answer] | RowError, degraded: tuple[str, ...]) -> list[Description] | RowError:
    if isinstance(answers, RowError):
        return answers
    return [
        Description(
            text=answer.text,
            degraded=degraded,
            prompt_tokens=answer.prompt_tokens,
            output_tokens=answer.output_tokens,
            finish_reason=answer.finish_reason,
            thought=answer.thought,
        )
        for answer in answers
    ]
