"""A server of the AWS interfaces, S3 among them, at a port of this machine: `python aws_api.py PORT`.

Moto's own command looks anew at each request what it has, and ends the connection with it.
"""

import sys

from moto import backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple


class _Handler(MotoRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *more: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    has = tuple(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: has
    app = DomainDispatcherApplication(create_backend_app)
    run_simple("127.0.0.1", int(sys.argv[1]), app, threaded=True, request_handler=_Handler)
