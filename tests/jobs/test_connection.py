"""A Ray of this machine alone: who may reach it, where it looks for code, what it needs, how it ends."""

import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from conftest import REPOSITORY
from emo.store.tables import CLIPS, JUDGMENTS
from labelling import EMO, WORDS_ONLY, last_run, rows

CLIPS_FOLDER = REPOSITORY / "samples/clips"
OWN_RAY = ("--set", "ray.address=local", "--set", "ray.num_cpus=1")


def on_its_own(tmp_path, **more):
    """The environment of a user who has neither a cluster nor a token."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    return {**kept, "HOME": str(home), **more}


def start(tmp_path, *more, environment=None, **options):
    source = tmp_path / "videos"
    if not source.exists():
        source.mkdir()
        shutil.copy(CLIPS_FOLDER / "drawn_angry.mp4", source)
        shutil.copy(CLIPS_FOLDER / "drawn_tired.mp4", source)
    return subprocess.Popen(
        [EMO, "label", source, "--out", tmp_path / "out", *WORDS_ONLY, *OWN_RAY, *more],
        env=environment or on_its_own(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def listening(process):
    """Where a process and all below it listen.

    From one look at all sockets: a look per process takes seconds in all.
    """
    family = {one.pid for one in [process, *process.children(recursive=True)]}
    found = psutil.net_connections("inet")
    return {one.laddr.ip for one in found if one.pid in family and one.status == psutil.CONN_LISTEN}


def scripts(process):
    """Which of Ray's scripts the processes below a process run."""
    found = set()
    for one in process.children(recursive=True):
        with suppress(psutil.Error):
            found |= {word.partition("/ray/")[2] for word in one.cmdline()[:4] if word.endswith(".py")}
    return found


def on_loopback(addresses):
    return {address for address in addresses if address.removeprefix("::ffff:").startswith("127.")}


def test_a_token_that_ray_left_for_all_to_read_is_made_private(tmp_path, monkeypatch):
    from emo.run.connection import offer_token

    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    token = tmp_path / ".ray/auth_token"
    token.parent.mkdir()
    token.write_text("x" * 64)
    token.chmod(0o644)
    offer_token()
    assert token.stat().st_mode & 0o777 == 0o600


def test_modules_in_the_current_folder_a_deep_folder_for_temporary_files_and_no_home_do_no_harm(tmp_path):
    """And meanwhile all listen on loopback alone, and Ray starts nothing that one machine has no use for."""
    here = tmp_path / "here"
    here.mkdir()
    for name in ("jobs", "emo", "av", "json", "pyarrow", "psutil"):
        (here / f"{name}.py").write_text("raise ImportError('the wrong one')")
    (here / "numpy").mkdir()
    deep = tmp_path / ("x" * 100) / ("y" * 60)
    deep.mkdir(parents=True)
    # Nobody can write there, not even root.
    environment = on_its_own(tmp_path, HOME="/proc/nobody", TMPDIR=str(deep))
    run = start(tmp_path, environment=environment, cwd=here)
    seen, started = set(), set()
    while run.poll() is None:
        seen |= listening(psutil.Process(run.pid))
        started |= scripts(psutil.Process(run.pid))
        time.sleep(0.5)
    said = run.stdout.read()
    assert run.returncode == 0, said
    assert len(rows(tmp_path / "out", JUDGMENTS, "status")) == 2
    assert "Traceback" not in said
    assert seen
    assert seen == on_loopback(seen)
    # Of Ray's own programs, which it starts with Python.
    assert "dashboard/agent.py" in started
    unused = {"monitor.py", "log_monitor.py", "dashboard.py"}
    assert not {Path(script).name for script in started} & unused


ASKS = """
import os, ray
from emo.run.connection import cluster
from ray.util.state import get_actor
from ray.util.state.exception import ServerUnavailable

with cluster(None, 1):
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    try:
        get_actor("0" * 32)
    except ServerUnavailable:
        print("refused")
"""


@pytest.mark.long
def test_whoever_asks_for_the_state_of_a_ray_of_its_own_is_refused(tmp_path):
    """Without an address they would look for it for 40 seconds: Ray Train does at the end of a training."""
    done = subprocess.run(
        [sys.executable, "-c", ASKS], env=on_its_own(tmp_path), capture_output=True, text=True
    )
    assert done.stdout == "refused\n", done.stderr


def is_ended_by_sigterm(run, out):
    run.send_signal(signal.SIGTERM)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 130, said
    assert (last_run(out)["outcome"], last_run(out)["error"]) == ("failed", "interrupted by SIGTERM")
    assert "emo: interrupted by SIGTERM; what was committed stays" in said
    assert not (out / "lease.json").exists()


@pytest.mark.parametrize("seconds", [0, 1.5, 3.0])
def test_sigterm_at_any_moment_is_130_and_the_run_file_says_so(tmp_path, seconds):
    run = start(tmp_path, start_new_session=True)
    out = tmp_path / "out"
    while not list(out.glob("runs/*.json")):
        assert run.poll() is None, run.stdout.read()
        time.sleep(0.02)
    # Ray is starting, or has started.
    time.sleep(seconds)
    is_ended_by_sigterm(run, out)


def test_a_user_with_a_home_has_a_token_of_his_own_there_and_sigterm_while_a_pass_runs_is_130_too(tmp_path):
    run = start(tmp_path, start_new_session=True)
    out = tmp_path / "out"
    seen = set()
    # By then workers have used the token. Who listens is looked at before: that takes as long as a pass.
    while not list(out.glob("clips/*.parquet")):
        assert run.poll() is None, run.stdout.read()
        seen |= listening(psutil.Process(run.pid))
        time.sleep(0.5)
    is_ended_by_sigterm(run, out)
    assert rows(out, CLIPS, "status")
    assert seen
    assert seen == on_loopback(seen)
    token = tmp_path / "home/.ray/auth_token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert len(token.read_text()) >= 32


def test_a_terminal_that_is_closed_ends_the_run_and_gives_the_lease_back(tmp_path):
    terminal, theirs = pty.openpty()
    source = tmp_path / "videos"
    source.mkdir()
    shutil.copy(CLIPS_FOLDER / "drawn_angry.mp4", source)
    out = tmp_path / "out"
    run = subprocess.Popen(
        [EMO, "label", source, "--out", out, *WORDS_ONLY],
        env=on_its_own(tmp_path),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
    )
    os.close(theirs)
    while not list(out.glob("runs/*.json")):
        assert run.poll() is None
        time.sleep(0.02)
    time.sleep(1)
    os.close(terminal)
    assert run.wait(60) == 130
    assert (last_run(out)["outcome"], last_run(out)["error"]) == ("failed", "interrupted by SIGHUP")
    assert not (out / "lease.json").exists()
