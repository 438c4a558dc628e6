"""What many tests share: a real S3 server on loopback, and where the outside test data lies."""

import os

# Before anything imports NumPy or PyTorch, which read it once. The tests run side by side: threads of one
# process would wait for cores that the others have.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import gc
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import pytest
from xdist.remote import Producer

from emo.store.s3 import S3Settings, s3_filesystem
from scheduling import RAY_OR_MODELS, FilesThatWaitAside
from standing import TestCluster
from warm_workers import start_node

REPOSITORY = Path(__file__).parent.parent

# What tests write lies in memory, where there is room for it and a script may run: emo has each file flushed.
_MEMORY = Path("/dev/shm")
if (
    _MEMORY.exists()
    and not os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC
    and shutil.disk_usage(_MEMORY).free > 8 * 2**30
):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))

# What is imported while tests are collected stays. To look for garbage in it again and again takes seconds.
gc.disable()
# Later it is looked for less often than usual.
gc.set_threshold(10_000, 20, 20)

# A machine that is busy with other things is no fault of the code.
hypothesis.settings.register_profile("emo", deadline=None)
hypothesis.settings.load_profile("emo")

# Before anything imports Ray, which reads it once: the token of the clusters that tests start.
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(16), RAY_USAGE_STATS_ENABLED="0")
# Ray Train looks every two seconds for what a training says, which waits for that.
os.environ.update(RAY_TRAIN_HEALTH_CHECK_INTERVAL_S="0.25")
# Workers of passes give way to all else on a machine; here that is other tests, and whoever waits for them.
os.environ.update(RAY_worker_niceness="0")


# What a test file imports where it makes models: collecting it would take seconds.
_IMPORTS_MODELS = re.compile(
    r"^(?:import|from) (?:torch|transformers|\w*checkpoints?|vllm_environment)\b", re.MULTILINE
)
# Left out of the fast loop (`make quick`), beside RAY_OR_MODELS. None of it is even imported, which alone
# takes seconds.
_SPEECH = ("media/test_speech.py", "split/test_filters.py", "split/test_speech_pieces.py")
_PIECES = ("split/test_diarise.py", "split/test_ingest_of_pieces.py", "split/test_worker.py")
_BROWSERS = ("report/test_report_page.py", "review/test_review_page.py", "review/test_parts.py")
_SERVERS_AND_KILLS = (
    *("export/test_export_goes_on.py", "review/test_forgotten_meanwhile.py", "review/test_review_server.py"),
    *("split/test_ranges.py", "test_fences.py", "test_lease.py", "test_s3_servers.py", "test_watch.py"),
)
_FILMS = (
    *("media/test_decode.py", "media/test_decode_clock.py", "media/test_decode_faults.py"),
    *("media/test_decode_sound.py", "media/test_embedded_subtitles.py", "media/test_fuzz.py"),
    *("media/test_pieces.py", "media/test_unneeded.py"),
    "split/test_cuts.py",
)
_MANY_ROWS = (
    *("evaluation/test_arrays.py", "evaluation/test_class_yardsticks.py", "evaluation/test_mme_emotion.py"),
    *("evaluation/test_yardsticks.py", "report/test_recordings.py"),
    *("report/test_report_pieces.py", "report/test_report_summary.py", "test_python_page.py"),
)
collect_ignore = (
    [*RAY_OR_MODELS, *_SPEECH, *_PIECES, *_BROWSERS, *_SERVERS_AND_KILLS, *_FILMS, *_MANY_ROWS]
    if os.environ.get("EMO_TEST_QUICK")
    else []
)
# Tests of seconds each in files that are quick otherwise.
_SECONDS = frozenset(
    {
        "test_a_workbook_that_unpacks_to_gigabytes_or_claims_a_million_columns_costs_nothing",
        "test_a_file_of_megabytes_takes_seconds",
        "test_a_half_written_file_is_never_seen",
        "test_a_model_drafts_as_many_samples_as_it_is_asked_for_about_the_frames_that_it_is_shown",
        "test_a_model_in_this_process_is_named_with_what_it_could_not_answer",
        "test_forty_reviewed_clips_teach_what_their_labels_teach",
        "test_labels_of_real_descriptions_agree_with_the_human_ones",
        "test_a_row_with_a_million_labels_is_refused_by_name_in_every_kind_of_file",
        "test_the_command_prints_the_curve_and_what_it_recommends_and_judges_nothing",
        "test_the_page_of_a_running_review_serves_no_file_of_such_a_clip",
    }
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FilesThatWaitAside:
    """The Makefile asks for a file at a time, and this says whose turn it is."""
    return FilesThatWaitAside(config, log)


def pytest_collection_finish() -> None:
    """What is there now stays; garbage of the tests is looked for."""
    gc.freeze()
    gc.enable()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """What all tests wrote takes memory no longer, if none of it is to be looked at."""
    # pytest would look for garbage five times.
    gc.freeze()
    first = "PYTEST_XDIST_WORKER" not in os.environ
    if first and exitstatus == 0 and os.environ.get("PYTEST_DEBUG_TEMPROOT") == str(_MEMORY):
        shutil.rmtree(session.config._tmp_path_factory.getbasetemp(), ignore_errors=True)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """The fast loop does not import what makes models."""
    if os.environ.get("EMO_TEST_QUICK") and collection_path.suffix == ".py":
        return _IMPORTS_MODELS.search(collection_path.read_text(encoding="utf-8")) is not None or None
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of minutes run only when they are asked for; the fast loop leaves out slow ones and Ray."""
    if os.environ.get("EMO_TEST_QUICK"):
        left_out = {
            item
            for item in items
            if "ray_cluster" in getattr(item, "fixturenames", ())
            or getattr(item, "originalname", "") in _SECONDS
        }
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
    if os.environ.get("EMO_TEST_LONG"):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="takes minutes; run it with EMO_TEST_LONG=1"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session", autouse=True)
def _quiet_environment() -> None:
    """The tests' own settings: no cluster of the user's, no credentials but the server's below."""
    # What a shell starts in the background ignores Ctrl-C, and so would all that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.pop("RAY_ADDRESS", None)
    # With it programs say at once what they would keep to themselves for a user.
    os.environ.pop("PYTHONUNBUFFERED", None)
    os.environ.update(
        AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test-secret", AWS_DEFAULT_REGION="us-east-1"
    )
    os.environ.pop("AWS_PROFILE", None)


@contextmanager
def aws_server() -> Iterator[str]:
    """The address of a server of the AWS interfaces, a process of its own that ends with the block."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, REPOSITORY / "tests/aws_api.py", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "the AWS server did not start within a minute"
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of an S3 API server."""
    with aws_server() as address:
        yield address


@pytest.fixture
def bucket(s3_endpoint: str, request: pytest.FixtureRequest) -> tuple[str, S3Settings]:
    """A fresh bucket's s3:// address and the settings that reach it."""
    settings = S3Settings(endpoint_url=s3_endpoint, region="us-east-1")
    name = f"bucket-{abs(hash(request.node.nodeid)):x}-{time.monotonic_ns():x}"[:60]
    s3_filesystem(settings).call_s3("create_bucket", Bucket=name)
    return f"s3://{name}", settings


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[TestCluster]:
    """A running Ray cluster of two CPUs and a GPU that is only claimed; the variable that leads to it.

    Joining it saves each test the start of its own. Tests that kill everything start their own instead.
    """
    port = free_port()
    # Its own short folder: Ray's socket names must not exceed 107 characters.
    folder = Path(f"/tmp/emo-test-ray-{port}")
    options = ["--num-cpus=2", "--num-gpus=1", "--object-store-memory=400000000", "--no-monitor"]
    with ray_head(port, folder, options), TestCluster(f"127.0.0.1:{port}") as joined:
        yield joined


@contextmanager
def ray_head(
    port: int,
    folder: Path,
    options: Sequence[str],
    env: Mapping[str, str] | None = None,
    metrics: bool = False,
) -> Iterator[None]:
    """The first node of a Ray cluster at that port, in a folder of its own; its workers start warm.

    metrics: it collects and exports them.
    """
    own = [f"--port={port}", f"--temp-dir={folder}", "--include-dashboard=false"]
    # It would read the logs of hundreds of workers again and again, for drivers that ask for none of them.
    own += ["--include-log-monitor=false"]
    head, await_warm = start_node(["--head", *own, *options], {**os.environ, **(env or {})}, metrics)
    try:
        deadline = time.monotonic() + 90
        while not list(folder.glob("session_latest/sockets/raylet*")):
            assert head.poll() is None, "the Ray cluster of the tests did not start"
            assert time.monotonic() < deadline, "the Ray cluster of the tests did not start in time"
            time.sleep(0.2)
        await_warm()
        yield
    finally:
        # Its children are in its process group; a gentle end would wait half a minute for them to drain.
        os.killpg(head.pid, signal.SIGKILL)
        head.wait()
        shutil.rmtree(folder, ignore_errors=True)
