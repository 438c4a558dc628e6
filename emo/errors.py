"""Errors that a person reads: what was wrong, where, and what would be right."""


class EmoError(Exception):
    """Base of every error that emo raises on purpose; its text is one line for a person."""

    exit_code = 1


class InputError(EmoError):
    """Bad arguments, configuration or data: nothing was started (exit code 2)."""

    exit_code = 2


class StorageError(EmoError):
    """The place of a source or of OUT cannot be read or written."""


class PlaceError(StorageError):
    """The whole place is gone, full or refused: nothing else there can succeed, so the run stops."""


class MachineError(EmoError):
    """The machine or the worker's own process is at fault, and no row: the run stops."""


class TooManyFailedError(EmoError):
    """More rows of a step failed than `max_failed_share` allows; what was made stays (exit code 3)."""

    exit_code = 3


class LeaseHeldError(InputError):
    """Another run works on the same OUT (exit code 4)."""

    exit_code = 4


class UnreachableError(EmoError):
    """The cluster that runs a job does not answer; the job may go on (exit code 5)."""

    exit_code = 5


class RowError(EmoError):
    """One row failed; the row is written as `failed` and the run goes on.

    `code` is short and stable (the `error` column), the message is for a person (`error_message`).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type["RowError"], tuple[str, str]]:
        # Exception's own pickling passes `args`, which holds the message only.
        return type(self), (self.code, self.message)


# Some libraries put all that they were given into what they say of it.
_LONGEST_LINE = 1000


def one_line(error: BaseException) -> str:
    """An error on one line: our own as it is, any other after its kind; a text that a table can hold."""
    text = " ".join(str(error).split()).encode("utf-8", "backslashreplace").decode()
    if isinstance(error, EmoError):
        return text
    shown = text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}…"
    return f"{type(error).__name__}: {shown}"
