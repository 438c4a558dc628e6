"""A command of emo as a Ray job: sent to a running cluster, followed until it ends.

The code travels with the job, so the nodes need emo's dependencies but not emo itself.
"""

import asyncio
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import requires
from pathlib import Path
from typing import Any, TextIO

import emo
import jobs
from emo.config import Config
from emo.errors import EmoError, InputError
from emo.storage import is_s3
from jobs.connection import check_answers, offer_token

# Where Ray's dashboard takes jobs on a head node.
LOCAL = "http://127.0.0.1:8265"
# What travels: code and its data, no byte code.
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc")


def check(config: Config, places: Sequence[str]) -> None:
    """Raise InputError where a command could not mean the same on a cluster as here."""
    for place in places:
        if not is_s3(place) and not Path(place).is_absolute():
            raise InputError(
                f"{place!r} means another folder on a cluster: give an s3:// address, or an absolute path of "
                "a file system that all nodes share"
            )
    if config.s3.key or config.s3.secret or config.s3.token:
        raise InputError(
            "the configuration holds S3 credentials, and the cluster keeps what a job brings along: leave "
            "them out and give the nodes their own (an IAM role, or a secret in their environment)"
        )


def pack(folder: Path, config_file: str | None) -> list[str]:
    """Put the code and the configuration of a job into a folder; the arguments that name the latter."""
    for package in (emo, jobs):
        source = Path(str(package.__file__)).parent
        shutil.copytree(source, folder / source.name, ignore=_LEFT_OUT)
    if config_file is None:
        return []
    shutil.copy(config_file, folder / "config.yaml")
    return ["--config", "config.yaml"]


def without_config(arguments: Sequence[str]) -> list[str]:
    """The arguments without `--config FILE`, which `pack` replaces."""
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--config":
            next(words, None)
        elif not word.startswith("--config="):
            kept.append(word)
    return kept


def packages() -> list[str]:
    """What emo needs, for nodes that have nothing but Ray."""
    return [line for line in requires("emo") or [] if "extra ==" not in line and not line.startswith("ray")]


def submit(
    address: str | None, command: Sequence[str], config_file: str | None, install: bool
) -> tuple[Any, str]:
    """Send one command of emo: Ray's client and the id of the job; EmoError where no cluster answers."""
    named = address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS")
    where = named or LOCAL
    check_answers(where)
    offer_token()
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    try:
        client = JobSubmissionClient(where)
        with tempfile.TemporaryDirectory(prefix="emo-job-") as name:
            config = pack(Path(name), config_file)
            environment: dict[str, Any] = {"working_dir": name}
            if install:
                environment["pip"] = packages()
            entrypoint = shlex.join(["python", "-m", "emo", *command, *config])
            job = client.submit_job(entrypoint=entrypoint, runtime_env=environment)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise EmoError(f"no job could be sent to {where}: {' '.join(str(error).split())}") from error
    return client, job


def follow(client: Any, job: str, log: TextIO) -> int:
    """Write the log of a job to `log` until it ends; its exit code. Ctrl-C asks what to do with the job."""
    while True:
        try:
            asyncio.run(_tail(client, job, log))
            return _exit_code(client, job)
        except KeyboardInterrupt:
            answer = _ask(job)
            if answer == "stop":
                client.stop_job(job)
                print(f"emo submit: job {job} is being stopped; what it committed stays", file=sys.stderr)
                return 130
            if answer == "leave":
                print(f"emo submit: job {job} goes on; stop it with: ray job stop {job}", file=sys.stderr)
                return 130


async def _tail(client: Any, job: str, log: TextIO) -> None:
    async for lines in client.tail_job_logs(job):
        print(lines, end="", flush=True, file=log)


def _ask(job: str) -> str:
    """What to do: stop, leave, follow. Where nobody can answer, the job is left alone."""
    if not sys.stdin.isatty():
        return "leave"
    try:
        print(
            f"\nJob {job} is running. [s]top it, [l]eave it running, or go on [f]ollowing? ",
            end="",
            flush=True,
        )
        answer = sys.stdin.readline().strip().lower()
    except KeyboardInterrupt:
        return "leave"
    return {"s": "stop", "f": "follow"}.get(answer[:1], "leave")


def _exit_code(client: Any, job: str) -> int:
    info = client.get_job_info(job)
    if info.status == "SUCCEEDED":
        return 0
    print(f"emo submit: job {job} ended as {info.status}: {info.message}", file=sys.stderr)
    return int(info.driver_exit_code or 1)
