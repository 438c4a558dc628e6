"""The real Label Studio: an environment with it, its server, and what a browser asks of its API."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TOKEN = "0123456789abcdef0123456789abcdef01234567"
# Its first start makes its database, which takes minutes on a busy machine.
_STARTS_S = 3600


def environment(folder: Path) -> Path:
    """The Python of an environment with it: that of EMO_TEST_LABEL_STUDIO, or a new one in this folder."""
    if named := os.environ.get("EMO_TEST_LABEL_STUDIO"):
        return Path(named)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", "label-studio"], check=True)
    return folder / "bin/python"


class LabelStudio:
    """A running server, as its API shows it to a person who is let in."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, path: str, body: Any = None) -> Any:
        """The JSON that it answers; raises AssertionError with what it says where it refuses."""
        return json.loads(self.read(path, None if body is None else json.dumps(body).encode()))

    def read(self, path: str, body: bytes | None = None) -> bytes:
        """What it answers; raises AssertionError as `ask` does."""
        headers = {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.address}{path}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=600) as response:
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.code} {error.read().decode()[:2000]}") from None


@contextmanager
def server(python: Path, data: Path, documents: Path) -> Iterator[LabelStudio]:
    """Label Studio with its database in `data`, which serves the files below `documents`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    said = {
        "COLLECT_ANALYTICS": "false",
        "LABEL_STUDIO_USER_TOKEN": TOKEN,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(documents),
        "HOME": str(data.parent),
    }
    here = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-m", "label_studio.server", "start", "--no-browser", "--data-dir", data]
    command += ["--internal-host", "127.0.0.1", "--port", str(port)]
    command += ["--username", "ann@example.org", "--password", "not-a-secret"]
    log = data.parent / "label-studio.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**here, **said})
        try:
            found = LabelStudio(f"http://127.0.0.1:{port}")
            _await(process, found, log)
            yield found
        finally:
            process.terminate()
            process.wait()


def _await(process: subprocess.Popen[bytes], found: LabelStudio, log: Path) -> None:
    until = time.monotonic() + _STARTS_S
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        try:
            found.ask("/api/version")
        except (OSError, ValueError):
            time.sleep(1)
        else:
            return
    raise AssertionError(log.read_text(errors="replace")[-4000:])
