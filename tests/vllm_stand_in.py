"""Stands where vLLM would: started as vLLM is, it answers as vLLM does, and misbehaves when it is told to.

    python vllm_stand_in.py -m vllm.entrypoints.openai.api_server --model FOLDER ... --port PORT

VLLM_STAND_IN names a folder. There it writes down each start (`starts.jsonl`: its process, one that it
started itself, its arguments, the names of its environment). A file `how` in it says how it starts: `refuse`,
`never` or nothing. A request whose text has DIE in it ends the process, one with HANG stops it; with ONCE
beside it only the first time.
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

os.environ["CHAT_SERVER_KEY"] = os.environ["VLLM_API_KEY"]
import chat_server

_FOLDER = Path(os.environ["VLLM_STAND_IN"])
_HUNG = threading.Event()


class Handler(chat_server.Handler):
    def do_GET(self) -> None:
        if _HUNG.is_set():
            time.sleep(600)
        if self.path == "/health":
            self._send(200, b"")
        elif self.path == "/version":
            self._send(200, {"version": "0.0.stand-in"})
        else:
            super().do_GET()

    def _chat(self, body: dict) -> None:
        text, _ = chat_server._look(body["messages"])
        with (_FOLDER / "requests.jsonl").open("a") as log:
            log.write(json.dumps({"text": text, "body": {**body, "messages": body["messages"]}}) + "\n")
        for word, act in (("DIE", lambda: os._exit(1)), ("HANG", self._hang)):
            done = _FOLDER / f"{word}-done"
            if word in text and not ("ONCE" in text and done.exists()):
                done.touch()
                act()
        super()._chat(body)

    def _hang(self) -> None:
        _HUNG.set()
        time.sleep(600)


def main() -> None:
    arguments = sys.argv[1:]
    assert arguments[:2] == ["-m", "vllm.entrypoints.openai.api_server"]
    how = (_FOLDER / "how").read_text() if (_FOLDER / "how").exists() else ""
    # vLLM's engine is a process beside the one that answers.
    engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    start = {"pid": os.getpid(), "engine": engine.pid, "arguments": arguments, "names": sorted(os.environ)}
    with (_FOLDER / "starts.jsonl").open("a") as log:
        log.write(json.dumps(start) + "\n")
    if how == "refuse":
        print("ValueError: Model architectures ['Tiny'] are not supported for now.", flush=True)
        engine.kill()
        sys.exit(1)
    if how == "never":
        time.sleep(600)
    port = int(arguments[arguments.index("--port") + 1])
    chat_server.Server(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
