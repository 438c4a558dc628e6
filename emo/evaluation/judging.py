"""The text model that a metric asks, chosen on the command line: `kind=model,...` or `kind=openai,...`."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from pydantic import ValidationError

from emo.answers.thinking import parted
from emo.config import read_yaml
from emo.engines.models import missing_model
from emo.engines.settings import EngineSettings
from emo.errors import EmoError, InputError, RowError
from emo.extraction.writers import EngineWriter, ServerWriter, TextServerSettings, Writer
from emo.wrong_settings import explain

# A list of all words of a clip is longer than an answer about one clip usually is.
_MAX_NEW_TOKENS = 512


def read_judge(text: str) -> EngineSettings | TextServerSettings:
    """The settings in `kind=model,model=FOLDER,device=cpu` or `kind=openai,url=URL,model=NAME`.

    Raises InputError that names the key that is wrong, or what the model lacks to run here.
    """
    content: dict[str, Any] = {}
    for part in text.split(","):
        key, given, value = part.partition("=")
        if not given or not key.strip():
            raise InputError(f"--judge: {part!r} is not KEY=VALUE, as in kind=openai,url=URL,model=NAME")
        key = key.strip()
        content[key] = value if key in ("model", "url") else read_yaml(value, f"--judge: {key}")
    kind = content.pop("kind", None)
    settings: EngineSettings | TextServerSettings
    try:
        if kind == "model":
            settings = EngineSettings(**{"max_new_tokens": _MAX_NEW_TOKENS, **content})
        elif kind == "openai":
            settings = TextServerSettings(**content)
        else:
            raise InputError(f"--judge: kind is {kind!r}; expected model or openai")
    except ValidationError as error:
        raise InputError(f"--judge: {explain(error)}") from None
    faults = missing(settings)
    if faults:
        raise InputError(f"--judge: {'; '.join(faults)}")
    return settings


def missing(settings: EngineSettings | TextServerSettings) -> list[str]:
    """What a text model lacks to run here, one line each; looks, but loads nothing."""
    if isinstance(settings, EngineSettings):
        return missing_model(settings, None) + settings.missing_engine()
    return settings.missing()


@contextmanager
def judge_of(text: str | None) -> Iterator["Judge | None"]:
    """The judge of these settings (as for `read_judge`), open while it is asked; None where none is named."""
    if text is None:
        yield None
        return
    with closing(Judge(read_judge(text))) as judge:
        yield judge


class Judge:
    """A text model that answers questions; `name` says which, with its revision.

    unanswered: questions without a whole answer so far (it failed, or was cut at the limit of its tokens).
    """

    def __init__(self, settings: EngineSettings | TextServerSettings) -> None:
        self._writer: Writer = (
            EngineWriter(settings) if isinstance(settings, EngineSettings) else ServerWriter(settings)
        )
        self.name = self._writer.name
        self.unanswered = 0

    def ask(self, questions: Sequence[str]) -> list[str]:
        """The answers in the order of the questions, empty for one without a whole answer.

        Raises EmoError where none of several questions is answered: then the model is at fault, not a row.
        """
        if not questions:
            return []
        keys = [str(number) for number in range(len(questions))]
        answers = self._writer.write(questions, keys, task="evaluate", seed=0)
        failed = [answer for answer in answers if isinstance(answer, RowError)]
        if len(failed) == len(answers) > 1:
            raise EmoError(f"the judge {self.name} answered none of {len(answers)} questions: {failed[0]}")
        texts = [
            "" if isinstance(answer, RowError) or not answer.complete else parted(answer.text).said
            for answer in answers
        ]
        self.unanswered += sum(not text for text in texts)
        return texts

    def close(self) -> None:
        self._writer.close()
