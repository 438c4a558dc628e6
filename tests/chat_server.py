"""A small OpenAI-compatible server as a process of its own, which misbehaves when it is told to.

    python chat_server.py PORT        with CHAT_SERVER_KEY set, it wants that key
                                      with CHAT_SERVER_LONGEST set, it refuses a text of more characters
                                      with CHAT_SERVER_ANSWERS set, it gives the answers of that JSON file

It answers with what it saw. A user text that is a JSON object steers it: `tries` lists what happens to the
first requests with that text (`status`, `retry_after`, `body`, `cut`, `sleep`), `answer` is the message or
list of messages given afterwards (an object may have a `finish_reason`), `again` the one where the request
begins the answer. The JSON file is a list of [part of a text, answer, answer where the request begins it].
GET /v1/log lists every request (time, text, seed, n, begun).
"""

import base64
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

_LOCK = threading.Lock()
_TRIES: dict[str, int] = {}
_LOG: list[dict] = []
_BUSY = {"now": 0, "most": 0}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args) -> None:
        pass

    def _send(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _allowed(self) -> bool:
        key = os.environ.get("CHAT_SERVER_KEY")
        given = self.headers.get("Authorization", "")
        if key and given != f"Bearer {key}":
            self._send(401, {"error": {"message": f"Incorrect API key provided: {given}"}})
            return False
        return True

    def do_GET(self) -> None:
        if self.path == "/v1/log":
            self._send(200, {"requests": _LOG, "most_at_once": _BUSY["most"]})
        elif self._allowed():
            self._send(200, {"object": "list", "data": [{"id": "tiny"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._allowed():
            return
        with _LOCK:
            _BUSY["now"] += 1
            _BUSY["most"] = max(_BUSY["most"], _BUSY["now"])
        try:
            self._chat(body)
        finally:
            with _LOCK:
                _BUSY["now"] -= 1

    def _chat(self, body: dict) -> None:
        text, seen = _look(body["messages"])
        longest = int(os.environ.get("CHAT_SERVER_LONGEST", "0"))
        if longest and len(text) > longest:
            message = f"This model's maximum context length is {longest}, the messages have {len(text)}"
            self._send(400, {"error": {"message": message}})
            return
        script = json.loads(text) if text.startswith("{") else _scripted(text)
        begun = body["messages"][-1]["role"] == "assistant"
        if begun and "again" in script:
            script = {**script, "answer": script["again"]}
        with _LOCK:
            number = _TRIES[text] = _TRIES.get(text, 0) + 1
            _LOG.append(
                {
                    "at": time.time(),
                    "text": text,
                    "seed": body.get("seed"),
                    "n": body.get("n"),
                    "begun": begun,
                    "media": body.get("media_io_kwargs"),
                }
            )
        tries = script.get("tries", [])
        step = tries[number - 1] if number <= len(tries) else script.get("always", {})
        time.sleep(step.get("sleep", 0))
        if step.get("cut"):
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        if "status" in step:
            headers = {"Retry-After": step["retry_after"]} if "retry_after" in step else {}
            content = step.get("body", {"error": {"message": f"told to say {step['status']}"}})
            given = self.headers.get("Authorization", "")
            content = json.loads(json.dumps(content).replace("YOUR_KEY", given))
            self._send(step["status"], content if not isinstance(content, str) else content.encode(), headers)
            return
        seeds = [body.get("seed", 0) + i for i in range(body.get("n") or 1)]
        messages = [script.get("answer", f"{seen} seed={seed}") for seed in seeds]
        choices = [
            {
                "index": i,
                "message": message,
                "finish_reason": message.get("finish_reason", "stop"),
            }
            for i, message in enumerate(
                one if isinstance(one, dict) else {"role": "assistant", "content": one} for one in messages
            )
        ]
        self._send(
            200, {"choices": choices, "usage": {"prompt_tokens": 100, "completion_tokens": 7 * len(choices)}}
        )


def _scripted(text: str) -> dict:
    path = os.environ.get("CHAT_SERVER_ANSWERS")
    for part, answer, again in json.loads(Path(path).read_text()) if path else []:
        if part in text:
            return {"answer": answer, "again": again}
    return {}


def _look(messages: list[dict]) -> tuple[str, str]:
    """The text of the last message, and a line about all that came with it."""
    import soundfile
    from PIL import Image

    parts = [message for message in messages if message["role"] == "user"][-1]["content"]
    if isinstance(parts, str):
        return parts, f"text={parts!r}"
    text, seen = "", []
    for part in parts:
        if part["type"] == "text":
            text += part["text"]
        elif part["type"] == "image_url":
            head, data = part["image_url"]["url"].split(",", 1)
            image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
            image.load()
            seen.append(f"{head} {image.width}x{image.height}")
        elif part["type"] == "video_url":
            head, *frames = part["video_url"]["url"].split(",")
            sizes = [Image.open(io.BytesIO(base64.b64decode(data, validate=True))).size for data in frames]
            seen.append(f"{head} {' '.join(f'{width}x{height}' for width, height in sizes)}")
        elif part["type"] == "input_audio":
            given = part["input_audio"]
            data = base64.b64decode(given["data"], validate=True)
            info = soundfile.info(io.BytesIO(data))
            seen.append(f"{given['format']}={info.format} {info.samplerate} Hz {info.duration:.2f} s")
    return text, "; ".join([*seen, f"text={text!r}"])


@contextmanager
def chat_server(
    key: str | None = None, longest: int | None = None, answers: Path | None = None
) -> Iterator[str]:
    """A running server; gives its URL up to and with /v1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CHAT_SERVER_")}
    if key:
        environment["CHAT_SERVER_KEY"] = key
    if longest:
        environment["CHAT_SERVER_LONGEST"] = str(longest)
    if answers:
        environment["CHAT_SERVER_ANSWERS"] = str(answers)
    process = subprocess.Popen([sys.executable, str(Path(__file__).resolve()), str(port)], env=environment)
    url = f"http://127.0.0.1:{port}/v1"
    try:
        for _ in range(100):
            try:
                urlopen(f"{url}/log", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise RuntimeError("the chat server did not start")
        yield url
    finally:
        process.kill()
        process.wait()


def requests_to(url: str) -> dict:
    """What the server has been asked so far: `requests` and `most_at_once`."""
    with urlopen(f"{url}/log", timeout=5) as response:
        return json.load(response)


class Server(ThreadingHTTPServer):
    request_queue_size = 128


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
