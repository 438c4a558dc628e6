"""`emo review` as a process, and what a browser says to it without a browser."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit


class Server:
    """A running `emo review`: the addresses that it printed, by reviewer."""

    def __init__(self, process: subprocess.Popen[str], addresses: dict[str, str]) -> None:
        self.process, self.addresses = process, addresses

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def review_server(out: object, *options: str, reviewers: tuple[str, ...] = ("ann",)) -> Iterator[Server]:
    """`emo review` on this OUT until the block ends."""
    names = [word for name in reviewers for word in ("--reviewer", name)]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "emo",
            "review",
            "--out",
            str(out),
            "--no-browser",
            "--json",
            *names,
            *options,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield Server(process, json.loads(line)["addresses"])
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


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
