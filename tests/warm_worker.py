"""What a node of the tests' cluster starts as a worker of Ray: it asks for a fork of a process that is warm.

See `warm_workers.py`. Where nothing answers, the worker starts as it does everywhere.
"""

import importlib.util
import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

PLACE = "EMO_TEST_WARM_WORKERS"


def start_cold(arguments: list[str]) -> NoReturn:
    """Be the worker that Ray itself would have started."""
    # Found without importing it: that takes longer than all the rest of this file.
    found = importlib.util.find_spec("ray")
    assert found is not None
    assert found.origin is not None
    script = Path(found.origin).parent / "_private/workers/setup_worker.py"
    os.execv(sys.executable, [sys.executable, str(script), *arguments])


def place_of_job(place: str, env: Mapping[str, str]) -> str:
    """Where the workers of this job on this node may be forked; the place itself for a worker of no job."""
    job = env.get("RAY_JOB_ID")
    return f"{place}-{env.get('RAY_RAYLET_PID')}-{job}" if job else place


def warm() -> int | None:
    """The exit code of the fork that took this worker's place; None where there was none."""
    asked = {"arguments": sys.argv[1:], "env": dict(os.environ), "folder": str(Path.cwd())}
    place = os.environ.get(PLACE, "")
    # Variables of its own have to be there before it imports Ray.
    own = "env_vars" in " ".join(sys.argv)
    for one in (place,) if own else (place_of_job(place, os.environ), place):
        try:
            line = socket.socket(socket.AF_UNIX)
            line.connect(one)
            socket.send_fds(line, [b"."], [0, 1, 2])
            line.sendall(json.dumps(asked).encode() + b"\n")
            answer = line.makefile().readline()
        except OSError:
            continue
        # This process stands for the fork: who kills it kills the fork, and it ends as the fork ends.
        return int(answer) if answer else 1
    return None


if __name__ == "__main__":
    code = warm()
    if code is None:
        start_cold(sys.argv[1:])
    sys.exit(code)
