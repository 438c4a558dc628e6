"""What the tests of faults share: how many seeds they run, and waiting."""

import os
import time

SEEDS = range(int(os.environ.get("EMO_TEST_SEEDS", "2")))


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
