"""Keeps a program running for as long as the process that started it lives, and ends all of it after that.

    python -m emo.engines.child PROGRAM ARGUMENT...

EMO_CHILD_ENVIRONMENT holds the environment of the program, as JSON. The starter holds the other end of
standard input. When it closes that, or dies in whatever way, the program and all that it started get SIGTERM,
and SIGKILL if they do not go.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time

_GRACE_S = 5.0
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def main() -> int:
    """Run the program of the command line."""
    if sys.platform == "linux":
        # What the program leaves behind when it ends becomes a child of this process, which then sees it end.
        # The first process of a container may take long to notice, or never do.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    program = subprocess.Popen(
        sys.argv[1:],
        stdin=subprocess.DEVNULL,
        env=json.loads(os.environ["EMO_CHILD_ENVIRONMENT"]),
        start_new_session=True,
        preexec_fn=_end_with_me if sys.platform == "linux" else None,
    )
    try:
        while program.poll() is None:
            readable, _, _ = select.select([0], [], [], 0.2)
            if readable and not os.read(0, 1024):
                break
    finally:
        _end(program)
    return program.returncode or 0


def _end_with_me() -> None:
    """The kernel tells the program should this process be killed itself."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(program: subprocess.Popen[bytes]) -> None:
    """End the whole session of the program: its engine may be a process of its own."""
    for number, wait in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _GRACE_S)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, number)
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline and _lives(program):
            time.sleep(0.05)


def _lives(program: subprocess.Popen[bytes]) -> bool:
    with contextlib.suppress(ChildProcessError):
        # What was left behind is looked at when the program's own end has been.
        while program.poll() is not None and os.waitpid(-1, os.WNOHANG)[0]:
            pass
    try:
        os.killpg(program.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
