"""Calling something that answers a batch, so that one item that breaks it costs only itself."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from emo.errors import EmoError, MachineError, PlaceError, RowError, one_line
from emo.machine import raise_fault_of_machine

Item = TypeVar("Item")
Answer = TypeVar("Answer")

# The code of a failure that nobody foresaw.
UNEXPECTED = "unexpected"
# These end a process; everything else that code raises for a row is that row's failure.
ENDINGS = (KeyboardInterrupt, SystemExit, GeneratorExit)


def row_failure(error: BaseException, code: str = UNEXPECTED) -> RowError:
    """What the code for one row raised, as the failure of that row: RowError as it is, any other as `code`.

    Raises the error where it is not the row's: what ends a process, what says that the whole place is gone,
    and MachineError for a fault of the machine.
    """
    if isinstance(error, RowError):
        return error
    if isinstance(error, (*ENDINGS, PlaceError, MachineError)):
        raise error
    if isinstance(error, MemoryError):
        # Alone it may be too large for this machine and not for another: a night tries it again.
        return RowError("out_of_memory", one_line(error))
    raise_fault_of_machine(error)
    return RowError(code, one_line(error))


def answers_of(
    call: Callable[[Sequence[Item]], Sequence[Answer | RowError]], items: Sequence[Item], code: str
) -> list[Answer | RowError]:
    """As many answers as items, in their order.

    Where the call raises on a batch, each item is tried alone; one that raises alone gets RowError `code`.
    What is not the item's fault is raised, as `row_failure` says.
    """
    try:
        answers = call(items)
        if len(answers) != len(items):
            raise EmoError(f"{len(answers)} answers for {len(items)} inputs")
        return list(answers)
    except BaseException as error:
        failure = row_failure(error, code)
        if len(items) == 1:
            return [failure]
        return [answers_of(call, [item], code)[0] for item in items]
