"""What becomes of an expert's answer before it is a row: the same for every expert and for captions."""

from dataclasses import replace

from emo.answers import read_answer
from emo.errors import RowError
from emo.experts.protocol import Description


def read_description(written: Description) -> tuple[Description, RowError | None]:
    """The description with its thought beside it, and why it is none (codes of `read_answer`)."""
    answer = read_answer(written.text)
    thought = "\n".join(filter(None, (written.thought, answer.thought))) or None
    return replace(written, text=answer.text or "", thought=thought), answer.error
