"""A process that runs commands of emo one after the other, connected to the tests' cluster or to none.

Most of the time of a short command goes into starting its process and, on the cluster, processes for its job.
A test that is about what comes out asks here (`labelling.emo` does); one about the process itself starts one.
"""

import faulthandler
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Self


class Standing:
    """The process from outside. A command that outlasts its time costs it; the next gets a new one.

    address: of the cluster that it stays connected to, if of any; env: variables that it starts with; before:
    the command that starts it, if it is not to be started as it is.
    """

    def __init__(
        self, address: str | None, env: Mapping[str, str] | None = None, before: Sequence[str] = ()
    ) -> None:
        self.address, self._env, self._before = address, dict(env or {}), before
        self._process: subprocess.Popen[str] | None = None

    def run(
        self, command: Sequence[str], env: Mapping[str, str], seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Run `emo` with these arguments; what `subprocess.run` gives and raises."""
        with tempfile.TemporaryDirectory() as folder:
            texts = [Path(folder, name) for name in ("out", "err")]
            asked = {
                "command": list(command),
                "env": dict(env),
                "folder": str(Path.cwd()),
                "into": [*map(str, texts)],
            }
            code = self._ask(asked, seconds)
            out, err = (path.read_text(encoding="utf-8") if path.exists() else "" for path in texts)
        if code is None:
            late = subprocess.TimeoutExpired(list(command), seconds, out, err)
            late.add_note(f"It wrote, and was at:\n{out}{err}")
            raise late
        return subprocess.CompletedProcess(list(command), code, out, err)

    def _ask(self, asked: Mapping[str, Any], seconds: float) -> int | None:
        """The exit code; None where there was none in time."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [*self._before, sys.executable, __file__, *([self.address] if self.address else [])],
                env={**os.environ, **self._env},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None

        def end() -> None:
            process.send_signal(signal.SIGUSR1)
            time.sleep(1)
            process.kill()

        late = threading.Timer(seconds, end)
        late.start()
        try:
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        finally:
            late.cancel()
        return json.loads(answer) if answer else None

    def stop(self) -> None:
        """End the process, and with it its connection."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Asking(dict[str, str]):
    """Variables for commands, and the process that stands there for them until the block ends."""

    def __init__(self, variables: Mapping[str, str], standing: Standing) -> None:
        super().__init__(variables)
        self.standing = standing

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.standing.stop()


class TestCluster(Asking):
    """The variables that lead to a cluster of the tests, and a process that stays connected to it."""

    # Its name is no sign of tests.
    __test__ = False

    def __init__(self, address: str, **more: str) -> None:
        super().__init__({"RAY_ADDRESS": address, **more}, Standing(address, more))


def _serve(address: str | None) -> None:
    from emo.cli import main
    from emo.paths import readable
    from emo.run.connection import cluster

    # What this process was given is the line from and to the tests, and nothing for what commands start.
    commands, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    # Of hundreds of commands, each leaves little garbage.
    gc.set_threshold(10_000, 20, 20)
    with cluster(address, None) if address else nullcontext():
        for line in commands:
            asked = json.loads(line)
            os.environ.clear()
            os.environ.update(asked["env"])
            os.chdir(asked["folder"])
            with ExitStack() as stack:
                for redirect, path in zip((redirect_stdout, redirect_stderr), asked["into"], strict=True):
                    into = Path(path).open("w", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115
                    stack.enter_context(redirect(stack.enter_context(into)))
                faulthandler.register(signal.SIGUSR1, into)
                try:
                    code = main([readable(argument) for argument in asked["command"]])
                except SystemExit as end:
                    code = end.code if isinstance(end.code, int) else 1
                except Exception:
                    # As the interpreter ends a process.
                    traceback.print_exc()
                    code = 1
            print(json.dumps(code), file=answers)


if __name__ == "__main__":
    _serve(*sys.argv[1:] or [None])
