"""Ray clusters of several nodes on one machine, whose nodes come and go."""

import os
import shutil
import signal
import time
from pathlib import Path

from conftest import free_port
from warm_workers import start_node


class Nodes:
    """Ray nodes on this machine, each a process group of its own. GPUs are only claimed; workers are warm."""

    def __init__(self):
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"
        self._folder = Path(f"/tmp/emo-test-nodes-{self._port}")
        self._running = []

    def start(self, cpus, head=False, gpus=0, env=None):
        where = ["--head", f"--port={self._port}", "--include-dashboard=false", "--no-monitor"]
        options = where if head else [f"--address={self.address}"]
        options += [
            f"--num-cpus={cpus}",
            f"--num-gpus={gpus}",
            f"--temp-dir={self._folder}" if head else "--node-ip-address=127.0.0.1",
        ]
        options += ["--include-log-monitor=false", "--object-store-memory=100000000"]
        process, await_warm = start_node(options, {**os.environ, **(env or {})})
        self._running.append(process)
        deadline = time.monotonic() + 90
        sockets = len(self._running)
        while len(list(self._folder.glob("session_*/sockets/raylet*"))) < sockets and head:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        await_warm()
        return process

    @staticmethod
    def kill(process):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self):
        for process in reversed(self._running):
            if process.poll() is None:
                self.kill(process)
        shutil.rmtree(self._folder, ignore_errors=True)
