"""Merging what was said into a description that was written without it.

Describing first and merging the subtitle afterwards, with a text model, labels better than giving the
subtitle to the describing model (AffectGPT, arXiv 2407.07653, and its released predictions).
"""

from collections.abc import Sequence

from emo.answers import read_answer
from emo.errors import RowError
from emo.experts.prompts import Prompt
from emo.experts.prompts.turns import PreviousTurns
from emo.extraction.prompts import filled, load_prompt
from emo.extraction.protocol import ExtractRow
from emo.extraction.writers import Writer


def merge_prompt(name: str) -> Prompt:
    """A prompt that leaves room for both texts; raises InputError for another."""
    return load_prompt(name, ("{description}", "{transcript}"))


class Merger:
    """Writes one reasoned description from a description and a transcript; turns: with those before it."""

    def __init__(self, writer: Writer, prompt: Prompt, seed: int, turns: PreviousTurns | None = None) -> None:
        self._writer = writer
        self._turns = turns
        self._prompt = prompt
        self._seed = seed

    def merge(self, rows: Sequence[ExtractRow]) -> list[str | RowError]:
        """The merged text of each row, in order; a row without a transcript keeps its text as it is.

        Codes: those of `read_answer`, and those of the engine or the server.
        """
        results: list[str | RowError] = [row.text for row in rows]
        places = [place for place, row in enumerate(rows) if (row.transcript or "").strip()]
        questions = [self._question(rows[place]) for place in places]
        keys = [rows[place].key for place in places]
        answers = self._writer.write(questions, keys, task="merge", seed=self._seed) if places else []
        for place, answer in zip(places, answers, strict=True):
            results[place] = answer if isinstance(answer, RowError) else _checked(answer.text)
        return results

    def _question(self, row: ExtractRow) -> str:
        texts = {"description": row.text, "transcript": (row.transcript or "").strip()}
        question = filled(self._prompt, texts)
        return self._turns.above(question, row.before, row.speaker) if self._turns else question


def _checked(text: str) -> str | RowError:
    answer = read_answer(text)
    return answer.error or answer.text or ""
