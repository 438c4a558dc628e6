"""The connection of a job to a Ray cluster, and where Ray's own messages go."""

import logging
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from emo.errors import EmoError, InputError, one_line
from jobs.attempts import attempts_of_connection

ANSWERS_WITHIN_S = 15.0


@contextmanager
def cluster(address: str | None, num_cpus: int | None) -> Iterator[str]:
    """Connect to a Ray cluster, or start one on this machine; gives the file with Ray's own messages.

    `address` or RAY_ADDRESS name a running cluster; a Ray job has RAY_ADDRESS set. Without either a fresh
    local one is started: one that a killed run left behind is never picked up.
    """
    where = address or os.environ.get("RAY_ADDRESS")
    _check_current_folder()
    if where:
        offer_token()
        check_answers(where)
    # What a lab labels is nobody else's business, and each collector is a process more to start.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with _chatter_to_file() as log:
        import ray
        import ray.data

        options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if where:
            options["address"] = where
        else:
            options |= {"address": "local", "include_dashboard": False, "num_cpus": num_cpus}
        try:
            ray.init(**options)
        except (ConnectionError, ValueError, TimeoutError) as error:
            raise EmoError(
                f"Ray at {where or 'this machine'} cannot be reached: {one_line(error)}"
            ) from error
        try:
            # Its messages also stand in ray-data.log, beside Ray's other logs.
            loggers = [logging.getLogger(name) for name in ("ray", "ray.data")]
            for logger in loggers:
                logger.handlers = [h for h in logger.handlers if type(h).__name__ != "PlainRayHandler"]
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            # A shard of hour-long files may take longer than the default of half an hour, and each clip has
            # a deadline of its own.
            context.execution_no_progress_timeout_s = -1
            yield log
        finally:
            attempts_of_connection.cache_clear()
            ray.shutdown()


def _check_current_folder() -> None:
    """Ray's workers look for packages in the current folder too, before what a finder of pip's tells them."""
    for name in ("emo", "jobs"):
        spec = PathFinder.find_spec(name, [str(Path.cwd()), *sys.path])
        if spec is not None and spec.origin is None:
            raise InputError(
                f"the folder {Path.cwd() / name} would pass for the package {name} in Ray's workers: run the "
                "command from another folder"
            )


def check_answers(where: str) -> None:
    """Raise EmoError where nobody listens at an address: Ray waits minutes for them, without a word."""
    parts = urlsplit(where if "://" in where else f"//{where}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InputError(f"{where!r} is no address of a Ray cluster; expected HOST:PORT") from None
    if host is None or port is None:
        return  # such as `auto`: Ray looks for it itself
    try:
        socket.create_connection((host, port), timeout=ANSWERS_WITHIN_S).close()
    except OSError as error:
        raise EmoError(f"Ray at {where} cannot be reached: {error.strerror or error}") from error


def offer_token() -> None:
    """Offer the user's token to clusters that ask for one; to be called before Ray is imported."""
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    known = named or (Path.home() / ".ray" / "auth_token").exists()
    if known and not os.environ.get("RAY_AUTH_MODE"):
        # A client offers its token only when it is told to.
        os.environ["RAY_AUTH_MODE"] = "token"


@contextmanager
def _chatter_to_file() -> Iterator[str]:
    """Send what Ray writes to standard error to a file, its native code included; ours still goes there."""
    handle, log = tempfile.mkstemp(prefix="emo-ray-", suffix=".log")
    ours, before = os.dup(2), sys.stderr
    sys.stderr = os.fdopen(
        os.dup(ours), "w", buffering=1, encoding=before.encoding, errors="backslashreplace"
    )
    os.dup2(handle, 2)
    os.close(handle)
    try:
        yield log
    finally:
        # Not closed: what took hold of it meanwhile, such as a log handler, may write once more at the end.
        sys.stderr = before
        os.dup2(ours, 2)
        os.close(ours)
