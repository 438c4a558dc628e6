"""Commands, tables and a judge for tests of the yardsticks of the field."""

import csv
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from emo.cli import main


def evaluate(*arguments):
    with redirect_stdout(io.StringIO()) as printed:
        assert main(["evaluate", *map(str, arguments), "--json"]) == 0
    return json.loads(printed.getvalue())


def refused(capsys, *arguments):
    assert main(["evaluate", *map(str, arguments)]) == 2
    return capsys.readouterr().err


def rows(path, columns, *values):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns.split(","))
        writer.writerows(values)
    return path


def records(path, *values):
    path.write_text(json.dumps(list(values)))
    return path


@contextmanager
def judge(answer) -> Iterator[str]:
    """A server that answers each question by `answer(question)`; gives what --judge takes."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_args):
            pass

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = answer(asked["messages"][-1]["content"])
            choice = {"index": 0, "message": {"content": text}, "finish_reason": "stop"}
            body = json.dumps({"choices": [choice]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"kind=openai,url=http://127.0.0.1:{server.server_port}/v1,model=by-hand"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
