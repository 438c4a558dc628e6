"""A command of emo as a job of a running cluster whose nodes have no emo of their own."""

import os
import pty
import secrets
import select
import shutil
import signal
import site
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import REPOSITORY, free_port
from emo.config import load_config
from emo.errors import InputError
from emo.storage import Storage
from emo.tables import JUDGMENTS
from jobs.submit import check, pack, packages, without_config
from labelling import EMO, WORDS_ONLY, by_id, emo, rows

MANIFEST = str(REPOSITORY / "samples/manifest.csv")


@pytest.fixture(scope="module")
def job_cluster(tmp_path_factory):
    """A cluster that takes jobs and asks for a token, run by a Python that cannot import emo."""
    bare = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    python = bare / "bin/python"
    # The packages of this environment, but not what it installs by a link to this folder.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (bare / "lib" / version / "site-packages/all.pth").write_text("\n".join(site.getsitepackages()))
    found = subprocess.run([python, "-c", "import ray, emo"], capture_output=True, text=True, cwd=bare)
    assert "No module named 'emo'" in found.stderr
    port, dashboard = free_port(), free_port()
    folder = Path(f"/tmp/emo-test-jobs-{port}")
    options = ["--num-cpus=2", f"--port={port}", f"--dashboard-port={dashboard}", f"--temp-dir={folder}"]
    options += ["--include-dashboard=true", "--object-store-memory=200000000", "--disable-usage-stats"]
    options += [f"--dashboard-agent-listen-port={free_port()}", f"--metrics-export-port={free_port()}"]
    token = secrets.token_hex(16)
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    environment["PATH"] = f"{bare / 'bin'}:{environment['PATH']}"
    head = subprocess.Popen(
        [python, "-m", "ray.scripts.scripts", "start", "--head", "--block", *options],
        env=environment,
        cwd=bare,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    # As a user has it: the token is known, but nothing tells the client to offer it.
    user = {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}", "RAY_AUTH_TOKEN": token}
    user["RAY_AUTH_MODE"] = ""
    try:
        deadline = time.monotonic() + 120
        while not _answers(dashboard, token):
            assert head.poll() is None, "the cluster for jobs did not start"
            assert time.monotonic() < deadline, "the cluster for jobs did not start in time"
            time.sleep(0.5)
        yield user
    finally:
        os.killpg(head.pid, signal.SIGKILL)
        head.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(port, token):
    from urllib.request import Request, urlopen

    try:
        request = Request(f"http://127.0.0.1:{port}/api/jobs/", headers={"Authorization": f"Bearer {token}"})
        return urlopen(request, timeout=5).status == 200
    except OSError:
        return False


def test_a_job_brings_its_own_code_and_is_followed_to_its_end(job_cluster, tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("experts: [{kind: words}]\ningest: {workers: 1}\n")
    out = tmp_path / "out"
    command = ["label", MANIFEST, "--out", out, "--config", config]
    done = emo("submit", *command, env=job_cluster)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "emo submit: job raysubmit_" in done.stderr
    assert "ingest: 10/10, 1 failed" in done.stdout
    assert "1 failed, 0 skipped as already done" in done.stdout.splitlines()[-1]
    assert by_id(rows(out, JUDGMENTS, "status"), "status")["drawn_angry"] == "ok"
    # The exit code is that of the command on the cluster.
    wrong = emo("submit", "label", "/nothing/here", "--out", out, "--config", config, env=job_cluster)
    assert wrong.returncode == 2
    assert "source '/nothing/here' does not exist" in wrong.stdout


def test_without_the_token_no_job_is_taken(job_cluster, tmp_path):
    stranger = {**job_cluster, "RAY_AUTH_TOKEN": "", "HOME": str(tmp_path)}
    done = emo("submit", "label", MANIFEST, "--out", tmp_path / "out", env=stranger)
    assert done.returncode == 1
    assert "no job could be sent" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_ctrl_c_asks_and_a_job_that_is_left_goes_on(job_cluster, tmp_path):
    out = tmp_path / "out"
    command = [EMO, "submit", "label", MANIFEST, "--out", out, *WORDS_ONLY]
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        list(map(str, command)),
        env={**os.environ, **job_cluster},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        _expect(terminal, "Ray is up")
        process.send_signal(signal.SIGINT)
        _expect(terminal, "[s]top it, [l]eave it running")
        os.write(terminal, b"l\n")
        said = _expect(terminal, "goes on; stop it with: ray job stop")
        assert process.wait(30) == 130, said
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    deadline = time.monotonic() + 120
    while not (out / "report/index.html").exists():
        assert time.monotonic() < deadline, "the job that was left did not go on"
        time.sleep(0.2)


def _expect(terminal, text):
    """Read a terminal until it shows a text."""
    seen = ""
    deadline = time.monotonic() + 90
    while text not in seen:
        assert time.monotonic() < deadline, seen
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 65536).decode(errors="replace")
    return seen


@pytest.mark.long
def test_a_detached_job_can_be_stopped_and_gives_its_lease_back(job_cluster, tmp_path):
    out = tmp_path / "out"
    done = emo("submit", "--detach", "label", MANIFEST, "--out", out, *WORDS_ONLY, env=job_cluster)
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    deadline = time.monotonic() + 90
    while not (out / "lease.json").exists():
        assert time.monotonic() < deadline, subprocess.run(
            [Path(sys.executable).with_name("ray"), "job", "logs", job],
            env={**os.environ, **job_cluster, "RAY_AUTH_MODE": "token"},
            capture_output=True,
            text=True,
        )
        time.sleep(0.1)
    ray = Path(sys.executable).with_name("ray")
    environment = {**os.environ, **job_cluster, "RAY_AUTH_MODE": "token"}
    stopped = subprocess.run([ray, "job", "stop", job], env=environment, capture_output=True, text=True)
    assert stopped.returncode == 0, stopped.stderr
    while (out / "lease.json").exists():
        assert time.monotonic() < deadline + 60, "the job that was stopped keeps its lease"
        time.sleep(0.1)


def test_what_would_mean_something_else_on_a_cluster_is_refused_before_anything_is_sent():
    config = load_config()
    with pytest.raises(InputError, match="'videos' means another folder on a cluster"):
        check(config, ["videos", "s3://bucket/out"])
    check(config, ["/shared/videos", "s3://bucket/out"])
    keys = config.model_copy(update={"s3": config.s3.model_copy(update={"secret": "hush"})})
    with pytest.raises(InputError, match="holds S3 credentials") as caught:
        check(keys, [])
    assert "hush" not in str(caught.value)


def test_bad_arguments_of_the_job_are_told_here():
    done = emo("submit", "label", "/videos", "--oops", "--out", "/out")
    assert done.returncode == 2
    assert "--oops" in done.stderr
    again = emo("submit", "submit", "label")
    assert again.returncode == 2


def test_a_package_of_code_holds_what_a_job_imports_and_nothing_compiled(tmp_path):
    config = tmp_path / "x.yaml"
    config.write_text("experts: [{kind: words}]")
    folder = tmp_path / "job"
    folder.mkdir()
    assert pack(folder, str(config)) == ["--config", "config.yaml"]
    names = {entry.path for entry in Storage(str(folder)).entries()}
    assert {"emo/cli.py", "emo/presets/signals.yaml", "jobs/label.py", "config.yaml"} <= names
    assert not [name for name in names if name.endswith(".pyc")]
    size = sum(entry.size for entry in Storage(str(folder)).entries())
    assert size < 10_000_000


def test_the_packages_to_install_are_those_of_emo_without_ray_and_tests():
    found = packages()
    assert any(name.startswith("pyarrow") for name in found)
    assert not [name for name in found if name.startswith(("ray", "pytest"))]


def test_the_configuration_of_the_job_replaces_the_local_one():
    words = ["label", "s3://b/v", "--config", "a.yaml", "--out", "s3://b/o", "--config=b.yaml"]
    assert without_config(words) == ["label", "s3://b/v", "--out", "s3://b/o"]
