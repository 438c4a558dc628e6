"""A command of emo as a job of a running cluster whose nodes have no emo of their own."""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from clips import make_clip
from emo.config import load_config
from emo.errors import InputError
from emo.run.submit import check, pack, packages, without_config
from emo.store.storage import Storage
from emo.store.tables import JUDGMENTS
from job_heads import Following, Proxy, answers, bare_head
from labelling import EMO, WORDS_ONLY, by_id, emo, rows, until
from standing import Asking, Standing

FOUND_AGAIN = "the connection was lost and is there again; following the job"


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    with bare_head(tmp_path_factory.mktemp("bare")) as made:
        yield made


@pytest.fixture(scope="module")
def user(head):
    """For commands of which only the answer matters: they share a process."""
    with Asking(head.user, Standing(None, head.user)) as made:
        yield made


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Two clips and a broken one, by names relative to the file."""
    folder = tmp_path_factory.mktemp("videos")
    first = make_clip(folder / "glad.mp4", seconds=1.0, size=(160, 120))
    shutil.copy(first, folder / "sad.mp4")
    (folder / "broken.mp4").write_bytes(first.read_bytes()[:2000])
    rows = ["uri,video_id,subtitle", "glad.mp4,glad,I am happy", "sad.mp4,sad,I am sad", "broken.mp4,broken,"]
    file = folder / "manifest.csv"
    file.write_text("\n".join(rows))
    return file


def test_without_the_token_no_job_is_taken(head, manifest, tmp_path):
    stranger = {**head.user, "RAY_AUTH_TOKEN": "", "HOME": str(tmp_path)}
    done = emo("submit", "label", manifest, "--out", tmp_path / "out", env=stranger)
    assert done.returncode == 1
    assert "no job could be sent" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_exit_code_is_that_of_the_command_and_what_it_said_last_is_shown_once(user, tmp_path):
    done = emo("submit", "label", "/nothing/here", "--out", tmp_path / "out", env=user)
    assert done.returncode == 2
    assert "source '/nothing/here' does not exist" in done.stdout
    assert (done.stdout + done.stderr).count("source '/nothing/here' does not exist") == 1
    assert re.search(r"job raysubmit_\w+: it ended as FAILED: .*exit code 2$", done.stderr, re.MULTILINE)


@pytest.fixture
def proxy(head):
    made = Proxy(head.dashboard)
    yield made
    with suppress(OSError):
        made.close()


def test_a_job_from_a_big_folder_brings_code_and_settings_and_outlasts_followers_cuts_and_a_server_away(
    head, proxy, user, manifest, tmp_path
):
    through = {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{proxy.port}"}
    user = Asking({**user, **through}, user.standing)
    folder = tmp_path / "my videos & more"
    folder.mkdir()
    (folder / "big.bin").write_bytes(os.urandom(60_000_000))
    (folder / "jobs.py").write_text("raise SystemExit('the wrong jobs')")
    config = folder / "my settings.yaml"
    config.write_text("experts: [{kind: words}]\ningest: {workers: 1}\n")
    out = tmp_path / "out with spaces"
    # The job stands still where its followers are looked at, and so cannot end before them.
    patient = Following(user, "label", manifest, "--out", out, "--config", config.name, cwd=folder)
    patient.until("Ray is up;")
    assert "emo submit: job raysubmit_" in patient.said
    driver = head.child("python -m emo label ")
    driver.suspend()
    attach = ["--attach", patient.job]
    impatient = Following(user, "--patience", "4", *attach)
    leaving = Following(head.user, *attach)
    leaving.until("Ray is up;")
    leaving.process.send_signal(signal.SIGTERM)
    assert leaving.end() == 130, leaving.said
    last = leaving.said.splitlines()[-1]
    assert last.startswith(f"emo submit: job {leaving.job}: interrupted by SIGTERM; it goes on"), last

    # A connection that is cut is made again: at once, and once more when it has shown more of the log.
    impatient.until("Ray is up;")
    proxy.cut()
    patient.until_said(FOUND_AGAIN)
    impatient.until_said(FOUND_AGAIN)
    shown = {one: one.log for one in (patient, impatient)}
    written = patient.written(head)
    size = written.stat().st_size
    driver.resume()
    # By what the job writes: until a follower shows it, the job may have ended.
    until(lambda: written.stat().st_size > size, patient.process, 120)
    driver.suspend()
    for one in (patient, impatient):
        until(lambda one=one: one.log != shown[one], one.process, 120)
    proxy.cut()
    patient.until_said(FOUND_AGAIN, times=2)
    impatient.until_said(FOUND_AGAIN, times=2)

    # A server that is away, as when it starts anew: for longer than one of them waits.
    proxy.close()
    assert impatient.end() == 5, impatient.said
    last = impatient.said.splitlines()[-1]
    assert re.fullmatch(
        rf"emo submit: job {patient.job}: the cluster has not answered for \d+ s \(\w+\); "
        rf"the job may go on; follow it with: emo submit --attach {patient.job}",
        last,
    ), impatient.said
    refused = emo("submit", *attach, "--patience", "1", env=user)
    assert refused.returncode == 5
    assert patient.job in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    proxy.open()
    driver.resume()
    assert patient.end() == 0, patient.said
    assert patient.said.count(FOUND_AGAIN) == 3
    assert "ended as STOPPED" not in patient.said
    assert patient.showed_the_log_once(head)

    assert "ingest: 3/3, 1 failed" in patient.log
    assert "1 failed, 0 skipped as already done" in patient.log.splitlines()[-1]
    statuses = by_id(rows(out, JUDGMENTS, "status"), "status")
    assert len(statuses) == 3
    assert statuses["glad"] == "ok"
    sent = head.folder.glob("session_latest/runtime_resources/working_dir_files/*")
    sizes = [sum(path.stat().st_size for path in one.rglob("*") if path.is_file()) for one in sent]
    assert sizes
    assert max(sizes) < 10_000_000

    attached = emo("submit", *attach, env=user)
    assert attached.returncode == 0, attached.stderr
    assert "emo label: " in attached.stdout.splitlines()[-1]
    unknown = emo("submit", "--attach", "raysubmit_nobody", env=user)
    assert unknown.returncode == 1
    assert "the cluster knows no job raysubmit_nobody" in unknown.stderr


def test_sigterm_to_the_follower_stops_the_job_where_it_is_told_to(head, user, manifest, tmp_path):
    label = ["label", manifest, "--out", tmp_path, *WORDS_ONLY]
    following = Following(head.user, "--stop-on-term", *label)
    following.until("Ray is up;")
    following.process.send_signal(signal.SIGTERM)
    assert following.end() == 130, following.said
    last = following.said.splitlines()[-1]
    assert last.startswith(f"emo submit: job {following.job}: interrupted by SIGTERM; it is stopped"), last
    attached = emo("submit", "--attach", following.job, env=user)
    assert attached.returncode != 0, attached.stderr
    assert "ended as STOPPED" in attached.stderr
    # The job gave its lease back.
    assert not (tmp_path / "lease.json").exists()


@pytest.mark.long
def test_a_head_that_dies_is_told_with_the_job_and_a_code_of_its_own(manifest, tmp_path):
    with bare_head(tmp_path / "bare") as head:
        following = Following(head.user, "--patience", "5", "label", manifest, "--out", tmp_path / "out")
        following.until("Ray is up;")
        os.killpg(head.process.pid, signal.SIGKILL)
        assert following.end() == 5, following.said
    assert f"emo submit --attach {following.job}" in following.said.splitlines()[-1]


@pytest.mark.long
def test_a_dashboard_that_dies_and_is_started_again_is_found_again(manifest, tmp_path):
    with bare_head(tmp_path / "bare") as head:
        following = Following(head.user, "label", manifest, "--out", tmp_path / "out", *WORDS_ONLY)
        following.until("Ray is up;")
        job = head.child("python -m emo label ")
        dashboard = head.child(r"\S+ \S+/dashboard/dashboard\.py ")
        command, environment, folder = dashboard.cmdline(), dashboard.environ(), dashboard.cwd()
        # So that the job outlasts the dashboard; and what started the head would end all of it.
        job.suspend()
        head.process.send_signal(signal.SIGSTOP)
        for one in [*dashboard.children(recursive=True), dashboard]:
            one.kill()
        assert not answers(head.dashboard, head.token)
        again = subprocess.Popen(command, env=environment, cwd=folder, start_new_session=True)
        try:
            head.await_answer()
            following.until_said(FOUND_AGAIN)
            job.resume()
            assert following.end() == 0, following.said
            assert len(following.said.splitlines()) == 2, following.said
            assert following.showed_the_log_once(head)
        finally:
            os.killpg(again.pid, signal.SIGKILL)
            again.wait()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_head_that_is_started_anew_under_a_follower_is_told_in_one_line(manifest, tmp_path):
    with bare_head(tmp_path / "bare") as head:
        out = tmp_path / "out"
        following = Following(head.user, "label", manifest, "--out", out, *WORDS_ONLY)
        following.until("Ray is up;")
        head.child("python -m emo label ")
        head.kill()
        head.start()
        assert following.end() == 1, following.said
        last = following.said.splitlines()[-1]
        assert f"the cluster knows no job {following.job}" in last
        # As the line says, once the lease of the run that went with the head is over.
        deadline = time.monotonic() + 240
        again = ["submit", "label", manifest, "--out", out, *WORDS_ONLY]
        while (done := emo(*again, env=head.user)).returncode == 4:
            assert time.monotonic() < deadline, done.stdout
            time.sleep(5)
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(rows(out, JUDGMENTS, "status")) == 3


@pytest.mark.long
def test_ctrl_c_asks_and_a_job_that_is_left_goes_on(head, manifest, tmp_path):
    out = tmp_path / "out"
    command = [EMO, "submit", "label", manifest, "--out", out, *WORDS_ONLY]
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        list(map(str, command)),
        env={**os.environ, **head.user},
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
def test_a_detached_job_can_be_stopped_and_gives_its_lease_back(head, manifest, tmp_path):
    out = tmp_path / "out"
    done = emo("submit", "--detach", "label", manifest, "--out", out, *WORDS_ONLY, env=head.user)
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    deadline = time.monotonic() + 90
    while not (out / "lease.json").exists():
        assert time.monotonic() < deadline, subprocess.run(
            [Path(sys.executable).with_name("ray"), "job", "logs", job],
            env={**os.environ, **head.user, "RAY_AUTH_MODE": "token"},
            capture_output=True,
            text=True,
        )
        time.sleep(0.1)
    ray = Path(sys.executable).with_name("ray")
    environment = {**os.environ, **head.user, "RAY_AUTH_MODE": "token"}
    stopped = subprocess.run([ray, "job", "stop", job], env=environment, capture_output=True, text=True)
    assert stopped.returncode == 0, stopped.stderr
    while (out / "lease.json").exists():
        assert time.monotonic() < deadline + 60, "the job that was stopped keeps its lease"
        time.sleep(0.1)


def test_what_would_mean_something_else_on_a_cluster_is_refused_before_anything_is_sent(tmp_path):
    config = load_config()
    with pytest.raises(InputError, match="'videos' means another folder on a cluster"):
        check(config, ["videos", "s3://bucket/out"])
    check(config, ["/shared/videos", "s3://bucket/out"])
    hook = {"webhook": "https://hooks.example.com/hush"}
    for night in (hook, {"command": ["notify", "--token", "hush"]}):
        file = tmp_path / "night.yaml"
        file.write_text(yaml.safe_dump({"experts": [{"kind": "words"}], "nightly": night}))
        with pytest.raises(InputError, match=r"holds nightly\.webhook, or nightly\.command") as caught:
            check(load_config(file=str(file)), [])
        assert "hush" not in str(caught.value)
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
    assert {"emo/cli/program.py", "emo/presets/signals.yaml", "emo/jobs/label.py", "config.yaml"} <= names
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
