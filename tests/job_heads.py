"""A Ray cluster that takes jobs, the connection to it, and a command that follows one of them."""

import os
import re
import secrets
import shutil
import signal
import site
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from conftest import free_port
from labelling import EMO
from warm_workers import RAY

# In front of `ray`: of the dashboard only the parts that take jobs and find the node for them. The others are
# eight processes more.
_FOR_JOBS = """
from ray._private import ray_constants, services

def start(command, process_type, *more, start=services.start_ray_process, **options):
    if process_type == ray_constants.PROCESS_TYPE_DASHBOARD:
        command = [*command, "--modules-to-load=JobHead,NodeHead"]
    return start(command, process_type, *more, **options)

services.start_ray_process = start
"""
# Who runs the tests may have named a folder of emo there.
_BARE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@dataclass
class Head:
    """A head node that takes jobs and asks for a token, run by a Python that cannot import emo."""

    bare: Path
    port: int = field(default_factory=free_port)
    dashboard: int = field(default_factory=free_port)
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    _found: list[psutil.Process] = field(default_factory=list)

    def start(self):
        options = ["--num-cpus=2", f"--port={self.port}", f"--dashboard-port={self.dashboard}"]
        options += [f"--temp-dir={self.folder}", "--include-dashboard=true", "--disable-usage-stats"]
        options += [f"--dashboard-agent-listen-port={free_port()}", f"--metrics-export-port={free_port()}"]
        options += ["--include-log-monitor=false", "--no-monitor"]
        options += ["--object-store-memory=100000000"]
        environment = {**_BARE, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}
        # Nobody looks at them, and the agent would be busy with them all the time.
        environment["RAY_enable_metrics_collection"] = "false"
        # Workers ahead of their job would have none of its code.
        environment["RAY_prestart_worker_first_driver"] = "false"
        environment["PATH"] = f"{self.bare / 'bin'}:{environment['PATH']}"
        self.process = subprocess.Popen(
            [self.bare / "bin/python", "-c", _FOR_JOBS + RAY, "start", "--head", "--block", *options],
            env=environment,
            cwd=self.bare,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.await_answer()

    def await_answer(self):
        deadline = time.monotonic() + 120
        while not answers(self.dashboard, self.token):
            assert self.process.poll() is None, "the cluster for jobs did not start"
            assert time.monotonic() < deadline, "the cluster for jobs did not start in time"
            time.sleep(0.5)

    def kill(self):
        """All of it at once, and what it kept; drivers that were looked for go with it, as in a container."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for one in self._found:
            with suppress(psutil.Error):
                one.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def child(self, pattern):
        """The one process of this head whose command line begins so."""
        found = []
        for one in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):  # one that has just ended
                found += [one] if re.match(pattern, " ".join(one.cmdline())) else []
        (only,) = found
        self._found.append(only)
        return only

    @property
    def folder(self):
        return Path(f"/tmp/emo-test-jobs-{self.port}")

    @property
    def user(self):
        """As a user has it: the token is known, but nothing tells the client to offer it."""
        where = f"http://127.0.0.1:{self.dashboard}"
        return {"RAY_API_SERVER_ADDRESS": where, "RAY_AUTH_TOKEN": self.token, "RAY_AUTH_MODE": ""}


@contextmanager
def bare_head(bare):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    # The packages of this environment, but not what it installs by a link to this folder.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (bare / "lib" / version / "site-packages/all.pth").write_text("\n".join(site.getsitepackages()))
    python = bare / "bin/python"
    found = subprocess.run([python, "-c", "import emo"], capture_output=True, text=True, cwd=bare, env=_BARE)
    assert "No module named 'emo'" in found.stderr
    head = Head(bare)
    try:
        head.start()
        yield head
    finally:
        head.kill()


def answers(port, token):
    from urllib.request import Request, urlopen

    try:
        request = Request(f"http://127.0.0.1:{port}/api/jobs/", headers={"Authorization": f"Bearer {token}"})
        return urlopen(request, timeout=5).status == 200
    except OSError:
        return False


class Proxy:
    """A connection to a server that can be cut, refused and let through again."""

    def __init__(self, port):
        self._port = port
        self._pairs = []
        self._listener = None
        self.port = free_port()
        self.open()

    def open(self):
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self):
        """Refuse every connection from now on."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self):
        """End the connections that are there, without a word, as a node that is gone does."""
        while self._pairs:
            for one in self._pairs.pop():
                with suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    one.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener):
        with suppress(OSError):
            while True:
                pair = (listener.accept()[0], socket.create_connection(("127.0.0.1", self._port)))
                self._pairs.append(pair)
                for one, other in (pair, pair[::-1]):
                    threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    @staticmethod
    def _pass(one, other):
        with suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Following:
    """`emo submit` in the background, and what it said so far."""

    def __init__(self, user, *arguments, **options):
        self.process = subprocess.Popen(
            [EMO, "submit", *map(str, arguments)],
            env={**os.environ, **user},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        # What it said of itself, and what it showed of the log.
        self._of = {"said": "", "log": ""}
        pipes = {"said": self.process.stderr, "log": self.process.stdout}
        self._readers = [threading.Thread(target=self._read, args=one, daemon=True) for one in pipes.items()]
        for reader in self._readers:
            reader.start()

    def _read(self, name, pipe):
        for line in pipe:
            self._of[name] += line

    @property
    def said(self):
        return self._of["said"]

    @property
    def log(self):
        return self._of["log"]

    def until(self, text):
        """Wait for what the job says."""
        self._until("log", text)

    def until_said(self, text, times=1):
        self._until("said", text, times)

    def _until(self, where, text, times=1):
        deadline = time.monotonic() + 120
        while self._of[where].count(text) < times:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.1)

    def end(self):
        code = self.process.wait(150)
        for reader in self._readers:
            reader.join(10)
        assert "Traceback" not in self.said, self.said
        return code

    @property
    def job(self):
        return re.search(r"raysubmit_\w+", self.said)[0]

    def written(self, head):
        """The file of what the job wrote."""
        return head.folder / f"session_latest/logs/job-driver-{self.job}.log"

    def showed_the_log_once(self, head):
        return self.log == self.written(head).read_text()
