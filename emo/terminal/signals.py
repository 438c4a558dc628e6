"""What ends a command from outside: SIGTERM of a scheduler, SIGHUP of a terminal that is closed."""

import errno
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_ENDING = (signal.SIGTERM, signal.SIGHUP)
_TERMINALS = ("/dev/pts/", "/dev/tty")


class Terminated(KeyboardInterrupt):
    """A signal asked this process to end; its text says which."""


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Inside the block SIGTERM and SIGHUP raise Terminated, so that whatever is held is given back."""
    before = {number: signal.getsignal(number) for number in _ENDING}
    listen()
    try:
        yield
    except Exception as error:
        if (interrupt := interruption(error)) is not None:
            raise interrupt from None
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def interruption(error: BaseException) -> KeyboardInterrupt | None:
    """The interrupt behind an error: Python 3.11 wraps one that comes while a class of an import is made.

    A write to a terminal that has just been closed may fail before the signal is heard.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        if isinstance(cause, OSError) and cause.errno == errno.EIO and _terminal_is_gone():
            # As when the signal is heard: it may still come, and what is still said must not fail again.
            _hear_no_more()
            _forget_terminal()
            return Terminated("interrupted by SIGHUP")
        cause = cause.__cause__
    return cause


def _terminal_is_gone() -> bool:
    """Whether one of the standard files is a terminal that no longer answers."""
    for number in range(3):
        with suppress(OSError):
            name = str(Path(f"/proc/self/fd/{number}").readlink())
            if name.startswith(_TERMINALS) and not os.isatty(number):
                return True
    return False


def listen() -> None:
    """Raise Terminated at these signals from now on; Ray sets a handler of its own when it starts.

    Only the main thread may ask for signals. In another one the program that started it deals with them.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _ENDING:
        # A command under `nohup` outlives its terminal.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, frame: Any) -> None:
    _hear_no_more()
    if number == signal.SIGHUP:
        _forget_terminal()
    raise Terminated(f"interrupted by {signal.Signals(number).name}")


def _hear_no_more() -> None:
    """Whoever asks twice shall not disturb the giving back."""
    if threading.current_thread() is threading.main_thread():
        for one in _ENDING:
            signal.signal(one, signal.SIG_IGN)


def _forget_terminal() -> None:
    """What is still said goes nowhere: a write to a terminal that is closed is an error."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if str(entry.readlink()).startswith(_TERMINALS):
                os.dup2(nowhere, int(entry.name))
    os.close(nowhere)
