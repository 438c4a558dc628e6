"""The keeper of a server: what the program started ends with it, and nobody else has to clear up."""

import ctypes
import json
import os
import subprocess
import sys

import psutil
import pytest

_PR_SET_CHILD_SUBREAPER = 36
# It leaves a process behind, as vLLM leaves its engine when it is told to end.
PROGRAM = """
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def first_process():
    """This process becomes what the first process of a container often is: one that waits for no orphan."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    yield
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="orphans find a new parent in another way elsewhere")
def test_what_the_program_leaves_behind_is_cleared_up_by_its_keeper(first_process):
    keeper = subprocess.Popen(
        [sys.executable, "-m", "emo.engines.child", sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "EMO_CHILD_ENVIRONMENT": json.dumps(dict(os.environ))},
        text=True,
    )
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    left_behind = int(keeper.stdout.readline())
    keeper.stdin.close()
    keeper.wait(60)
    assert not psutil.pid_exists(left_behind)
