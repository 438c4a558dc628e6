"""Text models that answer many questions: one in this process, or one behind a server."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from emo.engines.openai_client import ChatRequest, OpenAIClient, ServerSettings
from emo.engines.settings import EngineSettings
from emo.errors import RowError

if TYPE_CHECKING:
    from emo.engines.text import Chat
    from emo.engines.transformers_engine import TransformersEngine
    from emo.engines.vllm import VllmEngine


@dataclass(frozen=True)
class Written:
    """One answer; complete: the model ended it, not the limit on its length."""

    text: str
    complete: bool


class Writer(ABC):
    """name: the model with its revision, as the `extractor` column says it."""

    name: str

    @abstractmethod
    def write(
        self, questions: Sequence[str], keys: Sequence[str], *, task: str, seed: int, begins: str = ""
    ) -> list[Written | RowError]:
        """One answer to each question, in their order; keys, task and seed decide the random numbers.

        begins: how every answer begins; the model is given it and goes on from there.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back what the writer holds."""


class EngineWriter(Writer):
    """A causal language model of transformers, in this process or in a vLLM server of its own."""

    def __init__(self, settings: EngineSettings) -> None:
        self._engine = _engine(settings)
        adapter = f" with {self._engine.adapter}" if self._engine.adapter else ""
        by = f" by {self._engine.name}" if settings.served else ""
        self.name = f"{settings.model}@{self._engine.revision}{adapter}{by}"

    def write(
        self, questions: Sequence[str], keys: Sequence[str], *, task: str, seed: int, begins: str = ""
    ) -> list[Written | RowError]:
        from emo.engines.text import Chat

        answers = self._engine.generate(
            [Chat(question, begins=begins) for question in questions], keys, name=task, seed=seed
        )
        return [
            answer
            if isinstance(answer, RowError)
            else Written(_begun(answer[0].text, begins), answer[0].finish_reason == "stop")
            for answer in answers
        ]

    def close(self) -> None:
        self._engine.close()


def _engine(settings: EngineSettings) -> "TransformersEngine[Chat] | VllmEngine[Chat]":
    if settings.served:
        from emo.engines.vllm import VllmEngine

        return VllmEngine(settings, settings.served, _asked, {})
    from emo.engines.text import TextPreprocessor
    from emo.engines.transformers_engine import TransformersEngine

    return TransformersEngine(
        settings, lambda folder: TextPreprocessor(folder, settings.trust_remote_code, settings.template)
    )


def _asked(chat: "Chat") -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    return _turns(chat.user, chat.begins), ()


def _turns(question: str, begins: str) -> list[dict[str, Any]]:
    """Servers take the beginning of an answer as a last turn of the model's: some go on from it, some answer
    anew, and `_begun` reads both.
    """
    turns = [{"role": "user", "content": question}]
    return [*turns, {"role": "assistant", "content": begins}] if begins else turns


def _begun(answer: str, begins: str) -> str:
    """The whole answer, whether or not it repeats how it was to begin."""
    return answer if begins in answer.lstrip()[: len(begins)] else begins + answer


class TextServerSettings(ServerSettings):
    """A text model behind a server. By default it gives the likeliest answer, because one text is wanted."""

    temperature: float = Field(0.0, ge=0, le=2)
    """How freely the model chooses its words. 0 always takes the likeliest token."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Each token is drawn from the likeliest ones, as many as hold this share of the probability. 1 draws
    from all tokens.
    """


class ServerWriter(Writer):
    """A language model behind an OpenAI-compatible server."""

    def __init__(self, settings: TextServerSettings) -> None:
        self._client = OpenAIClient(settings)
        self.name = settings.model

    def write(
        self, questions: Sequence[str], keys: Sequence[str], *, task: str, seed: int, begins: str = ""
    ) -> list[Written | RowError]:
        from emo.engines.sampling import row_seed

        requests = [
            ChatRequest(_turns(question, begins), (row_seed(seed, task, key, 0) % 2**31,))
            for question, key in zip(questions, keys, strict=True)
        ]
        return [
            answer
            if isinstance(answer, RowError)
            else Written(_begun(answer[0].text, begins), answer[0].finish_reason != "length")
            for answer in self._client.chat(requests)
        ]

    def close(self) -> None:
        self._client.close()
