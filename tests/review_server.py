"""`emo review` as a process, and what a browser says to it without a browser."""

import http.client
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import quote, urlsplit

# Servers are forked off a process that has imported what each of them would spend a second on.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["emo.cli.program", "emo.review.server", "emo.store.s3"])


class Server:
    """A running `emo review`: the addresses that it printed, by reviewer."""

    def __init__(self, pid: int, addresses: dict[str, str]) -> None:
        self.pid, self.addresses = pid, addresses

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


@contextmanager
def review_server(
    out: object, *options: str, reviewers: tuple[str, ...] = ("ann",), executable: bool = False
) -> Iterator[Server]:
    """`emo review` on this OUT until the block ends, in a process; executable: in one as a user starts it."""
    names = [word for name in reviewers for word in ("--reviewer", name)]
    command = ["review", "--out", str(out), "--no-browser", "--json", *names, *options]
    with (_executed if executable else _forked)(command) as running:
        yield running


@contextmanager
def _executed(command: Sequence[str]) -> Iterator[Server]:
    process = subprocess.Popen(
        [sys.executable, "-m", "emo", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield Server(process.pid, json.loads(line)["addresses"])
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


@contextmanager
def _forked(command: Sequence[str]) -> Iterator[Server]:
    ours, its = _FORKS.Pipe(duplex=False)
    process = _FORKS.Process(target=_run, args=(command, dict(os.environ), its))
    process.start()
    its.close()
    try:
        with ours, os.fdopen(os.dup(ours.fileno())) as printed:
            line = printed.readline()
            assert line, f"emo review ended with {process.exitcode}"
            yield Server(process.pid, json.loads(line)["addresses"])
    finally:
        if process.is_alive():
            os.kill(process.pid, signal.SIGINT)
        process.join(60)
        assert process.exitcode is not None, "emo review did not end"


def _run(command: Sequence[str], env: Mapping[str, str], out: Connection) -> None:
    """In the process: what it prints goes to the tests."""
    from emo.cli import main

    os.environ.clear()
    os.environ.update(env)
    os.dup2(out.fileno(), 1)
    out.close()
    sys.stdout.reconfigure(line_buffering=True)
    sys.exit(main(command))


class Client:
    """A browser that was let in, as far as requests go."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self.netloc, self.origin = parts.netloc, f"{parts.scheme}://{parts.netloc}"
        self.cookie = ""
        status, headers, _ = self.send("GET", f"/?{parts.query}")
        assert status == 303, status
        self.cookie = headers["Set-Cookie"].split(";")[0]

    def send(self, method: str, path: str, body: Any = None, **headers: str | None) -> tuple[int, Any, bytes]:
        """One request; headers: instead of the usual ones, None: without that one."""
        connection = http.client.HTTPConnection(self.netloc, timeout=60)
        usual = {"Cookie": self.cookie, "Host": self.netloc}
        if method == "POST":
            usual |= {"Origin": self.origin, "Content-Type": "application/json"}
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {name: value for name, value in (usual | given).items() if value is not None}
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, response.headers, data

    def get(self, path: str) -> Any:
        status, _, data = self.send("GET", path)
        assert status == 200, data
        return json.loads(data)

    def post(self, path: str, body: Any) -> Any:
        status, _, data = self.send("POST", path, body)
        assert status == 200, data
        return json.loads(data)

    def clip(self, video_id: str) -> Any:
        return self.get(f"/api/clip?video_id={quote(video_id, safe='')}")["clip"]

    def next(self, *skipped: str) -> Any:
        return self.post("/api/next", {"skipped": list(skipped)})["clip"]

    def answer(self, video_id: str, labels: Any, replaces: str | None = None, **more: Any) -> Any:
        return self.post(
            "/api/review", {"video_id": video_id, "labels": labels, "replaces": replaces, **more}
        )
