"""Labels by a text model: in this process, or behind an OpenAI-compatible server."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from emo.answers import EMPTY_ANSWER, read_answer
from emo.engines.models import NamedModel, memory_gib, missing_model, named_models
from emo.engines.settings import EngineSettings
from emo.errors import InputError, RowError
from emo.experts.prompts import Prompt
from emo.experts.prompts.turns import PreviousTurns
from emo.experts.protocol import Resources
from emo.extraction import protocol
from emo.extraction.absence import tells_nothing
from emo.extraction.merge import Merger, merge_prompt
from emo.extraction.parsing import UNPARSABLE, read_list, stated
from emo.extraction.prompts import filled, load_prompt
from emo.extraction.protocol import Extractor, ExtractRow, Reading
from emo.extraction.writers import EngineWriter, ServerWriter, TextServerSettings, Writer


class TextModelSettings(protocol.Settings):
    """A text model that reads descriptions."""

    transcript: Literal["merge", "beside", "apart", "ignore"] = "merge"
    """What happens to the words of a clip. `merge`: the model first writes a description that takes them in.
    `beside`: they are shown with the description. `apart`: an expert that reads nothing else (`transcript`
    or `words`) votes on them, once. `ignore`: nobody reads them.
    """
    previous_turns: int = Field(0, ge=0, le=100)
    """The number of turns of the dialogue before a clip that are told with its words, by the columns
    `dialogue_id` and `turn` of the manifest. They go with `transcript: merge` and `beside`.
    """
    prompt: str = "extract"
    """The prompt for a description alone: a name of the package, or a text file."""
    beside_prompt: str = "extract-beside"
    """The prompt for a description beside the words: a name of the package, or a text file."""
    merge_prompt: str = "merge"
    """The prompt that takes the words into a description: a name of the package, or a text file."""
    seed: int = 0
    """The seed of the random numbers, together with the key of a row."""

    @model_validator(mode="after")
    def _turns_go_with_words(self) -> Self:
        if self.previous_turns and self.transcript not in ("merge", "beside"):
            raise ValueError(
                f"previous_turns goes with transcript: merge or beside; transcript is {self.transcript}"
            )
        return self


class ModelExtractSettings(TextModelSettings, EngineSettings):
    """Any causal language model of transformers with a chat template."""

    max_new_tokens: int = Field(512, ge=1)
    """The most tokens of one answer. A longer answer is cut off."""


class ServerExtractSettings(TextModelSettings):
    """A text model behind a server that speaks the OpenAI protocol."""

    server: TextServerSettings
    """The server, and how it is asked."""


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
        self.turns = PreviousTurns() if settings.previous_turns else None

    def __str__(self) -> str:
        named = {"extract": self.plain, "beside": self.beside, "merge": self.merge, "turns": self.turns}
        return " ".join(f"{use}:{prompt.sha}" for use, prompt in named.items() if prompt)


class TextModelExtractor(Extractor):
    """What the two kinds share; a text that states its labels and nothing else is read without the model."""

    def __init__(self, settings: TextModelSettings, writer: Writer, prompts: Prompts) -> None:
        self._settings = settings
        self._writer = writer
        self._prompts = prompts
        self._merger = Merger(writer, prompts.merge, settings.seed, prompts.turns) if prompts.merge else None
        self.name = f"{writer.name} {prompts}"

    @classmethod
    def previous_turns(cls, settings: TextModelSettings) -> int:
        return settings.previous_turns

    def extract(self, rows: Sequence[ExtractRow]) -> list[list[str] | RowError]:
        return [row if isinstance(row, RowError) else row.labels for row in self.read(rows)]

    def read(self, rows: Sequence[ExtractRow]) -> list[Reading | RowError]:
        results: dict[int, Reading | RowError] = {}
        left: dict[int, ExtractRow] = {}
        for place, row in enumerate(rows):
            found = _without_asking(row)
            if isinstance(found, ExtractRow):
                left[place] = found
            else:
                results[place] = found
        texts = self._texts(list(left.values()))
        asked: dict[int, str] = {}
        for place, text in zip(left, texts, strict=True):
            if isinstance(text, RowError):
                results[place] = text
            else:
                asked[place] = text
        questions = {place: self._question(left[place], text) for place, text in asked.items()}
        for place, listed in self._lists(questions, {place: left[place].key for place in asked}).items():
            if isinstance(listed, RowError):
                results[place] = listed
            else:
                said = bool((left[place].transcript or "").strip())
                results[place] = replace(
                    listed,
                    merged=asked[place] if self._merger is not None and said else None,
                    with_transcript=said and self._settings.transcript in ("merge", "beside"),
                )
        return [results[place] for place in range(len(rows))]

    def _lists(self, questions: dict[int, str], keys: dict[int, str]) -> dict[int, Reading | RowError]:
        """The list for each question; an unreadable one is asked for once more, with its bracket given."""
        first = self._asked(questions, keys, begins="")
        unreadable = [
            place
            for place, found in first.items()
            if isinstance(found, RowError) and found.code == UNPARSABLE
        ]
        again = self._asked({place: questions[place] for place in unreadable}, keys, begins="[")
        for place, found in again.items():
            if isinstance(found, Reading):
                first[place] = replace(found, notes=(*found.notes, "its first answer was no list"))
        return first

    def _asked(
        self, questions: dict[int, str], keys: dict[int, str], begins: str
    ) -> dict[int, Reading | RowError]:
        if not questions:
            return {}
        answers = self._writer.write(
            list(questions.values()),
            [keys[place] for place in questions],
            task="extract",
            seed=self._settings.seed,
            begins=begins,
        )
        return {
            place: answer if isinstance(answer, RowError) else _listed(answer.text, answer.complete)
            for place, answer in zip(questions, answers, strict=True)
        }

    def close(self) -> None:
        self._writer.close()

    def _texts(self, rows: Sequence[ExtractRow]) -> list[str | RowError]:
        if self._merger is None:
            return [row.text for row in rows]
        return self._merger.merge(rows)

    def _question(self, row: ExtractRow, text: str) -> str:
        transcript = (row.transcript or "").strip()
        prompts = self._prompts
        if prompts.beside is None or not transcript:
            return filled(prompts.plain, {"description": text, "transcript": transcript})
        question = filled(prompts.beside, {"description": text, "transcript": transcript})
        return prompts.turns.above(question, row.before, row.speaker) if prompts.turns else question


def _without_asking(row: ExtractRow) -> Reading | RowError | ExtractRow:
    """What is clear without the model; else the row with what it says of the clip as its text."""
    answer = read_answer(row.text)
    if answer.text is None:
        return answer.error or RowError(EMPTY_ANSWER, "the description is empty")
    listed = stated(answer.text)
    if listed is not None:
        return Reading(listed.labels, listed.alternatives)
    if tells_nothing(answer.text):
        return Reading([], notes=("the description says that there was no emotion to read",))
    return replace(row, text=answer.text)


def _listed(answer: str, complete: bool) -> Reading | RowError:
    if not complete:
        # The last entry may be half a word, and half a word is another label.
        return RowError(UNPARSABLE, "the answer was cut at the limit of its tokens; allow more")
    try:
        listed = read_list(answer)
    except RowError as error:
        return error
    notes = tuple(f"no label, left out: {entry}" for entry in listed.dropped)
    return Reading(listed.labels, listed.alternatives, notes=notes)


class ModelExtractor(TextModelExtractor):
    """With a model of transformers that the worker runs."""

    Settings = ModelExtractSettings

    def __init__(self, settings: ModelExtractSettings) -> None:
        prompts = Prompts(settings)
        super().__init__(settings, EngineWriter(settings), prompts)

    @classmethod
    def resources(cls, settings: EngineSettings) -> Resources:
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
        return missing_model(settings, None) + settings.missing_engine() + _missing_prompts(settings)


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
