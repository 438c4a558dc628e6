"""Labels by a text model: in this process, or behind an OpenAI-compatible server."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from emo.engines.models import NamedModel, memory_gib, missing_model, named_models
from emo.engines.settings import ModelSettings
from emo.errors import InputError, RowError
from emo.experts.prompts import Prompt
from emo.experts.protocol import Resources
from emo.extraction import protocol
from emo.extraction.merge import Merger, merge_prompt
from emo.extraction.parsing import parse_labels, stated_labels
from emo.extraction.prompts import filled, load_prompt
from emo.extraction.protocol import Extractor, ExtractRow
from emo.extraction.writers import EngineWriter, ServerWriter, TextServerSettings, Writer


class TextModelSettings(protocol.Settings):
    """transcript: what is done with the words of a row that has some: `merge` has the model first write a
    description that takes them in, `beside` shows them with the description, `ignore` leaves them out.

    prompt: for a description alone, the name of a prompt or a text file by its path; beside_prompt: the same
    for `beside`; merge_prompt: the same for `merge`; seed: with the key of
    a row it decides the random numbers, where there are any.
    """

    transcript: Literal["merge", "beside", "ignore"] = "merge"
    prompt: str = "extract"
    beside_prompt: str = "extract-beside"
    merge_prompt: str = "merge"
    seed: int = 0


class ModelExtractSettings(TextModelSettings, ModelSettings):
    """Any causal language model of transformers with a chat template."""

    max_new_tokens: int = Field(512, ge=1)


class ServerExtractSettings(TextModelSettings):
    """server: where the model is."""

    server: TextServerSettings


class Prompts:
    """The prompts that these settings use; raises InputError for one that does not fit."""

    def __init__(self, settings: TextModelSettings) -> None:
        self.plain = load_prompt(settings.prompt, ("{description}",))
        self.beside: Prompt | None = None
        self.merge: Prompt | None = None
        if settings.transcript == "beside":
            self.beside = load_prompt(settings.beside_prompt, ("{description}", "{transcript}"))
        if settings.transcript == "merge":
            self.merge = merge_prompt(settings.merge_prompt)

    def __str__(self) -> str:
        named = {"extract": self.plain, "beside": self.beside, "merge": self.merge}
        return " ".join(f"{use}:{prompt.sha}" for use, prompt in named.items() if prompt)


class TextModelExtractor(Extractor):
    """What the two kinds share; a text that states its labels and nothing else is read without the model."""

    def __init__(self, settings: TextModelSettings, writer: Writer, prompts: Prompts) -> None:
        self._settings = settings
        self._writer = writer
        self._prompts = prompts
        self._merger = Merger(writer, prompts.merge, settings.seed) if prompts.merge else None
        self.name = f"{writer.name} {prompts}"

    def extract(self, rows: Sequence[ExtractRow]) -> list[list[str] | RowError]:
        results: dict[int, list[str] | RowError] = {}
        for place, row in enumerate(rows):
            labels = stated_labels(row.text)
            if labels is not None:
                results[place] = labels
        open_rows = [place for place in range(len(rows)) if place not in results]
        texts = self._texts([rows[place] for place in open_rows])
        results |= {p: text for p, text in zip(open_rows, texts, strict=True) if isinstance(text, RowError)}
        asked = {p: text for p, text in zip(open_rows, texts, strict=True) if isinstance(text, str)}
        answers = self._writer.write(
            [self._question(rows[place], text) for place, text in asked.items()],
            [rows[place].key for place in asked],
            task="extract",
            seed=self._settings.seed,
        )
        for place, answer in zip(asked, answers, strict=True):
            results[place] = answer if isinstance(answer, RowError) else _labels(answer.text, answer.complete)
        return [results[place] for place in range(len(rows))]

    def close(self) -> None:
        self._writer.close()

    def _texts(self, rows: Sequence[ExtractRow]) -> list[str | RowError]:
        if self._merger is None:
            return [row.text for row in rows]
        return self._merger.merge(rows)

    def _question(self, row: ExtractRow, text: str) -> str:
        transcript = (row.transcript or "").strip()
        prompt = self._prompts.beside if self._prompts.beside and transcript else self._prompts.plain
        return filled(prompt, {"description": text, "transcript": transcript})


def _labels(answer: str, complete: bool) -> list[str] | RowError:
    if not complete:
        # The last entry may be half a word, and half a word is another label.
        return RowError("unparsable", "the answer was cut at the limit of its tokens; allow more")
    try:
        return parse_labels(answer)
    except RowError as error:
        return error


class ModelExtractor(TextModelExtractor):
    """With a model of transformers in this process."""

    Settings = ModelExtractSettings

    def __init__(self, settings: ModelExtractSettings) -> None:
        prompts = Prompts(settings)
        super().__init__(settings, EngineWriter(settings), prompts)

    @classmethod
    def resources(cls, settings: ModelSettings) -> Resources:
        """One core for the model's loop and one for each thread that prepares its inputs."""
        cpus = 1.0 + settings.workers
        if settings.device == "cuda":
            return Resources(cpus=cpus, gpus=float(settings.gpus))
        try:
            return Resources(cpus=cpus, memory_gib=memory_gib(Path(settings.model).expanduser()))
        except InputError:  # not here yet: its size is unknown
            return Resources(cpus=cpus)

    @classmethod
    def models(cls, settings: ModelExtractSettings) -> list[NamedModel]:
        return named_models(settings)

    @classmethod
    def missing(cls, settings: ModelExtractSettings) -> list[str]:
        return missing_model(settings, None) + _missing_prompts(settings)


class ServerExtractor(TextModelExtractor):
    """With a model behind an OpenAI-compatible server."""

    Settings = ServerExtractSettings

    def __init__(self, settings: ServerExtractSettings) -> None:
        prompts = Prompts(settings)
        super().__init__(settings, ServerWriter(settings.server), prompts)

    @classmethod
    def missing(cls, settings: ServerExtractSettings) -> list[str]:
        return settings.server.missing() + _missing_prompts(settings)


def _missing_prompts(settings: TextModelSettings) -> list[str]:
    try:
        Prompts(settings)
    except InputError as error:
        return [str(error)]
    return []
