"""A command of emo as a Ray job: sent to a running cluster, followed until it ends.

The code travels with the job, so the nodes need emo's dependencies but not emo itself.
"""

import logging
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import emo
from emo.config import Config
from emo.errors import EmoError, InputError, UnreachableError
from emo.paths import is_s3
from emo.run.connection import check_answers, offer_token

# Where Ray's dashboard takes jobs on a head node.
LOCAL = "http://127.0.0.1:8265"
# Between two tries to reach a cluster.
AGAIN_S = 2.0
# So long a job that is asked to stop may take to end what it holds.
STOP_S = 30
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
    diarise = config.split.diarise
    commands = {"nightly": config.nightly.command, "split.diarise": diarise.command if diarise else ()}
    long = [section for section, words in commands.items() if len(words) > 1]
    if config.nightly.webhook or long:
        section = long[0] if long else "nightly"
        raise InputError(
            f"the configuration holds nightly.webhook, or {section}.command with arguments. Either may hold "
            f"a secret, and the cluster keeps what a job brings along. Name in {section}.command one program "
            "that the nodes have, without arguments"
        )
    if config.s3.key or config.s3.secret or config.s3.token:
        raise InputError(
            "the configuration holds S3 credentials, and the cluster keeps what a job brings along: leave "
            "them out and give the nodes their own (an IAM role, or a secret in their environment)"
        )


def pack(folder: Path, config_file: str | None) -> list[str]:
    """Put the code and the configuration of a job into a folder; the arguments that name the latter."""
    shutil.copytree(Path(str(emo.__file__)).parent, folder / "emo", ignore=_LEFT_OUT)
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


def client_of(address: str | None) -> Any:
    """Ray's client of the cluster that is named or on this machine; EmoError where none answers."""
    where = _address(address)
    check_answers(where)
    offer_token()
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    for name in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk", "_private.runtime_env"):
        # What its client tells of uploads and sockets is nothing for a person.
        logging.getLogger(f"ray.{name}").setLevel(logging.WARNING)
    try:
        return JobSubmissionClient(where)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        reason = " ".join(str(error).split())
        raise EmoError(f"no job could be sent to {where}: {reason}") from error


def client_when_it_answers(address: str | None, job: str, patience_s: float) -> Any:
    """Ray's client of the cluster of a job; UnreachableError where it does not answer for so many seconds."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return client_of(address)
        except InputError:
            raise
        except EmoError as error:
            if time.monotonic() >= deadline:
                raise UnreachableError(
                    f"submit: job {job}: {error}; the job may go on; the same command follows it again"
                ) from error
        time.sleep(min(AGAIN_S, max(0.0, deadline - time.monotonic())))


def _address(address: str | None) -> str:
    return address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS") or LOCAL


def submit(
    address: str | None, command: Sequence[str], config_file: str | None, install: bool
) -> tuple[Any, str]:
    """Send one command of emo: Ray's client and the id of the job; EmoError where no cluster answers."""
    client = client_of(address)
    from ray.exceptions import RayError

    try:
        with tempfile.TemporaryDirectory(prefix="emo-job-") as name:
            config = pack(Path(name), config_file)
            environment: dict[str, Any] = {
                "working_dir": name,
                # Ray kills a job that it stops after three seconds, before it has given back its OUT.
                "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S)},
            }
            if install:
                environment["pip"] = packages()
            entrypoint = shlex.join(["python", "-m", "emo", *command, *config])
            return client, client.submit_job(entrypoint=entrypoint, runtime_env=environment)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        reason = " ".join(str(error).split())
        raise EmoError(f"no job could be sent to {_address(address)}: {reason}") from error
