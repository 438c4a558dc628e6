"""A child process of ours: a Python of its own with a connection to its parent, which it never outlives.

It is started by exec, so it shares no thread, lock or `__main__` with the parent, which may be anybody's
program.
"""

import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

# The parent's search path, because a job's code may come from a folder that no environment variable names.
_CHILD = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from {module} import {name}
{name}(*sys.argv[2:])
"""


@dataclass
class Child:
    """The process, and this end of its connection."""

    process: subprocess.Popen[bytes]
    connection: Connection

    def stop(self) -> None:
        """End the process and wait for it; harmless when repeated."""
        self.connection.close()
        self.process.kill()
        self.process.wait()


def start(
    serve: Callable[..., None], *arguments: str, said: IO[bytes], folder: str | None = None
) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start `serve(descriptor, *arguments)` in a child; the two parts of a Child.

    said: takes its standard output and error; folder: where it runs, None: where this process does. Raises
    OSError.
    """
    code = _CHILD.format(module=serve.__module__, name=serve.__name__)
    ours, theirs = Pipe()
    with theirs:
        process = subprocess.Popen(
            # -P: what lies in the current folder must not pass for a module.
            [sys.executable, "-P", "-c", code, json.dumps(_search_path()), str(theirs.fileno()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            pass_fds=(theirs.fileno(),),
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            cwd=folder,
            # Ctrl-C is for the parent, which then ends the child.
            start_new_session=True,
        )
    return process, ours


def connect(descriptor: str) -> Connection:
    """The child's end of the connection. When the parent is gone, whatever the child does then ends."""
    threading.Thread(target=_end_with_parent, args=(int(descriptor),), daemon=True).start()
    return Connection(int(descriptor))


def last_words(said: IO[bytes]) -> str:
    """The last line that a child wrote."""
    said.seek(max(0, said.seek(0, os.SEEK_END) - 4096))
    lines = said.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip()[:300] if lines else ""


def _search_path() -> list[str]:
    """The parent's search path, its relative entries as they are for the parent."""
    try:
        here = str(Path.cwd())
    except FileNotFoundError:
        return [path for path in sys.path if Path(path).is_absolute()]
    return [str(Path(here, path)) for path in sys.path]


def _end_with_parent(descriptor: int) -> None:
    """Hangs up with the other end of the connection. A signal on the parent's death would not do: it comes
    when the thread dies that started the child."""
    hangup = select.poll()
    hangup.register(descriptor, 0)
    hangup.poll()
    os._exit(0)
