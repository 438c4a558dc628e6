"""Text from outside as a part of a prompt: what looks like a control token of a model reaches it as text.

Tokenizers, and servers too, take `<|im_end|>` or `<image>` for the control token wherever it stands. With a
space inside, it is the same to a reader and no token of any family.
"""

import re

_TURN = r"<(?=[|｜])([^<>\n]{1,60})>"
_MARKS = re.compile(
    _TURN + r"|<(/?[A-Za-z_!][\w:.!/ =\"'-]{0,60})>|\[(/?[A-Z][A-Z_]{1,20})\]|◁(/?\w{1,20})▷|<([|｜])(?=\S)"
)
_TURNS = re.compile(_TURN)


def as_text(text: str) -> str:
    """The text with a space inside everything that some model may take for a control token."""
    return _MARKS.sub(_spaced, text)


def turns_as_text(text: str) -> str:
    """The same for the marks of turns alone: an answer to be learnt may hold a thought in its tags."""
    return _TURNS.sub(_spaced, text)


def _spaced(mark: re.Match[str]) -> str:
    whole = mark[0]
    if len(whole) == 2:  # "<|" that nothing closes
        return f"{whole[0]} {whole[1]}"
    return f"{whole[0]} {whole[1:-1]} {whole[-1]}"
