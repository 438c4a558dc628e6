"""The connection of a job to a Ray cluster, and where Ray's own messages go."""

import logging
import os
import secrets
import site
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import emo
from emo.errors import EmoError, InputError, one_line
from emo.run.attempts import attempts_of_connection
from emo.run.nodes import LOCAL, cluster_address
from emo.terminal.signals import Terminated, listen

ANSWERS_WITHIN_S = 15.0
# What a Ray of this machine alone has no use for: what adds nodes, what sends the logs of workers to a driver
# that asks for them, and what serves the dashboard, even where none is wanted. Each of them is a Python that
# first imports all of Ray.
_FOR_NOBODY = ("start_monitor", "start_log_monitor", "start_api_server")
# The longest of Ray's sockets below the folder for temporary files, and what the system allows.
_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store.1"
_LONGEST_SOCKET = 107


@dataclass(frozen=True)
class _Connection:
    """What this process is connected to, and the file with Ray's own messages."""

    where: str | None
    num_cpus: int | None
    log: str


_connection: _Connection | None = None


def connected() -> bool:
    """Whether this process is connected to a Ray cluster by the block of `cluster`."""
    return _connection is not None


@contextmanager
def cluster(address: str | None, num_cpus: int | None) -> Iterator[str]:
    """Connect to a Ray cluster, or start one on this machine; gives the file with Ray's own messages.

    `address` or RAY_ADDRESS name a running cluster; a Ray job has RAY_ADDRESS set. Without either, or with
    `local`, a fresh one is started: one that a killed run left behind is never picked up. Within such a
    block another one shares its connection. Raises InputError where it asks for another cluster.
    """
    named = cluster_address(address)
    where = None if named == LOCAL else named
    if _connection is None:
        with _connected(where, num_cpus) as log:
            yield log
        return
    if where != _connection.where:
        at = _connection.where or "a Ray of its own"
        asked = where or "a Ray of its own"
        raise InputError(f"this process is connected to {at} already, and this call asks for {asked}")
    if num_cpus not in (None, _connection.num_cpus):
        raise InputError(f"ray.num_cpus is {num_cpus}, but the Ray of this process has started already")
    yield _connection.log


@contextmanager
def _connected(where: str | None, num_cpus: int | None) -> Iterator[str]:
    global _connection
    if where:
        offer_token()
        check_answers(where)
        settings: dict[str, str] = {}
    else:
        settings = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", **_own_token()}
    # What a lab labels is nobody else's business, and each collector is a process more to start.
    settings |= {"RAY_USAGE_STATS_ENABLED": os.environ.get("RAY_USAGE_STATS_ENABLED", "0")}
    # A worker that fits on no node yet waits for an autoscaler to bring one; jobs/nodes.py ends a vain wait.
    settings |= {"RAY_enable_infeasible_task_early_exit": "0"}
    with _chatter_to_file() as log, _environment(settings):
        import ray
        import ray.data

        if ray.is_initialized():
            raise InputError("this process uses Ray already; end that with ray.shutdown() before emo starts")
        options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if where:
            options["address"] = where
        else:
            options |= {
                "address": "local",
                "include_dashboard": False,
                "num_cpus": num_cpus,
                **_short_folder(),
            }
        try:
            with nullcontext() if where else _without_what_serves_nobody():
                ray.init(job_config=_job_config(), **options)
            if not where:
                _refuse_questions()
            listen()
        except SystemExit:
            # Ray's own answer to SIGTERM, until the line above.
            ray.shutdown()
            raise Terminated("interrupted by SIGTERM") from None
        except Exception as error:
            # Of many kinds, a bare Exception among them.
            ray.shutdown()
            what = f"Ray at {where} cannot be reached" if where else "Ray does not start on this machine"
            raise EmoError(f"{what}: {one_line(error)}") from error
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
            # A pool whose workers are all busy grows. By default it grows once shards queue at its workers;
            # ours take no more than they work on (jobs/passes.py).
            context.autoscaling_config.actor_pool_util_upscaling_threshold = 1.0
            _connection = _Connection(where, num_cpus, log)
            yield log
        finally:
            _connection = None
            attempts_of_connection.cache_clear()
            ray.shutdown()


@contextmanager
def _without_what_serves_nobody() -> Iterator[None]:
    """Inside the block a node of Ray starts nothing for nobody. No option of Ray says so.

    Where another release names its parts differently, it starts them.
    """
    from ray._private.node import Node

    before = {name: vars(Node)[name] for name in _FOR_NOBODY if name in vars(Node)}
    for name in before:
        setattr(Node, name, lambda *_, **__: None)
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(Node, name, method)


def _refuse_questions() -> None:
    """Name an address that refuses whoever asks for the state of this Ray, which has no dashboard.

    Without an address they look for one for 40 seconds. A part of Ray Train asks, and the end of a training
    waits for it.
    """
    from ray._private import ray_constants
    from ray.experimental.internal_kv import _internal_kv_put

    _internal_kv_put(
        ray_constants.DASHBOARD_ADDRESS,
        "127.0.0.1:1",
        overwrite=True,
        namespace=ray_constants.KV_NAMESPACE_DASHBOARD,
    )


def _job_config() -> Any:
    """What Ray is told of this program: where its workers find the code."""
    from ray.job_config import JobConfig

    class _WithoutCurrentFolder(JobConfig):
        def _runtime_env_has_working_dir(self) -> bool:
            # Ray asks this to decide whether workers search the current folder, before all packages. What
            # lies there by chance would pass for a module of ours, or of one that we use.
            return True

    # A job of `emo submit` brings its code along.
    folders = [] if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ else _code_folders()
    return _WithoutCurrentFolder(_py_driver_sys_path=folders)


def _code_folders() -> list[str]:
    """Where a worker would not look itself: the folder of the program, and of emo if it is not installed."""
    program = str(Path(sys.argv[0]).resolve().parent)
    ours = str(Path(emo.__file__).resolve().parent.parent)
    installed = {str(Path(folder).resolve()) for folder in site.getsitepackages()}
    return [folder for folder in (program, ours) if folder in sys.path and folder not in installed]


def _own_token() -> dict[str, str]:
    """The token of a Ray of this machine alone: in a file that only its user reads, or in no file at all."""
    if os.environ.get("RAY_AUTH_MODE", "token") != "token" or _named_token():
        return {}
    token = secrets.token_hex(32)
    try:
        file = _token_file()
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as opened:
                opened.write(token)
        _make_private(file)
        file.read_text()
        return {}
    except (OSError, RuntimeError):
        # No home, or one that cannot be written.
        return {"RAY_AUTH_TOKEN": token}


def _named_token() -> bool:
    return any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))


def _token_file() -> Path:
    return Path.home() / ".ray" / "auth_token"


def _make_private(file: Path) -> None:
    """Ray itself writes its token for all to read."""
    with suppress(OSError):
        if file.stat().st_mode & 0o077:
            file.chmod(0o600)


def _short_folder() -> dict[str, str]:
    """Where Ray keeps its sockets, if the folder for temporary files is too deep for the names of sockets."""
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    if len(folder) + len(_SOCKET) <= _LONGEST_SOCKET:
        return {}
    # What takes room still goes where the user wants it.
    return {"_temp_dir": "/tmp/ray", "object_spilling_directory": folder}


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """The environment with these variables, for Ray and its processes."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


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
    known = _named_token()
    with suppress(OSError, RuntimeError):  # there is no home, or none that may be read
        known = known or _token_file().exists()
        _make_private(_token_file())
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
