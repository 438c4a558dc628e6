"""A real HTTP proxy in front of an S3 server that makes it bad: slow, full of errors, cut off.

    python flaky_s3.py PORT BACKEND_PORT SEED

GET /__log tells what it did: how often each fault was injected.
"""

import http.client
import json
import random
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LATENCY_S = 0.02
# Of all requests; what a day with an outage looks like, and more than ten times the usual.
ERRORS, THROTTLED, CUT, ANSWER_LOST = 0.03, 0.02, 0.05, 0.05


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def _pass_on(self):
        server = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/__log":
            self._answer(200, [], json.dumps(server.done).encode())
            return
        with server.lock:
            dice, wait, cut = server.random.random(), server.random.random(), server.random.random()
            lost = server.random.random()
        time.sleep(LATENCY_S * wait)
        if dice < ERRORS + THROTTLED:
            kind = "SlowDown" if dice < THROTTLED else "InternalError"
            self._count(kind)
            text = f"<Error><Code>{kind}</Code><Message>come back later</Message></Error>"
            self._answer(
                503 if kind == "SlowDown" else 500, [("Content-Type", "application/xml")], text.encode()
            )
            return
        backend = http.client.HTTPConnection("127.0.0.1", server.backend, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            backend.request(self.command, self.path, body, headers)
            response = backend.getresponse()
            data = response.read()
        finally:
            backend.close()
        keep = [
            (name, value)
            for name, value in response.getheaders()
            if name.lower() not in {"content-length", "transfer-encoding", "connection", "server", "date"}
        ]
        stored = self.command == "PUT" and response.status == 200
        # One at the least, for a run has few of them.
        if stored and (lost < ANSWER_LOST or self._is_third_put()):
            # It is stored, and nobody hears of it.
            self._count("answer lost")
            self.close_connection = True
            self.connection.close()
            return
        if self.command == "GET" and len(data) > 1000 and cut < CUT:
            self._count("cut")
            self._answer(response.status, keep, data, sent=len(data) // 2)
            self.close_connection = True
            self.connection.close()
            return
        length = response.getheader("Content-Length") if self.command == "HEAD" else None
        self._answer(response.status, keep, data, length=length)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass_on

    def _is_third_put(self):
        with self.server.lock:
            self.server.puts += 1
            return self.server.puts == 3

    def _count(self, what):
        with self.server.lock:
            self.server.done[what] += 1

    def _answer(self, status, headers, data, sent=None, length=None):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:sent])
        self.wfile.flush()


def main():
    port, backend, seed = map(int, sys.argv[1:])
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    server.backend, server.random = backend, random.Random(seed)
    server.lock, server.done, server.puts = threading.Lock(), Counter(), 0
    server.serve_forever()


if __name__ == "__main__":
    main()
