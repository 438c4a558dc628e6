"""Calling something that answers a batch, so that one item that breaks it costs only itself."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from emo.errors import EmoError, RowError

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def answers_of(
    call: Callable[[Sequence[Item]], Sequence[Answer | RowError]], items: Sequence[Item], code: str
) -> list[Answer | RowError]:
    """As many answers as items, in their order.

    Where the call raises on a batch, each item is tried alone; one that raises alone gets RowError `code`.
    """
    try:
        answers = call(items)
        if len(answers) != len(items):
            raise EmoError(f"{len(answers)} answers for {len(items)} inputs")
        return list(answers)
    except Exception as error:
        if len(items) == 1:
            return [RowError(code, f"{type(error).__name__}: {' '.join(str(error).split())}")]
        return [answers_of(call, [item], code)[0] for item in items]
