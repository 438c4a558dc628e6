"""A run that stands still while another takes its place commits nothing afterwards."""

import fcntl
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from clips import make_clip
from emo.store import committed
from emo.store.backend import LOCK_SUFFIX
from emo.store.s3 import S3Settings
from emo.store.storage import Storage
from emo.store.tables import CLIPS, DESCRIPTIONS, JUDGMENTS, VOTES
from labelling import WORDS_ONLY, raw_rows, rows, until, works

CLIPS_OF_THE_SOURCE = 12
TERM_S = 4.0
OWN_RAY = ("--set", "ray.address=local", "--set", "ray.num_cpus=1")
# `emo` with a term of seconds; the first one is of another machine for the second.
RUN = (
    "import sys; from emo.store import lease\n"
    f"lease.EXPIRES_S, lease.RENEW_S, lease.LOOK_S = {TERM_S}, 0.5, 0.2\n"
    "if sys.argv[1] == 'elsewhere': lease.machine = lambda: 'another machine'\n"
    "from emo.cli import main\n"
    "sys.exit(main(sys.argv[2:]))\n"
)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    first = make_clip(folder / "clip00.mp4", seconds=1.0, size=(160, 120))
    for number in range(CLIPS_OF_THE_SOURCE):
        (folder / f"clip{number:02d}.mp4").write_bytes(first.read_bytes())
        (folder / f"clip{number:02d}.txt").write_text("I am happy")
    return folder


def command(where, videos, out, *more):
    label = ["label", videos, "--out", out.url, *WORDS_ONLY, "--set", "ingest.shard_rows=1", *more]
    return [sys.executable, "-c", RUN, where, *map(str, label)]


@pytest.mark.parametrize("place", ["local", pytest.param("s3", marks=pytest.mark.long)])
def test_a_run_that_was_stopped_and_replaced_commits_nothing_when_it_wakes_up(
    place, videos, tmp_path, request
):
    url, s3, more = str(tmp_path), S3Settings(), []
    if place == "s3":
        # The server starts for those that use it.
        url, s3 = request.getfixturevalue("bucket")
        more = ["--set", f"s3.endpoint_url={s3.endpoint_url}"]
    # One on a Ray of its own and one on processes of its own, beside each other: most of it is waiting.
    with ThreadPoolExecutor() as both:
        ended = [
            both.submit(stop_and_replace, own, Storage(f"{url}/{own}", s3), more, videos, tmp_path / own)
            for own in ("ray", "processes")
        ]
    for one in ended:
        one.result()


def stop_and_replace(own, out, more, videos, folder):
    stopped = subprocess.Popen(
        command("elsewhere", videos, out, *more, *(OWN_RAY if own == "ray" else [])),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: out.names("clips"), stopped, 120)
        workers = [one for one in psutil.Process(stopped.pid).children(recursive=True) if is_worker(one)]
        assert workers
        stop(stopped, workers, folder)
        already = out.names("clips")
        assert len(already) < CLIPS_OF_THE_SOURCE, "it was too quick to be stopped in the middle"
        # A run that comes earlier is told that OUT is in use.
        time.sleep(TERM_S + 1)

        second = subprocess.run(
            command("here", videos, out, *more),
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert second.returncode == 0, second.stderr
        assert "may be dead; waiting up to 4 s" in second.stderr
        after = everything(out)
        assert set(already) <= set(after)

        # The workers go on while their driver stands still; then it wakes up too.
        for worker in workers:
            worker.send_signal(signal.SIGCONT)
        time.sleep(4)
        assert everything(out) == after
        stopped.send_signal(signal.SIGCONT)
        _, said = stopped.communicate(timeout=120)
        assert stopped.returncode == 1, said
        assert "this run stops" in said or "it stops" in said, said
        assert everything(out) == after
    finally:
        for one in [*psutil.Process(stopped.pid).children(recursive=True)] if stopped.poll() is None else []:
            one.kill()
        stopped.kill()
        stopped.wait()
    ids = [f"clip{number:02d}" for number in range(CLIPS_OF_THE_SOURCE)]
    for table in (CLIPS, DESCRIPTIONS, VOTES, JUDGMENTS):
        assert sorted(raw_rows(out, table).column("video_id").to_pylist()) == ids, table.name
    assert {row["status"] for row in rows(out, JUDGMENTS, "status")} == {"ok"}


def stop(driver, workers, out):
    """Stop them all, but not while one of them holds the lock of a file: nobody could write it then."""
    while True:
        for process in (driver, *workers):
            process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        if not any(is_locked(path) for path in out.rglob(f".*{LOCK_SUFFIX}")):
            return
        for process in (driver, *workers):
            process.send_signal(signal.SIGCONT)
        time.sleep(0.1)


def is_locked(path):
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def everything(out):
    """The files that count, of all tables."""
    tables = (CLIPS, DESCRIPTIONS, VOTES, JUDGMENTS)
    return sorted(path for table in tables for path in committed.files(out, table.name))


def is_worker(process):
    """One that is at a shard, or between two."""
    try:
        line = process.cmdline()
        title = " ".join(line[:1])
        return works(title) or title == "ray::IDLE" or "emo.run.here" in " ".join(line)
    except psutil.Error:
        return False
