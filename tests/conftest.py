"""What many tests share: a real S3 server on loopback, and where the outside test data lies."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from emo.storage import S3Settings, s3_filesystem

REPOSITORY = Path(__file__).parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session", autouse=True)
def _quiet_environment() -> None:
    """The tests' own settings: no cluster of the user's, no credentials but the server's below."""
    os.environ.pop("RAY_ADDRESS", None)
    os.environ.update(
        AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test-secret", AWS_DEFAULT_REGION="us-east-1"
    )
    os.environ.pop("AWS_PROFILE", None)


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of an S3 API server, a process of its own."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "the S3 server did not start within a minute"
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def bucket(s3_endpoint: str, request: pytest.FixtureRequest) -> tuple[str, S3Settings]:
    """A fresh bucket's s3:// address and the settings that reach it."""
    settings = S3Settings(endpoint_url=s3_endpoint, region="us-east-1")
    name = f"bucket-{abs(hash(request.node.nodeid)):x}-{time.monotonic_ns():x}"[:60]
    s3_filesystem(settings).call_s3("create_bucket", Bucket=name)
    return f"s3://{name}", settings
