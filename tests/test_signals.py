"""A signal that asks a command to end does so wherever it meets it."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from emo.errors import EmoError
from emo.terminal.signals import Terminated, ended_by_signals


class Met:
    """What asks this process to end while a class is made, as an import of Ray may be met by a signal."""

    def __init__(self, number):
        self._number = number

    def __set_name__(self, owner, name):
        os.kill(os.getpid(), self._number)
        signal.getsignal(self._number)  # handlers run before the next call


def make_class(number):
    class Owner:
        met = Met(number)

    return Owner


@pytest.fixture(autouse=True)
def _not_ignored():
    """Whoever starts the tests may ignore signals, as `nohup` does."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_meets_an_import_ends_the_command(number):
    before = signal.getsignal(number)
    with pytest.raises(Terminated, match=signal.Signals(number).name), ended_by_signals():
        make_class(number)
    assert signal.getsignal(number) is before


def start_ray():
    try:
        make_class(signal.SIGTERM)
    except Exception as error:
        raise EmoError("Ray does not start on this machine") from error


def test_what_the_error_became_on_its_way_is_still_the_signal():
    with pytest.raises(Terminated, match="SIGTERM"), ended_by_signals():
        start_ray()


def test_an_error_without_a_signal_stays_what_it_is():
    with pytest.raises(EmoError, match="full disk"), ended_by_signals():
        raise EmoError("full disk")


def test_a_write_that_fails_before_a_closed_terminal_is_heard_of_is_an_interrupt():
    """The terminal is not that of the process's session, so no signal comes at all."""
    terminal, theirs = os.openpty()
    code = (
        "import os, sys\n"
        "from emo.terminal.signals import Terminated, ended_by_signals\n"
        "sys.stdin.readline()\n"
        "try:\n"
        "    with ended_by_signals(): os.write(2, b'x')\n"
        "except Terminated as end: print(end)\n"
        "print('what was committed stays', file=sys.stderr, flush=True)\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=theirs,
        start_new_session=True,
        text=True,
    )
    os.close(theirs)
    os.close(terminal)
    said, _ = run.communicate("\n", timeout=60)
    assert said == "interrupted by SIGHUP\n"
    assert run.returncode == 0, "what is said of it goes nowhere, and does not fail in its turn"


def test_a_disk_that_fails_is_no_interrupt():
    with pytest.raises(OSError, match="Input/output error"), ended_by_signals():
        raise OSError(errno.EIO, os.strerror(errno.EIO))
