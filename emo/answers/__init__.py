"""What a model's answer is made of: what it thought, what it said to the asker, and what it said of the clip.

Experts, extraction, merging and captions read every answer of a model through this package.
"""

from dataclasses import dataclass

from emo.answers.refusals import manners
from emo.answers.thinking import parted
from emo.errors import RowError

REFUSED = "refused"
THOUGHT_ONLY = "thought_only"
EMPTY_ANSWER = "empty_answer"

_MESSAGE_CHARACTERS = 160


@dataclass(frozen=True)
class Answer:
    """text: what the answer says of the clip, without thoughts, excuses and courtesies; thought: what the
    model thought, None where it showed none; error: why there is no text, None where there is one.
    """

    text: str | None
    thought: str | None
    error: RowError | None


def read_answer(written: str) -> Answer:
    """Read a free text of a model.

    Codes: `thought_only` where the thought was not closed or nothing stands beside it, `refused` where the
    model declines or is polite and says nothing else, `empty_answer` where nothing was written.
    """
    said = parted(written)
    if said.thought is not None and not said.said.strip():
        what = "nothing stands behind its thought" if said.ended else "it did not get past its thought"
        return Answer(
            None, said.thought, RowError(THOUGHT_ONLY, f"the model gave no answer: {what}; allow more tokens")
        )
    if not said.ended or not said.said.strip():
        return Answer(None, said.thought, RowError(EMPTY_ANSWER, "the model wrote nothing"))
    found = manners(said.said)
    if found.refuses:
        return Answer(None, said.thought, refused(said.said))
    return Answer(found.rest, said.thought, None)


def declines(text: str) -> bool:
    """Whether any clause declines, also beside a description: what nobody should be trained on."""
    return manners(text).declines


def refused(text: str) -> RowError:
    """The error of an answer in which the model declines."""
    return RowError(REFUSED, f"the model declined: {shortened(text)}")


def shortened(text: str) -> str:
    """A text as a message quotes it."""
    text = " ".join(text.split())
    return text if len(text) <= _MESSAGE_CHARACTERS else text[: _MESSAGE_CHARACTERS - 3] + "..."
