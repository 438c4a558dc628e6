"""A model behind an OpenAI-compatible server: vLLM, SGLang, `transformers serve`, or a provider."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from emo.aus.tables import missing_tables
from emo.engines.openai_client import (
    Answer,
    ChatRequest,
    OpenAIClient,
    ServerSettings,
    audio_part,
    image_part,
    video_part,
)
from emo.errors import InputError, RowError
from emo.experts import protocol
from emo.experts.in_process import Question, given
from emo.experts.media import audio_wave, evenly, video_metadata
from emo.experts.peak import check_one_frame, described_at_peaks
from emo.experts.protocol import AUDIO, FRAMES, TRANSCRIPT, Card, Clip, Description, Expert
from emo.experts.trained_on import trained_on
from emo.media.wave import AUDIO_HZ, wav_of

# Of a video without times vLLM takes so many frames and drops the rest.
_MOST_FRAMES = 32


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
    previous_turns: int = Field(0, ge=0, le=100)
    """The number of turns of the dialogue before a clip that the expert is told, by the columns `dialogue_id`
    and `turn` of the manifest. Captions and training are told none.
    """
    max_frames: int = Field(8, ge=0)
    """The most frames of a clip that are sent as images, at even distances. 0 sends none."""
    peak_tables: str | None = None
    """The folder with the CSV of OpenFace for each clip, for `max_frames: 1`. The one frame is then where the
    face moves most, and not the middle one.
    """
    frames_as: Literal["images", "video", "timed_video"] = "images"
    """How the frames are sent. `images` is what any server takes. `video` is one video, as an adapter of `emo
    finetune` was trained on them; vLLM takes up to 32 frames so. `timed_video` also says when each frame
    stands, which Qwen3-VL is told; vLLM must be started with `--trust-request-mm-kwargs` for that.
    """
    audio: Literal["off", "wav", "flac"] = "off"
    """Whether the sound is sent, and in which form the server takes it."""

    @model_validator(mode="after")
    def _sends_something(self) -> "OpenAISettings":
        if not self.max_frames and self.audio == "off":
            raise ValueError("nothing would be sent: max_frames is 0 and audio is off")
        if self.frames_as == "video" and self.max_frames > _MOST_FRAMES:
            raise ValueError(f"frames_as video: a server takes {_MOST_FRAMES} frames, max_frames is more")
        check_one_frame(self.peak_tables, self.max_frames)
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
            trained_on=trained_on(settings.server.model),
        )

    @classmethod
    def reads_transcript(cls, settings: OpenAISettings) -> bool:
        return settings.give_transcript

    @classmethod
    def previous_turns(cls, settings: OpenAISettings) -> int:
        return settings.previous_turns

    @classmethod
    def missing(cls, settings: OpenAISettings) -> list[str]:
        lines = settings.server.missing()
        if settings.peak_tables is not None:
            lines += missing_tables(settings.peak_tables)
        try:
            _question(settings)
        except InputError as error:
            lines.append(str(error))
        return lines

    def describe(self, clips: Sequence[Clip]) -> list[list[Description] | RowError]:
        return described_at_peaks(clips, self._settings.peak_tables, self._answers)

    def _answers(self, clips: Sequence[Clip]) -> list[list[Description] | RowError]:
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
        more: dict[str, Any] = {}
        if FRAMES in there and settings.frames_as == "timed_video":
            times = video_metadata(clip, evenly(len(clip.frames), settings.max_frames))
            more = {"media_io_kwargs": {"video": {**times, "duration": clip.duration_s, "num_frames": -1}}}
        return ChatRequest(self._question.turns(clip, media), small, more), degraded

    def _media(self, clip: Clip, there: Sequence[str]) -> Iterator[dict[str, Any]]:
        if FRAMES in there:
            frames = [clip.frames[place] for place in evenly(len(clip.frames), self._settings.max_frames)]
            if self._settings.frames_as == "images":
                yield from map(image_part, frames)
            else:
                yield video_part(frames)
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
