"""An S3 API server at a port of this machine: `python s3_api.py PORT`.

Moto's own command looks through all of its services at each request, and ends the connection with it.
"""

import sys

from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple


class _Handler(MotoRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *more: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    run_simple(
        "127.0.0.1", int(sys.argv[1]), create_backend_app("s3"), threaded=True, request_handler=_Handler
    )
